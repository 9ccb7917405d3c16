#include "streams/message_fields.h"

#include "base/escape.h"
#include "base/number.h"
#include "wire/json/fields.h"

#include <array>
#include <utility>

namespace meridian {
namespace {

constexpr std::string_view ours = "meridian.";
constexpr std::array<std::pair<std::string_view, FieldSource>, 11> names{{
    {"payload", FieldSource::payload},
    {"subject", FieldSource::producer_subject},
    {"issuer", FieldSource::producer_issuer},
    {"role", FieldSource::producer_role},
    {"request_id", FieldSource::request},
    {"message_subject", FieldSource::message_subject},
    {"message_id", FieldSource::message_id},
    {"stream", FieldSource::stream},
    {"sequence", FieldSource::sequence},
    {"time", FieldSource::time},
    {"batch", FieldSource::batch},
}};
constexpr std::size_t tokens_max = 64;

}  // namespace

Result<MessageField> parse_message_field(std::string_view text) {
  std::string_view name = text;
  MessageField field;
  if (name.ends_with('?')) {
    field.may_miss = true;
    name.remove_suffix(1);
  }
  if (!name.starts_with(ours)) {
    field.source = FieldSource::payload_field;
    field.path = name;
    MERIDIAN_TRY(const json::FieldReader reader, json::FieldReader::make({field.path}));
    return field;
  }
  name.remove_prefix(ours.size());
  for (const auto& [known, source] : names) {
    if (name != known) continue;
    field.source = source;
    return field;
  }
  constexpr std::string_view header = "header.";
  if (name.starts_with(header) && name.size() > header.size()) {
    field.source = FieldSource::header;
    field.path = name.substr(header.size());
    return field;
  }
  constexpr std::string_view token = "token[";
  if (name.starts_with(token) && name.ends_with(']')) {
    const auto index =
        parse_number<std::size_t>(name.substr(token.size(), name.size() - token.size() - 1));
    if (index && *index < tokens_max) {
      field.source = FieldSource::message_token;
      field.token = *index;
      return field;
    }
  }
  return fail(Errc::invalid,
              quote(text) +
                  " is not known; after meridian. come payload, subject, issuer, role, "
                  "request_id, message_subject, token[N], message_id, header.NAME, "
                  "stream, sequence, time and batch");
}

}  // namespace meridian
