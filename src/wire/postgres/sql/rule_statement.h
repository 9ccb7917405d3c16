#pragma once
// The statement of an ingest rule, such as `INSERT INTO orders (id) VALUES ({id})`: made into SQL
// with parameters, and, where it is a plain INSERT of one row, into its parts, so that many rows
// can go in by one statement.

#include "base/function_ref.h"
#include "base/result.h"
#include "wire/postgres/sql/parse_bounds.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::postgres {

// INSERT INTO relation (columns) VALUES (values) tail
struct InsertParts {
  std::string before;    // "INSERT INTO "
  std::string relation;  // As written.
  std::string columns;   // What stands between relation and VALUES.
  std::string values;    // Between the brackets; with $1, $2, ...
  std::string tail;      // ON CONFLICT and what follows it.
};

struct RuleStatement {
  std::string sql;                    // With $1 for the first field, $2 for the second, ...
  std::vector<std::string> fields;    // In order of first use, each once, as written in braces.
  std::optional<InsertParts> insert;  // Where many rows may go in by one statement.
  std::string one_by_one;             // Otherwise: why not.
  bool repeatable = false;  // It has ON CONFLICT: the same row again changes nothing unintended.
};

// Braces inside literals, comments and quoted identifiers are left alone. Errors: invalid when it
// is not PostgreSQL's grammar, is not one statement that changes rows, or has parameters of its
// own.
Result<RuleStatement> parse_rule_statement(std::string_view text);

// `sql` with what `replacement` says in the place of $1, $2, ...
std::string replace_parameters(std::string_view sql,
                               FunctionRef<std::string(std::size_t number)> replacement);

}  // namespace meridian::postgres
