#include "wire/resp/inline_request.h"

#include "base/hex.h"

#include <array>
#include <cstdint>
#include <span>

namespace meridian::resp {
namespace {

// What may stand before a word and after a closing quote: isspace() of the C locale.
bool is_blank(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// What ends a word. Vertical tab and form feed do not.
bool ends_word(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

char unescape(char c) noexcept {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

// Takes one escape, of which the backslash is at the front, off `rest`.
void take_escape(std::string_view& rest, std::string& text) {
  std::array<std::uint8_t, 1> byte{};
  if (rest.size() >= 4 && rest[1] == 'x' && from_hex(rest.substr(2, 2), byte)) {
    text += static_cast<char>(byte[0]);
    rest.remove_prefix(4);
    return;
  }
  text += unescape(rest[1]);
  rest.remove_prefix(2);
}

// Takes what is quoted, with both quotes, off `rest`.
bool take_quoted(std::string_view& rest, std::string& text) {
  const char quote = rest.front();
  rest.remove_prefix(1);
  while (!rest.empty() && rest.front() != quote) {
    if (quote == '"' && rest.front() == '\\' && rest.size() >= 2) {
      take_escape(rest, text);
    } else if (quote == '\'' && rest.starts_with("\\'")) {
      text += '\'';
      rest.remove_prefix(2);
    } else {
      text += rest.front();
      rest.remove_prefix(1);
    }
  }
  if (rest.empty()) return false;
  rest.remove_prefix(1);
  return rest.empty() || is_blank(rest.front());
}

}  // namespace

bool split_inline(std::string_view line, std::string& text, std::vector<Extent>& words) {
  text.clear();
  words.clear();
  for (;;) {
    while (!line.empty() && is_blank(line.front()))
      line.remove_prefix(1);
    if (line.empty()) return true;
    const std::size_t offset = text.size();
    while (!line.empty() && !ends_word(line.front())) {
      if (line.front() == '"' || line.front() == '\'') {
        if (!take_quoted(line, text)) return false;
        break;
      }
      text += line.front();
      line.remove_prefix(1);
    }
    words.push_back({.offset = offset, .size = text.size() - offset});
  }
}

}  // namespace meridian::resp
