#pragma once
// The query of a cached view, such as `SELECT ... FROM orders WHERE id = {id}` for the key
// `order:{id}`: made into SQL with parameters, and read for what its result depends on.
//
// Everything here is what the text says. That columns and functions are what they look like, that
// relations are plain tables, and that equal values of a column are spelt alike (not so for citext,
// numeric or char(n)), is for the catalogue to say before a view may rely on it.

#include "base/result.h"
#include "wire/postgres/sql/analysis.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::postgres {

// `column = {part}`, either way round, under the name "=" or pg_catalog."=".
struct ViewCondition {
  std::string column;
  std::size_t part = 0;               // Index into the names given.
  std::optional<QualifiedName> cast;  // {part}::cast, when it is cast.
  friend bool operator==(const ViewCondition&, const ViewCondition&) = default;
};

// One place where the query names a table or a view. The result for given parts depends on this
// relation, through this place, only by rows that meet all of `conditions`: a row that fails one
// can come, go and change without any effect. No condition: it may depend on every row.
struct ViewSource {
  QualifiedName relation;
  std::vector<ViewCondition> conditions;
};

struct ViewQuery {
  std::string sql;                  // With $1 for the first part's name, $2 for the second, ...
  std::vector<ViewSource> sources;  // Every place, subqueries included, in the order of the text.
  Names names;  // Volatile ones (now, random, current_user, ...) the catalogue must refuse.
  std::vector<std::string> refusals;  // Why it may not be cached at all; empty: the text allows it.
};

// Of a view's query: it is written by people, once, and read with less care for long texts.
inline constexpr ParseBounds view_query_bounds = {.text_bytes_max = 16 * 1024};

// `parts` are the names in the key's pattern. Braces inside literals, comments and quoted
// identifiers are left alone. Errors: invalid when the query is not PostgreSQL's grammar, has a
// part that the key has not, lacks one that it has, or has parameters of its own; exhausted as
// ParseTree::parse().
Result<ViewQuery> parse_view_query(std::string_view query,
                                   std::span<const std::string> parts,
                                   const ParseBounds& bounds = view_query_bounds);

}  // namespace meridian::postgres
