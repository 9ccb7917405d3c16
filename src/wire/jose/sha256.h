#pragma once
// SHA-256 (FIPS 180-4), for the names of keys and tokens.

#include <array>
#include <cstdint>
#include <string_view>

namespace meridian::jose {

using Sha256 = std::array<std::uint8_t, 32>;

Sha256 sha256(std::string_view bytes) noexcept;

}  // namespace meridian::jose
