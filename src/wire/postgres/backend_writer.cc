#include "wire/postgres/backend_writer.h"

#include "wire/postgres/bytes.h"

namespace meridian::postgres {
namespace {

MessageWriter message(std::string& out, BackendType type) {
  return {out, static_cast<char>(type)};
}

MessageWriter authentication(std::string& out, Authentication::Kind kind) {
  return message(out, BackendType::authentication).number(static_cast<std::uint32_t>(kind));
}

std::string_view name_of(Severity severity) noexcept {
  switch (severity) {
    case Severity::error:
      return "ERROR";
    case Severity::fatal:
      return "FATAL";
    case Severity::panic:
      return "PANIC";
    case Severity::warning:
      return "WARNING";
    case Severity::notice:
      return "NOTICE";
  }
  return "ERROR";
}

void add_field(MessageWriter& writer, char code, std::string_view text) {
  writer.letter(code);
  for (std::size_t nul = text.find('\0'); nul != std::string_view::npos; nul = text.find('\0')) {
    writer.bytes(text.substr(0, nul)).letter('?');
    text.remove_prefix(nul + 1);
  }
  writer.text(text);
}

void append_report(std::string& out, BackendType type, const Complaint& complaint) {
  constexpr std::size_t sqlstate_bytes = 5;
  MERIDIAN_ASSERT(complaint.sqlstate.size() == sqlstate_bytes);
  MessageWriter writer = message(out, type);
  add_field(writer, 'S', name_of(complaint.severity));
  add_field(writer, 'V', name_of(complaint.severity));
  add_field(writer, 'C', complaint.sqlstate);
  add_field(writer, 'M', complaint.message);
  if (!complaint.detail.empty()) add_field(writer, 'D', complaint.detail);
  if (!complaint.hint.empty()) add_field(writer, 'H', complaint.hint);
  writer.letter('\0').finish();
}

bool has_empty_body(BackendType type) noexcept {
  return type == BackendType::parse_complete || type == BackendType::bind_complete ||
         type == BackendType::close_complete || type == BackendType::no_data ||
         type == BackendType::copy_done || type == BackendType::empty_query_response ||
         type == BackendType::portal_suspended;
}

}  // namespace

void append_authentication_ok(std::string& out) {
  authentication(out, Authentication::Kind::ok).finish();
}

void append_authentication_cleartext_password(std::string& out) {
  authentication(out, Authentication::Kind::cleartext_password).finish();
}

void append_authentication_sasl(std::string& out, std::span<const std::string_view> mechanisms) {
  MessageWriter writer = authentication(out, Authentication::Kind::sasl);
  for (const std::string_view mechanism : mechanisms)
    writer.text(mechanism);
  writer.text({}).finish();
}

void append_authentication_sasl_continue(std::string& out, std::string_view bytes) {
  authentication(out, Authentication::Kind::sasl_continue).bytes(bytes).finish();
}

void append_authentication_sasl_final(std::string& out, std::string_view bytes) {
  authentication(out, Authentication::Kind::sasl_final).bytes(bytes).finish();
}

void append_negotiate_protocol_version(std::string& out, const Negotiation& negotiation) {
  MessageWriter writer = message(out, BackendType::negotiate_protocol_version);
  writer.number(negotiation.version.code());
  writer.number(static_cast<std::uint32_t>(negotiation.unrecognised.size()));
  for (const std::string_view option : negotiation.unrecognised)
    writer.text(option);
  writer.finish();
}

void append_backend_key_data(std::string& out, std::uint32_t process_id, std::string_view key) {
  message(out, BackendType::backend_key_data).number(process_id).bytes(key).finish();
}

void append_parameter_status(std::string& out, std::string_view name, std::string_view value) {
  message(out, BackendType::parameter_status).text(name).text(value).finish();
}

void append_ready_for_query(std::string& out, TransactionStatus status) {
  message(out, BackendType::ready_for_query).letter(static_cast<char>(status)).finish();
}

void append_empty(std::string& out, BackendType type) {
  MERIDIAN_ASSERT(has_empty_body(type));
  message(out, type).finish();
}

void append_command_complete(std::string& out, std::string_view tag) {
  message(out, BackendType::command_complete).text(tag).finish();
}

void append_row_description(std::string& out, std::span<const ColumnDescription> columns) {
  MERIDIAN_ASSERT(columns.size() <= 0xffff);
  MessageWriter writer = message(out, BackendType::row_description);
  writer.number(static_cast<std::uint16_t>(columns.size()));
  for (const ColumnDescription& column : columns) {
    writer.text(column.name).number(column.table).number(column.attribute).number(column.type);
    writer.number(column.type_size).number(column.type_modifier).number(column.format);
  }
  writer.finish();
}

void append_data_row(std::string& out, std::span<const Value> values) {
  MERIDIAN_ASSERT(values.size() <= 0xffff);
  MessageWriter writer = message(out, BackendType::data_row);
  writer.number(static_cast<std::uint16_t>(values.size()));
  for (const Value& value : values) {
    if (value) {
      writer.counted(*value);
    } else {
      writer.number(std::int32_t{-1});
    }
  }
  writer.finish();
}

void append_notification_response(std::string& out,
                                  std::uint32_t process_id,
                                  std::string_view channel,
                                  std::string_view payload) {
  message(out, BackendType::notification_response)
      .number(process_id)
      .text(channel)
      .text(payload)
      .finish();
}

void append_error(std::string& out, const Complaint& complaint) {
  append_report(out, BackendType::error_response, complaint);
}

void append_notice(std::string& out, const Complaint& complaint) {
  append_report(out, BackendType::notice_response, complaint);
}

}  // namespace meridian::postgres
