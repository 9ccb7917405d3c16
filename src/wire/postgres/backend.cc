#include "wire/postgres/backend.h"

#include "base/number.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace meridian::postgres {
namespace {

constexpr std::size_t mechanisms_max = 16;
constexpr std::size_t key_bytes_min = 4;
constexpr std::size_t key_bytes_max = 256;
constexpr std::size_t md5_salt_bytes = 4;

// A list of texts that an empty one ends.
void check_mechanisms(BodyReader& reader) noexcept {
  std::size_t count = 0;
  while (!reader.text().empty()) {
    if (++count > mechanisms_max) reader.fail("it offers more than 16 mechanisms");
  }
}

std::string_view* field_of(Report& report, char code) noexcept {
  switch (code) {
    case 'V':
      return &report.severity;
    case 'C':
      return &report.sqlstate;
    case 'M':
      return &report.message;
    case 'D':
      return &report.detail;
    case 'H':
      return &report.hint;
    case 'P':
      return &report.position;
    case 'W':
      return &report.where;
    case 's':
      return &report.schema;
    case 't':
      return &report.table;
    case 'c':
      return &report.column;
    case 'd':
      return &report.data_type;
    case 'n':
      return &report.constraint;
    default:
      return nullptr;
  }
}

}  // namespace

bool Authentication::offers(std::string_view mechanism) const noexcept {
  if (kind != Kind::sasl) return false;
  BodyReader reader(payload);
  for (;;) {
    const std::string_view offered = reader.text();
    if (offered.empty()) return false;
    if (offered == mechanism) return true;
  }
}

Result<Authentication> parse_authentication(std::string_view body) {
  BodyReader reader(body);
  Authentication message;
  const auto code = reader.number<std::uint32_t>();
  message.kind = static_cast<Authentication::Kind>(code);
  message.payload = reader.rest();
  switch (message.kind) {
    case Authentication::Kind::ok:
    case Authentication::Kind::cleartext_password:
      break;
    case Authentication::Kind::md5_password:
      (void)reader.bytes(md5_salt_bytes);
      break;
    case Authentication::Kind::sasl:
      check_mechanisms(reader);
      break;
    case Authentication::Kind::sasl_continue:
    case Authentication::Kind::sasl_final:
      (void)reader.take_rest();
      break;
    default:
      return fail(Errc::invalid,
                  fmt::format("Authentication: the server asks for method {}, which is not spoken "
                              "here; let it ask for scram-sha-256",
                              code));
  }
  MERIDIAN_CHECK(reader.finish("Authentication"));
  return message;
}

Result<BackendKeyData> parse_backend_key_data(std::string_view body) {
  BodyReader reader(body);
  BackendKeyData message;
  message.process_id = reader.number<std::uint32_t>();
  message.key = reader.take_rest();
  if (message.key.size() < key_bytes_min || message.key.size() > key_bytes_max)
    reader.fail("its key does not have 4 to 256 bytes");
  MERIDIAN_CHECK(reader.finish("BackendKeyData"));
  return message;
}

Result<ParameterStatus> parse_parameter_status(std::string_view body) {
  BodyReader reader(body);
  ParameterStatus message;
  message.name = reader.text();
  message.value = reader.text();
  MERIDIAN_CHECK(reader.finish("ParameterStatus"));
  return message;
}

Result<TransactionStatus> parse_ready_for_query(std::string_view body) {
  BodyReader reader(body);
  const char status = static_cast<char>(reader.number<std::uint8_t>());
  if (status != 'I' && status != 'T' && status != 'E')
    reader.fail("its status is none of I, T and E");
  MERIDIAN_CHECK(reader.finish("ReadyForQuery"));
  return static_cast<TransactionStatus>(status);
}

Result<CommandComplete> parse_command_complete(std::string_view body) {
  BodyReader reader(body);
  CommandComplete message;
  message.tag = reader.text();
  message.command = message.tag;
  // Trailing numbers, at most two: the last is the count of rows, INSERT has an OID before it.
  for (int i = 0; i < 2; ++i) {
    const std::size_t space = message.command.rfind(' ');
    if (space == std::string_view::npos) break;
    const auto number = parse_number<std::uint64_t>(message.command.substr(space + 1));
    if (!number) break;
    if (!message.rows) message.rows = number;
    message.command = message.command.substr(0, space);
  }
  MERIDIAN_CHECK(reader.finish("CommandComplete"));
  return message;
}

