#pragma once
// What a text may cost PostgreSQL's parser, told from its tokens before the parser sees it.
// libpg_query walks its trees by recursion without a guard, takes time in the square of their
// depth, and writes shared parts of a tree once for each place they are shared at; so a short
// hostile text could use up the stack or the machine.

#include "base/result.h"
#include "wire/postgres/sql/lexer.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace meridian::postgres {

struct ParseBounds {
  std::uint32_t text_bytes_max = 256 * 1024;
  // What puts one node of the tree below another counts once: a bracket, an operator, a cast, NOT,
  // CASE, JOIN, UNION and their like. Lists do not, however long: commas, AND and OR.
  std::uint32_t nesting_max = 500;
  // Tokens of the text, each as often as the tree repeats it: UPDATE ... SET (a, b, c) = (SELECT
  // ...) repeats what is right of the sign for each column, and such statements can be nested.
  std::uint64_t tokens_max = 1 << 19;
};

// The stack that parsing and walking a tree within the default bounds may use: 1.4 KB for each
// level of the most costly kind, subqueries, were measured.
inline constexpr std::size_t analysis_stack_bytes = 2 << 20;

// Errors: exhausted, naming the bound; invalid for a token that is not understood. libpg_query
// reads
// '...' in the standard way: under any other `strings`, a plain string with a backslash counts as
// not understood.
Result<void> check_parse_bounds(std::string_view sql,
                                const ParseBounds& bounds,
                                StringSyntax strings = StringSyntax::standard);

}  // namespace meridian::postgres
