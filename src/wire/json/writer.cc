#include "wire/json/writer.h"

#include "base/assert.h"
#include "base/escape.h"

#include <cmath>
#include <fmt/format.h>

namespace meridian::json {

// What was written before decides, since a finished value ends in none of these characters.
void Writer::separate() {
  if (text_.empty()) return;
  const char last = text_.back();
  if (last != '{' && last != '[' && last != ':') text_ += ',';
}

Writer& Writer::begin_object() {
  separate();
  text_ += '{';
  return *this;
}

Writer& Writer::end_object() {
  text_ += '}';
  return *this;
}

Writer& Writer::begin_array() {
  separate();
  text_ += '[';
  return *this;
}

Writer& Writer::end_array() {
  text_ += ']';
  return *this;
}

Writer& Writer::name(std::string_view name) {
  separate();
  append_json_string(text_, name);
  text_ += ':';
  return *this;
}

Writer& Writer::null() {
  separate();
  text_ += "null";
  return *this;
}

Writer& Writer::boolean(bool value) {
  separate();
  text_ += value ? "true" : "false";
  return *this;
}

Writer& Writer::integer(std::int64_t value) {
  separate();
  fmt::format_to(std::back_inserter(text_), "{}", value);
  return *this;
}

Writer& Writer::number(double value) {
  MERIDIAN_ASSERT(std::isfinite(value));
  separate();
  const std::string digits = fmt::format("{}", value);
  text_ += digits;
  // So that a reader sees what it was: no integer.
  if (digits.find_first_of(".e") == std::string::npos) text_ += ".0";
  return *this;
}

Writer& Writer::string(std::string_view value) {
  separate();
  append_json_string(text_, value);
  return *this;
}

Writer& Writer::value(const Value& value) {
  if (const auto text = value.string()) return string(*text);
  if (const auto integral = value.integer()) return integer(*integral);
  if (const auto real = value.number()) return number(*real);
  if (const auto truth = value.boolean()) return boolean(*truth);
  if (const Value::Array* const values = value.array()) {
    begin_array();
    for (const Value& item : *values)
      this->value(item);
    return end_array();
  }
  if (const Value::Object* const members = value.object()) {
    begin_object();
    for (const Member& item : *members)
      name(item.name).value(item.value);
    return end_object();
  }
  return null();
}

std::string to_text(const Value& value) {
  return Writer().value(value).take();
}

}  // namespace meridian::json
