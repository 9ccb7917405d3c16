// Any text as the query of a view with the parts {a} and {b}: no crash, and what comes out is sound
// in itself.

#include "base/assert.h"
#include "wire/postgres/sql/view_query.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using namespace meridian::postgres;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::string> parts = {"a", "b"};
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto view = parse_view_query(text, parts);
  if (!view) return 0;
  MERIDIAN_ASSERT(view->sql.contains("$1") && view->sql.contains("$2"));
  for (const ViewSource& source : view->sources) {
    MERIDIAN_ASSERT(!source.relation.name.empty());
    for (const ViewCondition& condition : source.conditions) {
      MERIDIAN_ASSERT(condition.part < parts.size() && !condition.column.empty());
    }
  }
  // The rewritten query has no parts left, and parameters of its own.
  MERIDIAN_ASSERT(!parse_view_query(view->sql, {}));
  return 0;
}
