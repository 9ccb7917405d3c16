#pragma once
// A whole reply as a tree, for the replies that we read ourselves: HELLO, COMMAND, INFO.

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace meridian::resp {

struct Value {
  enum class Type : std::uint8_t {
    simple,  // +OK, and the other one-line texts
    error,
    integer,
    bulk,
    null,
    number,      // A double, as its text.
    boolean,     // In `integer`.
    big_number,  // As its text.
    verbatim,    // Its text without the format in front ("txt:").
    array,
    map,  // Keys and values take turns in `items`.
    set,
    push,
  };

  Type type = Type::null;
  std::string_view text;  // A view of the reply.
  std::int64_t integer = 0;
  std::vector<Value> items;  // Of an aggregate.

  bool is_text() const noexcept { return type == Type::simple || type == Type::bulk; }
  bool is_error() const noexcept { return type == Type::error; }

  // The value of this key in a map, or in a flat array as version 2 spells a map. Null when there
  // is none.
  const Value* find(std::string_view key) const noexcept;
};

struct ValueLimits {
  std::size_t depth_max = 32;  // Redis's own replies nest below 10 levels.
};

// Reads a reply of either version, which must be all of `reply`. Attributes are left out. Memory is
// proportional to the reply's size, whatever it claims. Error: invalid.
Result<Value> parse_value(std::string_view reply, ValueLimits limits = {});

}  // namespace meridian::resp
