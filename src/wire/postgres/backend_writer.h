#pragma once
// The messages that Meridian sends to a client in the server's place, appended to a buffer.

#include "wire/postgres/backend.h"
#include "wire/postgres/message_type.h"
#include "wire/postgres/startup.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace meridian::postgres {

void append_authentication_ok(std::string& out);
void append_authentication_cleartext_password(std::string& out);
void append_authentication_sasl(std::string& out, std::span<const std::string_view> mechanisms);
void append_authentication_sasl_continue(std::string& out, std::string_view bytes);
void append_authentication_sasl_final(std::string& out, std::string_view bytes);
void append_negotiate_protocol_version(std::string& out, const Negotiation& negotiation);

// Requires no NUL in the texts. The key has 4 bytes in protocol 3.0 and up to 256 in 3.2.
void append_backend_key_data(std::string& out, std::uint32_t process_id, std::string_view key);
void append_parameter_status(std::string& out, std::string_view name, std::string_view value);
void append_ready_for_query(std::string& out, TransactionStatus status);

// ParseComplete, BindComplete, CloseComplete, NoData, CopyDone, EmptyQueryResponse or
// PortalSuspended: the messages without a body. Requires one of them.
void append_empty(std::string& out, BackendType type);

// "SELECT 5" from a tag as PostgreSQL writes it.
void append_command_complete(std::string& out, std::string_view tag);
void append_row_description(std::string& out, std::span<const ColumnDescription> columns);
void append_data_row(std::string& out, std::span<const Value> values);
void append_notification_response(std::string& out,
                                  std::uint32_t process_id,
                                  std::string_view channel,
                                  std::string_view payload);

// What went wrong, for ErrorResponse and NoticeResponse. Texts may quote a peer: a NUL in them is
// sent as '?'.
enum class Severity : std::uint8_t { error, fatal, panic, warning, notice };

struct Complaint {
  Severity severity = Severity::error;
  std::string_view sqlstate;  // Five characters (asserted): PostgreSQL documentation, appendix A.
  std::string_view message;
  std::string_view detail = {};  // Empty: not sent.
  std::string_view hint = {};
};
void append_error(std::string& out, const Complaint& complaint);
void append_notice(std::string& out, const Complaint& complaint);

}  // namespace meridian::postgres
