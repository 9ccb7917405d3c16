#pragma once
// Reads JSON text that nobody vouches for (RFC 8259), strictly: what two readers might understand
// differently is refused.

#include "wire/json/value.h"

#include <cstddef>
#include <string_view>

namespace meridian::json {

struct Limits {
  std::size_t size_max = 65'536;  // Bytes of text. A value takes up to 25 times as much memory.
  std::size_t depth_max = 32;     // Objects and arrays inside each other.
};

// One value and nothing after it but white space. Errors: invalid (bad syntax, no UTF-8, a byte
// order mark, a number out of range, two members of one name) and exhausted (a limit). They name
// the byte or the member's path and quote nothing else, because the text may be secret.
Result<Value> parse(std::string_view text, Limits limits = {});

}  // namespace meridian::json
