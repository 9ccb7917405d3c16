#pragma once
// Where chance comes from. runtime/ has the system's generator and the seeded one of simulation.

#include <cstdint>
#include <span>

namespace meridian {

class Random {
 public:
  virtual ~Random() = default;

  // For ids, jitter and sampling. Not secret: may come from a fast generator.
  virtual std::uint64_t next() = 0;

  // For keys, passwords and nonces: from the system's cryptographic generator, or the process ends.
  virtual void fill_secret(std::span<std::uint8_t> bytes) = 0;
};

}  // namespace meridian
