// Whatever the text, a rule's statement is refused or understood; with its fields put back it is
// the same again, and the parts of an INSERT are what it was cut from.

#include "base/assert.h"
#include "wire/postgres/sql/rule_statement.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

using namespace meridian;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), std::min(size, 4'096uz));
  const auto rule = postgres::parse_rule_statement(text);
  if (!rule) return 0;
  std::size_t highest = 0;
  const auto same = [&](std::size_t number) {
    MERIDIAN_ASSERT(number >= 1 && number <= rule->fields.size());
    highest = std::max(highest, number);
    return "$" + std::to_string(number);
  };
  MERIDIAN_ASSERT(postgres::replace_parameters(rule->sql, same) == rule->sql);
  MERIDIAN_ASSERT(highest == rule->fields.size());
  const std::string written = postgres::replace_parameters(
      rule->sql, [&](std::size_t number) { return "{" + rule->fields[number - 1] + "}"; });
  const auto again = postgres::parse_rule_statement(written);
  MERIDIAN_ASSERT(again && again->sql == rule->sql && again->fields == rule->fields);
  MERIDIAN_ASSERT(again->repeatable == rule->repeatable);
  MERIDIAN_ASSERT(rule->insert.has_value() == rule->one_by_one.empty());
  if (!rule->insert) return 0;
  const postgres::InsertParts& parts = *rule->insert;
  MERIDIAN_ASSERT(rule->sql.starts_with(parts.before + parts.relation + parts.columns));
  MERIDIAN_ASSERT(rule->sql.ends_with("(" + parts.values + ")" + parts.tail));
  for (const std::string_view part : {std::string_view(parts.before),
                                      std::string_view(parts.columns),
                                      std::string_view(parts.tail)}) {
    (void)postgres::replace_parameters(part, [](std::size_t) -> std::string {
      MERIDIAN_ASSERT(false);
      return {};
    });
  }
  return 0;
}
