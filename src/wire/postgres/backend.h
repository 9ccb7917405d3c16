#pragma once
// The messages of a server, read from the body behind a checked header (wire/postgres/framing.h).
// Results are views of that body. The server is read as if it were hostile: every parser refuses,
// as Errc::invalid, a body that is too short, has bytes left over, or has counts and lengths that
// do not fit it.

#include "base/result.h"
#include "wire/postgres/bytes.h"
#include "wire/postgres/values.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace meridian::postgres {

struct Authentication {
  enum class Kind : std::uint32_t {
    ok = 0,
    cleartext_password = 3,
    md5_password = 5,
    sasl = 10,
    sasl_continue = 11,
    sasl_final = 12,
  };
  Kind kind = Kind::ok;
  std::string_view payload;  // The salt, the list of mechanisms, or the mechanism's own data.

  // Whether an AuthenticationSASL offers it.
  bool offers(std::string_view mechanism) const noexcept;
};
// Kerberos, GSS and SSPI are refused: nothing here can answer them.
Result<Authentication> parse_authentication(std::string_view body);

struct BackendKeyData {
  std::uint32_t process_id = 0;
  std::string_view key;  // 4 bytes in protocol 3.0, up to 256 in 3.2. A secret.
};
Result<BackendKeyData> parse_backend_key_data(std::string_view body);

struct ParameterStatus {
  std::string_view name;
  std::string_view value;
};
Result<ParameterStatus> parse_parameter_status(std::string_view body);

enum class TransactionStatus : char { idle = 'I', in_transaction = 'T', failed = 'E' };
Result<TransactionStatus> parse_ready_for_query(std::string_view body);

struct CommandComplete {
  std::string_view tag;               // "INSERT 0 5"
  std::string_view command;           // "INSERT": the tag without its numbers.
  std::optional<std::uint64_t> rows;  // 5; absent where the tag tells none ("BEGIN").
};
Result<CommandComplete> parse_command_complete(std::string_view body);

// ErrorResponse and NoticeResponse. Fields that are absent are empty, the SQLSTATE too
// (CVE-2026-6666: a proxy relied on it); those not listed are skipped.
struct Report {
  std::string_view severity;  // Not localised where the server sends that (9.6 on): "ERROR".
  std::string_view sqlstate;
  std::string_view message;
  std::string_view detail;
  std::string_view hint;
  std::string_view position;  // In characters of the statement, from 1.
  std::string_view where;
  std::string_view schema;
  std::string_view table;
  std::string_view column;
  std::string_view data_type;
  std::string_view constraint;
};
inline constexpr std::size_t report_fields_max = 64;
Result<Report> parse_report(std::string_view body);

struct ColumnDescription {
  std::string_view name;
  std::uint32_t table = 0;  // OID; 0 for what is no column of a table.
  std::int16_t attribute = 0;
  std::uint32_t type = 0;      // OID.
  std::int16_t type_size = 0;  // Negative: variable.
  std::int32_t type_modifier = 0;
  std::int16_t format = 0;  // 0 text, 1 binary.
};
Result<std::vector<ColumnDescription>> parse_row_description(std::string_view body);

// OIDs of a prepared statement's parameters.
Result<BigEndianArray<std::uint32_t>> parse_parameter_description(std::string_view body);

// The columns of one row, in order.
Result<Values> parse_data_row(std::string_view body);

// CopyInResponse, CopyOutResponse and CopyBothResponse.
struct CopyResponse {
  bool binary = false;
  BigEndianArray<std::int16_t> column_formats;
};
Result<CopyResponse> parse_copy_response(std::string_view body);

struct NotificationResponse {
  std::uint32_t process_id = 0;
  std::string_view channel;
  std::string_view payload;
};
Result<NotificationResponse> parse_notification_response(std::string_view body);

struct NegotiateProtocolVersion {
  std::uint32_t version = 0;  // Newest that the server speaks, as major << 16 | minor.
  std::vector<std::string_view> unrecognised;
};
inline constexpr std::size_t unrecognised_options_max = 64;
Result<NegotiateProtocolVersion> parse_negotiate_protocol_version(std::string_view body);

}  // namespace meridian::postgres
