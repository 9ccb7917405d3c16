#pragma once
// Shapes: which fingerprints the active segment has a statement_shape for.
//
// A table of fixed size. When it is three quarters full it forgets everything, and shapes are
// recorded once more: a client with endless statements costs room on the disk and none in memory.

#include "gate/trail/value.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace meridian::trail {

class Shapes {
 public:
  static constexpr std::size_t slots_count = 4'096;
  static constexpr std::size_t count_max = slots_count / 4 * 3;

  // Requires a fingerprint other than zero.
  bool contains(Fingerprint fingerprint) const noexcept {
    return slots_[find(fingerprint.value())] != 0;
  }

  void insert(Fingerprint fingerprint) noexcept {
    if (count_ == count_max) clear();
    std::uint64_t& slot = slots_[find(fingerprint.value())];
    if (slot == 0) ++count_;
    slot = fingerprint.value();
  }

  void clear() noexcept {
    slots_.fill(0);
    count_ = 0;
  }

 private:
  // Its slot, or the free one where it belongs. Fingerprints are hashes already.
  std::size_t find(std::uint64_t value) const noexcept {
    std::size_t index = (value ^ value >> 32) % slots_count;
    while (slots_[index] != 0 && slots_[index] != value) {
      index = (index + 1) % slots_count;
    }
    return index;
  }

  std::array<std::uint64_t, slots_count> slots_{};
  std::size_t count_ = 0;
};

}  // namespace meridian::trail
