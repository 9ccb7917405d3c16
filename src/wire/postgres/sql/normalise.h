#pragma once
// The form that SQL texts share when they differ in literals, comments and white space alone, found
// in one pass over PostgreSQL's tokens (wire/postgres/sql/lexer.h).
//
// Each literal becomes its class in braces, which are no token of PostgreSQL's:
//
//   {int4} {int8} {numeric}   integers by size; what has a point, an exponent or more digits
//   {string}                  '...', E'...', U&'...' and $$...$$
//   {bits} {hex}              B'...' and X'...'
//
// Comments go, white space between tokens becomes one space, and everything else stays as it is. So
// two texts with the same form are the same to PostgreSQL's grammar but for the values of literals
// of the same class. What a statement *does* may still depend on those values: see
// Analysis::depends_on_literals.

#include "base/hash.h"
#include "base/ids.h"
#include "wire/postgres/sql/lexer.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace meridian::postgres {

struct Normalised {
  // The text was understood to its end. If not, the caller must treat it as opaque: `hash` is zero
  // and nothing was appended.
  bool complete = false;
  Hash128 hash;                      // Of the normalised form.
  RequestId request;                 // From a comment traceparent='...' (sqlcommenter), or nil.
  std::uint32_t statements_max = 0;  // At most so many statements: the pieces between semicolons.
};

// Appends the normalised form of `sql` to `out`; it is at most six times as long. Requires a text
// below 2 GiB in an encoding as the lexer asks for.
Normalised normalise(std::string_view sql,
                     std::string& out,
                     StringSyntax strings = StringSyntax::standard);

}  // namespace meridian::postgres
