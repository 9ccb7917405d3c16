#include "wire/nats/quote.h"

#include "base/escape.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <iterator>

namespace meridian::nats {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Controls, formats, white space other than a space, private use and non-characters (Unicode,
// general categories C and Z).
constexpr std::array<Range, 27> unprintable{{
    {0x00, 0x1f},       {0x7f, 0xa0},       {0xad, 0xad},        {0x600, 0x605},
    {0x61c, 0x61c},     {0x6dd, 0x6dd},     {0x70f, 0x70f},      {0x8e2, 0x8e2},
    {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f},    {0x2028, 0x202f},
    {0x205f, 0x206f},   {0x3000, 0x3000},   {0xd800, 0xf8ff},    {0xfdd0, 0xfdef},
    {0xfeff, 0xfeff},   {0xfff0, 0xfffb},   {0xfffe, 0xffff},    {0x110bd, 0x110bd},
    {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3},  {0x1d173, 0x1d17a},
    {0xe0000, 0xe00ff}, {0xe01f0, 0xe0fff}, {0xf0000, 0x10ffff},
}};

bool is_printable(char32_t c) noexcept {
  return std::ranges::none_of(unprintable,
                              [=](Range range) { return c >= range.first && c <= range.last; });
}

// Requires a well-formed sequence.
char32_t decode(std::string_view sequence) noexcept {
  const auto first = static_cast<unsigned char>(sequence.front());
  if (sequence.size() == 1) return first;
  constexpr unsigned payload_bits = 6;
  char32_t c = first & ((0x80U >> sequence.size()) - 1);
  for (const char byte : sequence.substr(1))
    c = (c << payload_bits) | (static_cast<unsigned char>(byte) & 0x3fU);
  return c;
}

void append_escape(std::string& out, char32_t c) {
  constexpr std::string_view named = "abtnvfr";  // From U+0007 on.
  const auto number = static_cast<std::uint32_t>(c);
  if (number >= 7 && number < 7 + named.size()) {
    out += '\\';
    out += named[number - 7];
  } else if (number < 0x80) {
    fmt::format_to(std::back_inserter(out), "\\x{:02x}", number);
  } else if (number < 0x10000) {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", number);
  } else {
    fmt::format_to(std::back_inserter(out), "\\U{:08x}", number);
  }
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string out(1, '"');
  while (!text.empty()) {
    const std::size_t size = utf8_sequence_size(text);
    if (size == 0) {
      const auto byte = static_cast<unsigned char>(text.front());
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
      text.remove_prefix(1);
      continue;
    }
    const std::string_view sequence = text.substr(0, size);
    text.remove_prefix(size);
    const char32_t c = decode(sequence);
    if (c == U'"' || c == U'\\') out += '\\';
    if (is_printable(c)) {
      out += sequence;
    } else {
      append_escape(out, c);
    }
  }
  out += '"';
  return out;
}

}  // namespace meridian::nats
