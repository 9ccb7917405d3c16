#pragma once
// Writes JSON text piece by piece (RFC 8259), for reports and exports.

#include "base/escape.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace meridian::trail {

// Commas come by themselves. The caller opens and closes what it opens.
class JsonWriter {
 public:
  JsonWriter& open_object() { return open('{'); }
  JsonWriter& close_object() { return close('}'); }
  JsonWriter& open_array() { return open('['); }
  JsonWriter& close_array() { return close(']'); }

  JsonWriter& name(std::string_view name) {
    separate();
    append_json_string(text_, name);
    text_ += ':';
    comma_ = false;
    return *this;
  }
  JsonWriter& value(std::string_view text) {
    separate();
    append_json_string(text_, text);
    return *this;
  }
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(std::uint64_t number) {
    separate();
    text_ += std::to_string(number);
    return *this;
  }
  JsonWriter& value(bool truth) {
    separate();
    text_ += truth ? "true" : "false";
    return *this;
  }

  template <class T>
  JsonWriter& field(std::string_view field_name, const T& field_value) {
    return name(field_name).value(field_value);
  }

  std::string take() { return std::move(text_); }

 private:
  JsonWriter& open(char bracket) {
    separate();
    text_ += bracket;
    comma_ = false;
    return *this;
  }
  JsonWriter& close(char bracket) {
    text_ += bracket;
    comma_ = true;
    return *this;
  }
  void separate() {
    if (comma_) text_ += ',';
    comma_ = true;
  }

  std::string text_;
  bool comma_ = false;
};

}  // namespace meridian::trail