Result<Report> parse_report(std::string_view body) {
  BodyReader reader(body);
  Report report;
  std::string_view localised_severity;
  for (std::size_t count = 0;; ++count) {
    const char code = static_cast<char>(reader.number<std::uint8_t>());
    if (code == '\0') break;  // The terminator, or a failure that finish() reports.
    if (count == report_fields_max) reader.fail("it has more than report_fields_max=64 fields");
    const std::string_view value = reader.text();
    if (code == 'S') localised_severity = value;
    if (std::string_view* const field = field_of(report, code)) *field = value;
  }
  if (report.severity.empty()) report.severity = localised_severity;
  MERIDIAN_CHECK(reader.finish("ErrorResponse or NoticeResponse"));
  return report;
}

Result<std::vector<ColumnDescription>> parse_row_description(std::string_view body) {
  BodyReader reader(body);
  const auto count = reader.number<std::uint16_t>();
  // The smallest column has 19 bytes, so the reservation is no larger than what was received.
  constexpr std::size_t column_bytes_min = 19;
  std::vector<ColumnDescription> columns;
  columns.reserve(std::min<std::size_t>(count, body.size() / column_bytes_min));
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
    ColumnDescription column;
    column.name = reader.text();
    column.table = reader.number<std::uint32_t>();
    column.attribute = reader.number<std::int16_t>();
    column.type = reader.number<std::uint32_t>();
    column.type_size = reader.number<std::int16_t>();
    column.type_modifier = reader.number<std::int32_t>();
    column.format = reader.number<std::int16_t>();
    if (!reader.failed()) columns.push_back(column);
  }
  MERIDIAN_CHECK(reader.finish("RowDescription"));
  return columns;
}

Result<BigEndianArray<std::uint32_t>> parse_parameter_description(std::string_view body) {
  BodyReader reader(body);
  const auto count = reader.number<std::uint16_t>();
  const BigEndianArray<std::uint32_t> types(reader, count);
  MERIDIAN_CHECK(reader.finish("ParameterDescription"));
  return types;
}

Result<Values> parse_data_row(std::string_view body) {
  BodyReader reader(body);
  const auto count = reader.number<std::uint16_t>();
  const Values values(reader, count);
  MERIDIAN_CHECK(reader.finish("DataRow"));
  return values;
}

Result<CopyResponse> parse_copy_response(std::string_view body) {
  BodyReader reader(body);
  CopyResponse message;
  const auto format = reader.number<std::uint8_t>();
  if (format > 1) reader.fail("its format is neither text nor binary");
  message.binary = format == 1;
  const auto count = reader.number<std::uint16_t>();
  message.column_formats = {reader, count};
  MERIDIAN_CHECK(reader.finish("CopyResponse"));
  return message;
}

Result<NotificationResponse> parse_notification_response(std::string_view body) {
  BodyReader reader(body);
  NotificationResponse message;
  message.process_id = reader.number<std::uint32_t>();
  message.channel = reader.text();
  message.payload = reader.text();
  MERIDIAN_CHECK(reader.finish("NotificationResponse"));
  return message;
}

Result<NegotiateProtocolVersion> parse_negotiate_protocol_version(std::string_view body) {
  BodyReader reader(body);
  NegotiateProtocolVersion message;
  message.version = reader.number<std::uint32_t>();
  const auto count = reader.number<std::uint32_t>();
  if (count > unrecognised_options_max)
    reader.fail("it names more than unrecognised_options_max=64 options");
  for (std::size_t i = 0; i < count && !reader.failed(); ++i)
    message.unrecognised.push_back(reader.text());
  MERIDIAN_CHECK(reader.finish("NegotiateProtocolVersion"));
  return message;
}

}  // namespace meridian::postgres
