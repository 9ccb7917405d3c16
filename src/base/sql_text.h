#pragma once
// Names and texts quoted for SQL statements that take no parameters (PostgreSQL, section 4.1).

#include <string>
#include <string_view>

namespace meridian {

// `name` as a quoted identifier, `text` as a literal that means the same whatever
// standard_conforming_strings says. Requires no NUL.
std::string quote_identifier(std::string_view name);
std::string quote_literal(std::string_view text);

}  // namespace meridian
