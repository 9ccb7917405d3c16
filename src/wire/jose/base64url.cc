#include "wire/jose/base64url.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace meridian::jose {
namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::uint8_t no_digit = 0xff;

constexpr std::array<std::uint8_t, 256> digit_values = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(no_digit);
  for (std::size_t i = 0; i < alphabet.size(); ++i)
    values[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
  return values;
}();

}  // namespace

std::string to_base64url(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  unsigned bits_count = 0;
  for (const char byte : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(byte);
    bits_count += 8;
    while (bits_count >= 6) {
      bits_count -= 6;
      text += alphabet[bits >> bits_count & 0x3f];
    }
  }
  if (bits_count > 0) text += alphabet[bits << (6 - bits_count) & 0x3f];
  return text;
}

Result<std::string> from_base64url(std::string_view text) {
  if (text.size() % 4 == 1) return fail(Errc::invalid, "base64url of an impossible size");
  std::string bytes;
  bytes.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  unsigned bits_count = 0;
  for (const char character : text) {
    const std::uint8_t value = digit_values[static_cast<unsigned char>(character)];
    if (value == no_digit) return fail(Errc::invalid, "a character that is not base64url");
    bits = bits << 6 | value;
    bits_count += 6;
    if (bits_count >= 8) {
      bits_count -= 8;
      bytes += static_cast<char>(bits >> bits_count & 0xff);
    }
  }
  if ((bits & ((1U << bits_count) - 1)) != 0) {
    return fail(Errc::invalid, "base64url whose unused bits are not zero");
  }
  return bytes;
}

}  // namespace meridian::jose
