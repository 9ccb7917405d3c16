#pragma once
// A fast 64-bit hash of bytes (XXH3). Not for secrets, and not for anything that leaves the
// process: tables keyed by a peer's input use it with the process's own seed.

#include <cstdint>
#include <string_view>

namespace meridian {

std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed = 0) noexcept;

// 128 bits, where a collision must not happen by chance (keys of the cache).
struct Hash128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};
Hash128 hash_bytes_128(std::string_view bytes, std::uint64_t seed = 0) noexcept;

}  // namespace meridian
