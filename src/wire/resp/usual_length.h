#pragma once
// The line that nearly all lengths are: whole, of one to four digits. For the quick paths of the
// decoders, which leave everything else, errors included, to their general ones.

#include <cstddef>

namespace meridian::resp {

struct UsualLength {
  const char* end = nullptr;  // Of the line; null when it is not a usual one.
  std::size_t value = 0;
};

// The line at `at` that begins with `type`, as "$16\r\n" does.
inline UsualLength usual_length(const char* at, const char* end, char type) noexcept {
  constexpr std::ptrdiff_t digits_max = 4;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (end - at < 4 || at[0] != type || !is_digit(at[1])) return {};
  const char* const digits = at + 1;
  const char* next = digits;
  std::size_t value = 0;
  while (next != end && next - digits < digits_max && is_digit(*next))
    value = value * 10 + static_cast<std::size_t>(*next++ - '0');
  if (*digits == '0' && next - digits > 1) return {};
  if (end - next < 2 || next[0] != '\r' || next[1] != '\n') return {};
  return {.end = next + 2, .value = value};
}

}  // namespace meridian::resp
