#pragma once
// The coherence protocol's state on one node: what may be cached, what may be served, and how far
// the feed has come. The invariants I1 to I8 are those of docs/coherence/README.md.
//
// It is a state machine without I/O. The feed's thread tells it what happened (the first group of
// methods); the loops ask (the second group, any thread, no lock).

#include "base/metrics.h"
#include "base/time.h"
#include "cache/slots.h"
#include "timeline/boot_id.h"
#include "timeline/position.h"
#include "timeline/snapshot.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

namespace meridian {

// What a value depends on, and the versions from before its fill began.
struct SlotStamp {
  static constexpr std::size_t dependencies_max = 8;  // Everything, the view, and six tables.

  std::uint32_t count = 0;
  std::array<SlotIndex, dependencies_max> slots{};
  std::array<std::uint64_t, dependencies_max> versions{};
};

// Parts of the protocol that a test switches off to see the checker find it. Never set in
// production.
struct CoherenceMutations {
  bool no_fence = false;           // Keep fills although a transaction is pending (I4).
  bool last_pending_only = false;  // Remember only the last pending transaction of a slot (R4).
  bool naive_join = false;         // Join fills that may not be kept (I5).
  bool no_token = false;           // Keep fills that were invalidated while they ran (I4).
  bool position_first = false;     // Publish the position before the invalidations (I2).
};

// Waits for the feed to reach a position. Owned by a loop, woken by the feed's thread.
class PositionWatch {
 public:
  virtual ~PositionWatch() = default;

  // On the feed's thread. Called when the wanted position was reached, and when continuity was
  // lost.
  virtual void wake() noexcept = 0;

 private:
  friend class Coherence;

  std::atomic<std::uint64_t> wanted_{UINT64_MAX};
};

class Coherence {
 public:
  explicit Coherence(std::size_t slots_count = Slots::count_default,
                     CoherenceMutations mutations = {});

  // ---- The feed's thread.

  // Continuity is broken, or the timeline is gone: nothing is kept, nothing is served (I8, first
  // part).
  void suspend() noexcept;

  // The feed delivers everything after `position`; `snapshot` was taken after that was fixed.
  // Transactions that it has in progress are pending for every key. Caching and serving are on
  // again (I8, second part).
  void resume(BootId boot, Position position, const Snapshot& snapshot);

  // A delivered transaction: its slots are void and pending, then the position counts (I2, I3).
  void apply(TransactionId transaction, std::span<const SlotIndex> slots, Position end);

  // Nothing that matters was committed up to here.
  void advance(Position position) noexcept;

  bool any_pending() const noexcept { return !pending_.empty(); }
  std::size_t pending_count() const noexcept { return pending_.size(); }

  // Transactions that this snapshot sees are pending no more. Requires that it was taken on the
  // boot of the feed.
  void settle(const Snapshot& snapshot) noexcept;

  // The valve. While the feed is late hits stop, and acknowledgements need not wait: shut() makes
  // it so, from any thread. To open it again: rearm() makes acknowledgements wait once more, then,
  // when applied() has reached a position that was asked for after that, open() lets hits be
  // served; false when it was shut meanwhile.
  void shut() noexcept { mode_.store(Mode::shut, std::memory_order_seq_cst); }
  void rearm() noexcept;
  bool open() noexcept;

  // While what the views depend on is being looked up anew, nothing is kept.
  void pause_caching() noexcept;
  void resume_caching() noexcept;

  // The views are others from now on: what was kept for those of before is void, and fills for them
  // are not kept any more. What is pending is so for every key from now on.
  void set_views_generation(std::uint64_t generation) noexcept;

  void add_watch(PositionWatch& watch) { watches_.push_back(&watch); }

  // ---- Any thread.

  const Slots& slots() const noexcept { return slots_; }
  BootId boot() const noexcept { return boot_.load(std::memory_order_acquire); }

  // Hits may be answered (I6).
  bool serving() const noexcept { return mode_.load(std::memory_order_acquire) == Mode::open; }

  // Acknowledgements must wait for applied(). To be asked after the commit (I7).
  bool must_wait() const noexcept { return mode_.load(std::memory_order_seq_cst) != Mode::shut; }

  Position applied() const noexcept { return {applied_.load(std::memory_order_seq_cst)}; }

  // Wakes `watch` when applied() >= position; true when it is already, and then nothing is
  // registered. A later call replaces the earlier one's position if it is lower.
  bool reached(PositionWatch& watch, Position position) noexcept;

  // For a fill that is about to begin: the versions of now. Nothing when its result may not be kept
  // (I4).
  std::optional<SlotStamp> begin_fill(std::span<const SlotIndex> slots,
                                      std::uint64_t views_generation) const noexcept;

  // None of the stamp's dependencies was invalidated since.
  bool valid(const SlotStamp& stamp) const noexcept {
    for (std::uint32_t i = 0; i < stamp.count; ++i) {
      if (slots_.version(stamp.slots[i]) != stamp.versions[i]) return mutations_.no_token;
    }
    return true;
  }

  const CoherenceMutations& mutations() const noexcept { return mutations_; }

 private:
  // armed: acknowledgements wait, hits are not served yet.
  enum class Mode : std::uint8_t { shut, armed, open };

  struct Pending {
    TransactionId transaction;
    std::vector<SlotIndex> slots;
  };

  void hold(TransactionId transaction, std::span<const SlotIndex> slots);
  void publish(Position position) noexcept;
  void wake_watches() noexcept;

  const CoherenceMutations mutations_;
  Slots slots_;
  std::deque<Pending> pending_;
  std::vector<PositionWatch*> watches_;
  std::atomic<std::uint64_t> applied_{0};
  std::atomic<BootId> boot_{0};
  std::atomic<bool> caching_{false};
  std::atomic<Mode> mode_{Mode::shut};
  std::atomic<std::uint64_t> views_generation_{0};
  bool continuous_ = false;  // Between resume() and suspend().
  bool paused_ = false;
};

}  // namespace meridian
