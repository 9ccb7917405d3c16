#pragma once
// Bytes as lower-case hex digits and back.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace meridian {

std::string to_hex(std::span<const std::uint8_t> bytes);

// Fills `bytes` from exactly twice as many digits of either case; false leaves it unspecified.
bool from_hex(std::string_view digits, std::span<std::uint8_t> bytes) noexcept;

}  // namespace meridian
