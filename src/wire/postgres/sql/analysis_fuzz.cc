// Any SQL text within the bounds: no crash, statements lie inside of the text, and another text of
// the same normalised form has the same analysis unless it is said to depend on literals.

#include "base/assert.h"
#include "wire/postgres/sql/analysis.h"
#include "wire/postgres/sql/form_sample.h"
#include "wire/postgres/sql/normalise.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

using namespace meridian::postgres;

namespace {

void check_same(const Statement& a, const Statement& b) {
  MERIDIAN_ASSERT(a.kind == b.kind && a.node == b.node && a.unknown == b.unknown);
  MERIDIAN_ASSERT(a.reads_only == b.reads_only && a.locks_rows == b.locks_rows);
  MERIDIAN_ASSERT(a.effects == b.effects && a.settings == b.settings && a.subject == b.subject);
  MERIDIAN_ASSERT(a.names.relations == b.names.relations);
  MERIDIAN_ASSERT(a.names.functions == b.names.functions);
  MERIDIAN_ASSERT(a.names.operators == b.names.operators);
  MERIDIAN_ASSERT(a.names.attributes == b.names.attributes);
  // Types are not compared: float(10) and float(50) are two, and PostgreSQL's own both.
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto analysis = analyse(text);
  if (!analysis) return 0;
  for (const Statement& statement : analysis->statements) {
    MERIDIAN_ASSERT(std::uint64_t{statement.begin} + statement.size <= text.size());
    MERIDIAN_ASSERT(statement.complete == statement.unknown.empty());
  }
  std::string form;
  const Normalised normalised = normalise(text, form);
  if (!normalised.complete) return 0;
  MERIDIAN_ASSERT(analysis->statements.size() <= normalised.statements_max);
  if (analysis->depends_on_literals || !keeps_no_string(form)) return 0;
  const auto sample = analyse(sample_of(form), {.bounds = {}, .fingerprint = false});
  if (!sample) return 0;  // A literal may be out of the grammar's range.
  MERIDIAN_ASSERT(sample->statements.size() == analysis->statements.size());
  for (std::size_t i = 0; i < analysis->statements.size(); ++i)
    check_same(analysis->statements[i], sample->statements[i]);
  return 0;
}
