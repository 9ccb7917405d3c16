#pragma once
// The messages that Meridian itself sends to a server, appended to a buffer. Names and SQL must
// hold no NUL (asserted): one would end the text early and smuggle the rest in as further fields.

#include "wire/postgres/frontend.h"
#include "wire/postgres/startup.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace meridian::postgres {

void append_ssl_request(std::string& out);
void append_cancel_request(std::string& out, std::uint32_t process_id, std::string_view key);
void append_startup(std::string& out,
                    ProtocolVersion version,
                    std::span<const Parameter> parameters);

void append_query(std::string& out, std::string_view sql);
void append_parse(std::string& out,
                  std::string_view statement,
                  std::string_view sql,
                  std::span<const std::uint32_t> parameter_types = {});

// Text parameters, and results all in one format.
void append_bind(std::string& out,
                 std::string_view portal,
                 std::string_view statement,
                 std::span<const Value> parameters,
                 std::int16_t result_format = 0);

// The beginning of a client's Bind under other names. What follows it is the client's body behind
// BindHead::size: `rest_bytes` of them, whole or in parts.
void append_bind_head(std::string& out,
                      std::string_view portal,
                      std::string_view statement,
                      std::uint64_t rest_bytes);

void append_describe(std::string& out, Target target, std::string_view name);
void append_close(std::string& out, Target target, std::string_view name);
void append_execute(std::string& out, std::string_view portal, std::int32_t rows_max = 0);
void append_sync(std::string& out);
void append_flush(std::string& out);
void append_terminate(std::string& out);

void append_copy_data(std::string& out, std::string_view bytes);
void append_copy_done(std::string& out);
void append_copy_fail(std::string& out, std::string_view reason);

void append_password(std::string& out, std::string_view password);
void append_sasl_initial_response(std::string& out,
                                  std::string_view mechanism,
                                  std::optional<std::string_view> response);
void append_sasl_response(std::string& out, std::string_view response);

}  // namespace meridian::postgres
