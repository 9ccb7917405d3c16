#pragma once
// Whole numbers from text: all of the text, no sign where there is none, no silent overflow.

#include <charconv>
#include <concepts>
#include <optional>
#include <string_view>
#include <system_error>

namespace meridian {

template <std::integral T>
std::optional<T> parse_number(std::string_view text, int base = 10) noexcept {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc() || stopped != end || text.empty()) return std::nullopt;
  return value;
}

}  // namespace meridian
