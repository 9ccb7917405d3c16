#pragma once
// Writes JSON text, compact, in the order of the calls.

#include "wire/json/value.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace meridian::json {

// The calls must make one value: begin_object(), name() and a value for each member, end_object().
// Bytes in strings that are no UTF-8 become U+FFFD.
class Writer {
 public:
  Writer& begin_object();
  Writer& end_object();
  Writer& begin_array();
  Writer& end_array();
  Writer& name(std::string_view name);

  Writer& null();
  Writer& boolean(bool value);
  Writer& integer(std::int64_t value);
  Writer& number(double value);  // Requires a finite number.
  Writer& string(std::string_view value);
  Writer& value(const Value& value);

  // A member with a string value.
  Writer& member(std::string_view member_name, std::string_view value) {
    return name(member_name).string(value);
  }

  std::string take() { return std::move(text_); }

 private:
  void separate();

  std::string text_;
};

std::string to_text(const Value& value);

}  // namespace meridian::json
