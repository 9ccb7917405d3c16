#include "base/ids.h"

#include "base/hex.h"
#include "base/random.h"

namespace meridian {

RequestId RequestId::make(WallTime now, Random& random) {
  const auto millis = static_cast<std::uint64_t>(
      std::chrono::floor<std::chrono::milliseconds>(now).time_since_epoch().count());
  const std::uint64_t high = random.next();
  const std::uint64_t low = random.next();
  std::array<std::uint8_t, 16> bytes;
  for (std::size_t i = 0; i < 6; ++i)
    bytes[i] = static_cast<std::uint8_t>(millis >> (40 - 8 * i));
  bytes[6] = static_cast<std::uint8_t>(0x70 | (high & 0x0f));  // Version 7.
  bytes[7] = static_cast<std::uint8_t>(high >> 8);
  for (std::size_t i = 0; i < 8; ++i)
    bytes[8 + i] = static_cast<std::uint8_t>(low >> (8 * i));
  bytes[8] = static_cast<std::uint8_t>(0x80 | (bytes[8] & 0x3f));  // Variant 10.
  return RequestId(bytes);
}

std::optional<RequestId> RequestId::parse(std::string_view text) noexcept {
  std::array<char, 32> digits;
  std::size_t count = 0;
  if (text.size() != 32 && text.size() != 36) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = text.size() == 36 && (i == 8 || i == 13 || i == 18 || i == 23);
    if (dash != (text[i] == '-')) return std::nullopt;
    if (!dash) digits[count++] = text[i];
  }
  std::array<std::uint8_t, 16> bytes;
  if (!from_hex(std::string_view(digits.data(), count), bytes)) return std::nullopt;
  return RequestId(bytes);
}

std::string RequestId::to_string() const {
  const std::string digits = to_hex();
  std::string text;
  text.reserve(36);
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i == 8 || i == 12 || i == 16 || i == 20) text += '-';
    text += digits[i];
  }
  return text;
}

std::string RequestId::to_hex() const {
  return meridian::to_hex(bytes_);
}

std::optional<RequestId> parse_traceparent(std::string_view text) noexcept {
  // Version 00 has exactly 55 characters; ff is invalid; later versions may append "-...".
  if (text.size() < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  std::array<std::uint8_t, 1> version;
  std::array<std::uint8_t, 8> parent;
  std::array<std::uint8_t, 1> flags;
  if (!from_hex(text.substr(0, 2), version) || !from_hex(text.substr(36, 16), parent) ||
      !from_hex(text.substr(53, 2), flags) || version[0] == 0xff) {
    return std::nullopt;
  }
  if (text.size() > 55 && (version[0] == 0 || text[55] != '-')) return std::nullopt;
  auto id = RequestId::parse(text.substr(3, 32));
  if (!id || id->nil()) return std::nullopt;
  return id;
}

}  // namespace meridian
