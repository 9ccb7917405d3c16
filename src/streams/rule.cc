#include "streams/rule.h"

#include "base/escape.h"
#include "streams/payload_reader.h"

#include <algorithm>
#include <utility>

namespace meridian {

Result<Rule> Rule::compile(RuleSettings settings) {
  Rule rule;
  auto statement = postgres::parse_rule_statement(settings.sql);
  if (!statement) return fail_while("sql", statement.error());
  rule.statement_ = *std::move(statement);
  for (const std::string& text : rule.statement_.fields) {
    auto field = parse_message_field(text);
    if (!field) return fail_while("sql", field.error());
    if (field->source == FieldSource::payload_field) {
      auto reader = PayloadReader::make(settings.schema, {field->path});
      if (!reader) return fail_while("sql", reader.error());
      rule.payload_paths_.push_back(field->path);
    }
    rule.fields_.push_back(*std::move(field));
  }
  if (!settings.key.empty()) {
    std::string_view key = settings.key;
    if (!key.starts_with('{') || !key.ends_with('}')) {
      return fail(Errc::invalid, "key: write one field in braces, as in \"{customer}\"");
    }
    auto field = parse_message_field(key.substr(1, key.size() - 2));
    if (!field) return fail_while("key", field.error());
    if (field->source == FieldSource::payload_field) {
      auto reader = PayloadReader::make(settings.schema, {field->path});
      if (!reader) return fail_while("key", reader.error());
    }
    rule.key_ = *std::move(field);
  }
  rule.settings_ = std::move(settings);
  return rule;
}

std::string Rule::refusal(const Producer& producer) const {
  const auto lacks = [](const std::vector<std::string>& list, const std::string& value) {
    return !list.empty() && std::ranges::find(list, value) == list.end();
  };
  if (lacks(settings_.roles, producer.role)) {
    return "role " + quote(producer.role) + " is not among require.roles";
  }
  if (lacks(settings_.issuers, producer.issuer)) {
    return "issuer " + quote(producer.issuer) + " is not among require.issuers";
  }
  if (lacks(settings_.subjects, producer.subject)) {
    return "subject " + quote(producer.subject) + " is not among require.subjects";
  }
  return {};
}

}  // namespace meridian
