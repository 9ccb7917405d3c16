#pragma once
// SHA-256 digests, the links of the trail's chain.

#include <array>
#include <cstdint>
#include <span>

namespace meridian::trail {

using Bytes = std::span<const std::uint8_t>;
using Digest = std::array<std::uint8_t, 32>;

// Computes digests without a context of OpenSSL's: making one, even anew in the same place, costs
// as much as hashing a record.
class Sha256 {
 public:
  // `out` may lie inside `bytes`.
  void digest(Bytes bytes, std::span<std::uint8_t, 32> out) noexcept;
  Digest digest(Bytes bytes) noexcept;
};

}  // namespace meridian::trail
