#pragma once
// Slots: what invalidates what, as two arrays of counters.
//
// Everything that a cached value depends on (a row by its key, a view as a whole, the feed itself)
// has a slot, chosen by hash. An invalidation counts its slot's version up; a value remembers the
// versions from before its fill began and is good only while they stand. Two dependencies that
// share a slot invalidate each other needlessly, never wrongly, so no table of dependencies has to
// be kept, and an invalidation and a fill that race need no lock (coherence.md, I4).
//
// A slot also counts the transactions that were delivered but may not be visible yet (I3).
//
// Threading: one thread writes, any thread reads.

#include "base/assert.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace meridian {

using SlotIndex = std::uint32_t;

class Slots {
 public:
  static constexpr std::size_t count_default = 1 << 20;  // 12 MiB, touched as used.
  static constexpr SlotIndex everything = 0;             // All views at once.
  static constexpr SlotIndex views_first = 1;            // One for each view as a whole.
  static constexpr SlotIndex views_max = 1'023;
  static constexpr SlotIndex rows_first = views_first + views_max;

  // Requires a power of two of at least 4,096.
  explicit Slots(std::size_t count = count_default)
      : mask_(count - 1),
        versions_(std::make_unique<std::atomic<std::uint64_t>[]>(count)),
        pending_(std::make_unique<std::atomic<std::uint32_t>[]>(count)) {
    MERIDIAN_ASSERT(count >= 4'096 && (count & mask_) == 0);
  }

  SlotIndex of_view(std::size_t view_index) const noexcept {
    MERIDIAN_ASSERT(view_index < views_max);
    return views_first + static_cast<SlotIndex>(view_index);
  }

  SlotIndex of_row(std::uint64_t hash) const noexcept {
    const auto slot = static_cast<SlotIndex>(hash & mask_);
    return slot < rows_first ? slot + rows_first : slot;
  }

  std::uint64_t version(SlotIndex slot) const noexcept {
    return versions_[slot].load(std::memory_order_acquire);
  }

  // A reader that looks at the version first and at this second misses no invalidation: it sees the
  // count that came with the version, or the version is older than the invalidation.
  bool pending(SlotIndex slot) const noexcept {
    return pending_[slot].load(std::memory_order_acquire) != 0;
  }

  // Pending before the version: see pending().
  void invalidate(SlotIndex slot) noexcept {
    hold(slot);
    void_values(slot);
  }
  void void_values(SlotIndex slot) noexcept {
    versions_[slot].store(versions_[slot].load(std::memory_order_relaxed) + 1,
                          std::memory_order_release);
  }
  void hold(SlotIndex slot) noexcept {
    pending_[slot].store(pending_[slot].load(std::memory_order_relaxed) + 1,
                         std::memory_order_release);
  }
  void settle(SlotIndex slot) noexcept {
    const std::uint32_t held = pending_[slot].load(std::memory_order_relaxed);
    MERIDIAN_ASSERT(held != 0);
    pending_[slot].store(held - 1, std::memory_order_release);
  }

 private:
  std::size_t mask_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> versions_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> pending_;
};

}  // namespace meridian
