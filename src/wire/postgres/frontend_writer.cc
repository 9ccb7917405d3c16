#include "wire/postgres/frontend_writer.h"

#include "wire/postgres/bytes.h"
#include "wire/postgres/message_type.h"

namespace meridian::postgres {
namespace {

constexpr char no_type = 0;
constexpr std::uint32_t ssl_request_code = 80'877'103;
constexpr std::uint32_t cancel_request_code = 80'877'102;

MessageWriter message(std::string& out, FrontendType type) {
  return {out, static_cast<char>(type)};
}

void append_empty(std::string& out, FrontendType type) {
  message(out, type).finish();
}

void append_target(std::string& out, FrontendType type, Target target, std::string_view name) {
  message(out, type).letter(static_cast<char>(target)).text(name).finish();
}

}  // namespace

void append_ssl_request(std::string& out) {
  MessageWriter(out, no_type).number(ssl_request_code).finish();
}

void append_cancel_request(std::string& out, std::uint32_t process_id, std::string_view key) {
  MessageWriter(out, no_type).number(cancel_request_code).number(process_id).bytes(key).finish();
}

void append_startup(std::string& out,
                    ProtocolVersion version,
                    std::span<const Parameter> parameters) {
  MessageWriter writer(out, no_type);
  writer.number(version.code());
  for (const Parameter& parameter : parameters)
    writer.text(parameter.name).text(parameter.value);
  writer.text({}).finish();
}

void append_query(std::string& out, std::string_view sql) {
  message(out, FrontendType::query).text(sql).finish();
}

void append_parse(std::string& out,
                  std::string_view statement,
                  std::string_view sql,
                  std::span<const std::uint32_t> parameter_types) {
  MERIDIAN_ASSERT(parameter_types.size() <= 0xffff);
  MessageWriter writer = message(out, FrontendType::parse);
  writer.text(statement).text(sql).number(static_cast<std::uint16_t>(parameter_types.size()));
  for (const std::uint32_t type : parameter_types)
    writer.number(type);
  writer.finish();
}

void append_bind(std::string& out,
                 std::string_view portal,
                 std::string_view statement,
                 std::span<const Value> parameters,
                 std::int16_t result_format) {
  MERIDIAN_ASSERT(parameters.size() <= 0xffff);
  MessageWriter writer = message(out, FrontendType::bind);
  writer.text(portal).text(statement);
  writer.number(std::uint16_t{0});  // No formats: all parameters are text.
  writer.number(static_cast<std::uint16_t>(parameters.size()));
  for (const Value& value : parameters) {
    if (value) {
      writer.counted(*value);
    } else {
      writer.number(std::int32_t{-1});
    }
  }
  writer.number(std::uint16_t{1}).number(result_format).finish();
}

void append_bind_head(std::string& out,
                      std::string_view portal,
                      std::string_view statement,
                      std::uint64_t rest_bytes) {
  message(out, FrontendType::bind).text(portal).text(statement).finish(rest_bytes);
}

void append_describe(std::string& out, Target target, std::string_view name) {
  append_target(out, FrontendType::describe, target, name);
}

void append_close(std::string& out, Target target, std::string_view name) {
  append_target(out, FrontendType::close, target, name);
}

void append_execute(std::string& out, std::string_view portal, std::int32_t rows_max) {
  message(out, FrontendType::execute).text(portal).number(rows_max).finish();
}

void append_sync(std::string& out) {
  append_empty(out, FrontendType::sync);
}

void append_flush(std::string& out) {
  append_empty(out, FrontendType::flush);
}

void append_terminate(std::string& out) {
  append_empty(out, FrontendType::terminate);
}

void append_copy_data(std::string& out, std::string_view bytes) {
  message(out, FrontendType::copy_data).bytes(bytes).finish();
}

void append_copy_done(std::string& out) {
  append_empty(out, FrontendType::copy_done);
}

void append_copy_fail(std::string& out, std::string_view reason) {
  message(out, FrontendType::copy_fail).text(reason).finish();
}

void append_password(std::string& out, std::string_view password) {
  message(out, FrontendType::password).text(password).finish();
}

void append_sasl_initial_response(std::string& out,
                                  std::string_view mechanism,
                                  std::optional<std::string_view> response) {
  MessageWriter writer = message(out, FrontendType::password);
  writer.text(mechanism);
  if (response) {
    writer.counted(*response);
  } else {
    writer.number(std::int32_t{-1});
  }
  writer.finish();
}

void append_sasl_response(std::string& out, std::string_view response) {
  message(out, FrontendType::password).bytes(response).finish();
}

}  // namespace meridian::postgres
