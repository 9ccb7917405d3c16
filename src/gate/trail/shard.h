#pragma once
// One shard of a node's trail: a chain of segments that one thread appends to.
//
// It has two sides. The writer's side is the loop whose shard it is. The sealer's side is the main
// loop or the thread that works for it, never both at once: it prepares segments, syncs, signs and
// finishes. They meet in a few atomics; neither waits for the other.

#include "base/result.h"
#include "gate/trail/chain.h"
#include "gate/trail/disk.h"
#include "gate/trail/head.h"
#include "gate/trail/mapped_segment.h"
#include "gate/trail/recovery.h"
#include "gate/trail/signing_key.h"

#include <atomic>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace meridian::trail {

// What all shards of a trail share. Outlives them.
struct ShardSettings {
  std::filesystem::path folder{};  // The node's.
  std::string node{};
  std::uint64_t segment_bytes = 0;
  std::uint64_t warm_bytes = 0;
  const SigningKey* key = nullptr;
  Disk disk{};
};

class Shard {
 public:
  Shard(const ShardSettings& settings, std::uint32_t number)
      : settings_(settings), number_(number) {}
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  std::uint32_t number() const noexcept { return number_; }
  const ShardSettings& settings() const noexcept { return settings_; }

  // First of all, before there are two sides: finds where the chain ends and prepares its next
  // segment.
  Result<Recovered> open();

  // The writer's side.

  // The segment prepared for when the active one is full; null when there is none yet.
  MappedSegment* spare() const noexcept {
    MappedSegment* const spare = spare_.load(std::memory_order_acquire);
    return spare == active_.load(std::memory_order_relaxed) ? nullptr : spare;
  }

  // From now on records go to the spare, which is begun.
  void set_active(MappedSegment& segment) noexcept {
    active_.store(&segment, std::memory_order_release);
  }

  // True once a sync has failed: what the kernel said to be written may be lost, so nothing more is
  // taken. Only a new start ends it.
  bool failed() const noexcept { return failed_.load(std::memory_order_relaxed); }

  // Why there is no room, or why the shard has failed.
  Error why_not() const;

  // Records up to this one survive a loss of power.
  std::uint64_t synced_sequence() const noexcept {
    return synced_sequence_.load(std::memory_order_acquire);
  }

  // The sealer's side.

  // Finishes the segments that the writer has left and makes a segment ready to be the next, with
  // its first pages. A failure is kept for why_not() and tried again at the next call.
  void prepare();

  // Makes all that was appended durable and signs the newest record, unless nothing was appended
  // since the last head.
  std::optional<SignedHead> seal(WallTime now);

  // After the last record, when the writer has ended: syncs, and cuts off what was not used.
  Result<void> close();

  // When the active segment was begun; none while it holds no record.
  std::optional<WallTime> active_since() const noexcept;

  // The newest segment that is older than this as a whole: all of its records are. Zero: none.
  std::uint64_t last_before(WallTime time) const noexcept;
  std::uint64_t first_number() const noexcept;

  // Removes the segments up to this number.
  Result<void> remove_through(std::uint64_t number);

 private:
  Result<void> prepare_spare();
  void finish_left();
  void fail_for_good(const Error& error);
  void set_cause(std::optional<Error> error);

  const ShardSettings& settings_;
  const std::uint32_t number_;

  std::atomic<MappedSegment*> active_{nullptr};
  std::atomic<MappedSegment*> spare_{nullptr};
  std::atomic<bool> failed_{false};
  std::atomic<std::uint64_t> synced_sequence_{0};

  mutable std::mutex cause_mutex_;  // Taken only when something is wrong.
  std::optional<Error> cause_;

  // The sealer's.
  std::deque<std::unique_ptr<MappedSegment>> segments_;  // Left, active, spare.
  std::deque<KeptSegment> kept_;                         // Finished, in order.
  std::uint64_t next_number_ = 1;
  std::uint64_t sealed_sequence_ = 0;
};

}  // namespace meridian::trail
