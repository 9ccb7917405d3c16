#include "base/escape.h"

#include <cstdint>
#include <cstring>

namespace meridian {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

std::string escaped(std::string_view text, std::size_t size_max, bool quotes) {
  std::string out;
  bool cut = false;
  while (!text.empty()) {
    if (out.size() >= size_max) {
      cut = true;
      break;
    }
    const char c = text.front();
    const auto byte = static_cast<unsigned char>(c);
    const std::size_t size = utf8_sequence_size(text);
    if (quotes && (c == '"' || c == '\\')) {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f || size == 0 ||
               (size == 2 && byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0)) {
      // The last alternative is the C1 control range, which some terminals obey.
      out += "\\x";
      out += hex_digits[byte >> 4];
      out += hex_digits[byte & 0x0f];
      text.remove_prefix(1);
      continue;
    } else {
      out += text.substr(0, size);
      text.remove_prefix(size);
      continue;
    }
    text.remove_prefix(1);
  }
  if (cut) out += "...";
  return out;
}

}  // namespace

std::size_t utf8_sequence_size(std::string_view text) noexcept {
  if (text.empty()) return 0;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](std::size_t i, unsigned char low = 0x80, unsigned char high = 0xbf) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first == 0xe0) return follows(1, 0xa0) && follows(2) ? 3 : 0;
  if (first == 0xed) return follows(1, 0x80, 0x9f) && follows(2) ? 3 : 0;
  if (first >= 0xe1 && first <= 0xef) return follows(1) && follows(2) ? 3 : 0;
  if (first == 0xf0) return follows(1, 0x90) && follows(2) && follows(3) ? 4 : 0;
  if (first >= 0xf1 && first <= 0xf3) return follows(1) && follows(2) && follows(3) ? 4 : 0;
  if (first == 0xf4) return follows(1, 0x80, 0x8f) && follows(2) && follows(3) ? 4 : 0;
  return 0;
}

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    // Most texts are ASCII, which eight bytes at a time tell.
    std::uint64_t eight = 0;
    while (text.size() >= sizeof eight) {
      std::memcpy(&eight, text.data(), sizeof eight);
      if ((eight & 0x8080'8080'8080'8080) != 0) break;
      text.remove_prefix(sizeof eight);
    }
    if (text.empty()) break;
    const std::size_t size = utf8_sequence_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string escape(std::string_view text, std::size_t size_max) {
  return escaped(text, size_max, true);
}

std::string printable(std::string_view text, std::size_t size_max) {
  return escaped(text, size_max, false);
}

std::string quote(std::string_view text, std::size_t size_max) {
  return '"' + escape(text, size_max) + '"';
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const char c = text.front();
    const auto byte = static_cast<unsigned char>(c);
    std::size_t size = utf8_sequence_size(text);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20) {
      out += "\\u00";
      out += hex_digits[byte >> 4];
      out += hex_digits[byte & 0x0f];
    } else if (size == 0) {
      out += "\xef\xbf\xbd";
      size = 1;
    } else {
      out += text.substr(0, size);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
  out += '"';
}

std::string to_json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

}  // namespace meridian
