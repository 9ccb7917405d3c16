#pragma once
// Chance from the system: getrandom(2) for secrets, a generator seeded by it for the rest.

#include "base/random.h"

#include <array>

namespace meridian {

// One for each loop.
class SystemRandom final : public Random {
 public:
  SystemRandom();

  std::uint64_t next() override;
  void fill_secret(std::span<std::uint8_t> bytes) override;

 private:
  std::array<std::uint64_t, 4> state_;  // xoshiro256**
};

}  // namespace meridian
