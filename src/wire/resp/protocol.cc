#include "wire/resp/protocol.h"

#include "base/number.h"

namespace meridian::resp {

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept {
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  if (digits.starts_with('0') && text.size() > 1) return std::nullopt;
  return parse_number<std::int64_t>(text);
}

bool is_keyword(std::string_view argument, std::string_view word) noexcept {
  if (argument.size() < word.size()) return false;
  if (argument.size() > word.size() && argument[word.size()] != '\0') return false;
  for (std::size_t i = 0; i < word.size(); ++i) {
    const char letter = argument[i];
    const char lower = letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter | 0x20) : letter;
    if (lower != word[i]) return false;
  }
  return true;
}

}  // namespace meridian::resp
