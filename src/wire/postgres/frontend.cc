#include "wire/postgres/frontend.h"

#include <fmt/format.h>

namespace meridian::postgres {
namespace {

using Formats = BigEndianArray<std::int16_t>;

constexpr std::int16_t format_max = 1;  // Text and binary are all there are.

Formats read_formats(BodyReader& reader) noexcept {
  const auto count = reader.number<std::uint16_t>();
  const Formats formats(reader, count);
  for (std::size_t i = 0; i < formats.size(); ++i) {
    if (formats[i] < 0 || formats[i] > format_max)
      reader.fail("a format in it is neither text nor binary");
  }
  return formats;
}

// A count of values as the formats before it allow it: none, one for all, or one for each.
Values read_values(BodyReader& reader, const Formats& formats) noexcept {
  const auto count = reader.number<std::uint16_t>();
  if (formats.size() > 1 && formats.size() != count)
    reader.fail("it has another number of formats than of values");
  return Values(reader, count);
}

template <class Message>
Result<Message> parse_target(std::string_view body, std::string_view message_name) {
  BodyReader reader(body);
  Message message;
  const char letter = static_cast<char>(reader.number<std::uint8_t>());
  if (letter != static_cast<char>(Target::statement) && letter != static_cast<char>(Target::portal))
    reader.fail("it names neither a statement nor a portal");
  message.target = static_cast<Target>(letter);
  message.name = reader.text();
  MERIDIAN_CHECK(reader.finish(message_name));
  return message;
}

}  // namespace

Result<Query> parse_query(std::string_view body) {
  BodyReader reader(body);
  const Query query{.sql = reader.text()};
  MERIDIAN_CHECK(reader.finish("Query"));
  return query;
}

Result<Parse> parse_parse(std::string_view body) {
  BodyReader reader(body);
  Parse parse;
  parse.statement = reader.text();
  parse.sql = reader.text();
  const auto count = reader.number<std::uint16_t>();
  parse.parameter_types = {reader, count};
  MERIDIAN_CHECK(reader.finish("Parse"));
  return parse;
}

Result<std::optional<BindHead>> parse_bind_head(std::string_view body_start) {
  const std::string_view start = body_start.substr(0, names_bytes_max);
  const std::size_t portal_end = start.find('\0');
  const std::size_t statement_end =
      portal_end == std::string_view::npos ? portal_end : start.find('\0', portal_end + 1);
  if (statement_end == std::string_view::npos) {
    if (start.size() < names_bytes_max) return std::optional<BindHead>();
    return fail(Errc::invalid,
                fmt::format("Bind: its names exceed names_bytes_max={}", names_bytes_max));
  }
  return BindHead{.portal = start.substr(0, portal_end),
                  .statement = start.substr(portal_end + 1, statement_end - portal_end - 1),
                  .size = statement_end + 1};
}

Result<Bind> parse_bind(std::string_view body) {
  BodyReader reader(body);
  Bind bind;
  bind.portal = reader.text();
  bind.statement = reader.text();
  bind.parameter_formats = read_formats(reader);
  bind.parameters = read_values(reader, bind.parameter_formats);
  bind.result_formats = read_formats(reader);
  MERIDIAN_CHECK(reader.finish("Bind"));
  return bind;
}

Result<Describe> parse_describe(std::string_view body) {
  return parse_target<Describe>(body, "Describe");
}

Result<Close> parse_close(std::string_view body) {
  return parse_target<Close>(body, "Close");
}

Result<Execute> parse_execute(std::string_view body) {
  BodyReader reader(body);
  Execute execute;
  execute.portal = reader.text();
  execute.rows_max = reader.number<std::int32_t>();
  MERIDIAN_CHECK(reader.finish("Execute"));
  return execute;
}

Result<CopyFail> parse_copy_fail(std::string_view body) {
  BodyReader reader(body);
  const CopyFail message{.reason = reader.text()};
  MERIDIAN_CHECK(reader.finish("CopyFail"));
  return message;
}

Result<PasswordMessage> parse_password(std::string_view body) {
  BodyReader reader(body);
  const PasswordMessage message{.password = reader.text()};
  MERIDIAN_CHECK(reader.finish("PasswordMessage"));
  return message;
}

Result<SaslInitialResponse> parse_sasl_initial_response(std::string_view body) {
  BodyReader reader(body);
  SaslInitialResponse message;
  message.mechanism = reader.text();
  const auto size = reader.number<std::int32_t>();
  if (size < -1) reader.fail("its response has a negative length");
  if (size >= 0) message.response = reader.bytes(static_cast<std::size_t>(size));
  MERIDIAN_CHECK(reader.finish("SASLInitialResponse"));
  return message;
}

Result<FunctionCall> parse_function_call(std::string_view body) {
  BodyReader reader(body);
  FunctionCall call;
  call.function = reader.number<std::uint32_t>();
  call.argument_formats = read_formats(reader);
  call.arguments = read_values(reader, call.argument_formats);
  call.result_format = reader.number<std::int16_t>();
  if (call.result_format < 0 || call.result_format > format_max)
    reader.fail("its result format is neither text nor binary");
  MERIDIAN_CHECK(reader.finish("FunctionCall"));
  return call;
}

}  // namespace meridian::postgres
