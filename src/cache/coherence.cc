#include "cache/coherence.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace meridian {
namespace {

constexpr std::chrono::milliseconds position_first_pause{1};  // Of that mutation alone.

}  // namespace

Coherence::Coherence(std::size_t slots_count, CoherenceMutations mutations)
    : mutations_(mutations), slots_(slots_count) {}

void Coherence::suspend() noexcept {
  continuous_ = false;
  caching_.store(false, std::memory_order_seq_cst);
  shut();
  boot_.store(0, std::memory_order_seq_cst);
  // Values from before, and fills under way, are good for nothing any more.
  slots_.void_values(Slots::everything);
  for (const Pending& pending : pending_) {
    for (const SlotIndex slot : pending.slots)
      slots_.settle(slot);
  }
  pending_.clear();
  // Who waits for the feed must learn that it is not coming.
  for (PositionWatch* const watch : watches_) {
    watch->wanted_.store(UINT64_MAX, std::memory_order_seq_cst);
    watch->wake();
  }
}

void Coherence::resume(BootId boot, Position position, const Snapshot& snapshot) {
  MERIDIAN_ASSERT(!continuous_ && pending_.empty());
  continuous_ = true;
  for (const std::uint64_t transaction : snapshot.in_progress()) {
    // Pending for every key: it may have committed before the position, and then is never
    // delivered.
    hold(static_cast<TransactionId>(transaction), std::array{Slots::everything});
  }
  boot_.store(boot, std::memory_order_seq_cst);
  // It may be lower than before, when the server behind is another one that lost the last commits.
  // Nobody must take its commits for delivered then.
  applied_.store(position.value, std::memory_order_seq_cst);
  wake_watches();
  // Before caching: a commit that was acknowledged without waiting is seen by every fill from here
  // on.
  mode_.store(Mode::open, std::memory_order_seq_cst);
  caching_.store(!paused_, std::memory_order_seq_cst);
}

void Coherence::pause_caching() noexcept {
  paused_ = true;
  caching_.store(false, std::memory_order_seq_cst);
}

void Coherence::resume_caching() noexcept {
  paused_ = false;
  caching_.store(continuous_, std::memory_order_seq_cst);
}

void Coherence::set_views_generation(std::uint64_t generation) noexcept {
  // What is pending was found by the rules of before; by those of now it may matter to any key.
  for (Pending& pending : pending_) {
    slots_.hold(Slots::everything);
    pending.slots.push_back(Slots::everything);
  }
  // In this order: a fill that saw the generation of before has versions of before.
  views_generation_.store(generation, std::memory_order_seq_cst);
  slots_.void_values(Slots::everything);
}

void Coherence::rearm() noexcept {
  auto shut = Mode::shut;
  if (continuous_) mode_.compare_exchange_strong(shut, Mode::armed, std::memory_order_seq_cst);
}

bool Coherence::open() noexcept {
  auto armed = Mode::armed;
  return mode_.compare_exchange_strong(armed, Mode::open, std::memory_order_seq_cst);
}

void Coherence::hold(TransactionId transaction, std::span<const SlotIndex> slots) {
  if (mutations_.last_pending_only) {
    for (Pending& earlier : pending_) {
      std::erase_if(earlier.slots, [&](SlotIndex slot) {
        const bool replaced = std::ranges::find(slots, slot) != slots.end();
        if (replaced) slots_.settle(slot);
        return replaced;
      });
    }
  }
  for (const SlotIndex slot : slots)
    slots_.hold(slot);
  pending_.push_back(
      {.transaction = transaction, .slots = std::vector<SlotIndex>(slots.begin(), slots.end())});
}

void Coherence::apply(TransactionId transaction, std::span<const SlotIndex> slots, Position end) {
  if (mutations_.position_first) {
    publish(end);
    // As if the scheduler took the processor away here, which it seldom does.
    std::this_thread::sleep_for(position_first_pause);
  }
  if (!slots.empty()) {
    hold(transaction, slots);
    for (const SlotIndex slot : slots)
      slots_.void_values(slot);
  }
  publish(end);
}

void Coherence::advance(Position position) noexcept {
  publish(position);
}

void Coherence::publish(Position position) noexcept {
  if (position.value <= applied_.load(std::memory_order_relaxed)) return;
  applied_.store(position.value, std::memory_order_seq_cst);
  wake_watches();
}

void Coherence::wake_watches() noexcept {
  const std::uint64_t applied = applied_.load(std::memory_order_relaxed);
  for (PositionWatch* const watch : watches_) {
    if (watch->wanted_.load(std::memory_order_seq_cst) > applied) continue;
    watch->wanted_.store(UINT64_MAX, std::memory_order_seq_cst);
    watch->wake();
  }
}

bool Coherence::reached(PositionWatch& watch, Position position) noexcept {
  std::uint64_t wanted = watch.wanted_.load(std::memory_order_seq_cst);
  while (position.value < wanted &&
         !watch.wanted_.compare_exchange_weak(wanted, position.value, std::memory_order_seq_cst)) {
  }
  // Looked at after the wish was written: one of the two sides sees the other.
  return applied_.load(std::memory_order_seq_cst) >= position.value;
}

void Coherence::settle(const Snapshot& snapshot) noexcept {
  std::erase_if(pending_, [&](const Pending& pending) {
    if (!snapshot.sees(pending.transaction)) return false;
    for (const SlotIndex slot : pending.slots)
      slots_.settle(slot);
    return true;
  });
}

std::optional<SlotStamp> Coherence::begin_fill(std::span<const SlotIndex> slots,
                                               std::uint64_t views_generation) const noexcept {
  MERIDIAN_ASSERT(slots.size() <= SlotStamp::dependencies_max);
  // In this order: versions, caching and generation, pending. A suspend() after the versions voids
  // them; a resume() before the look at caching has made its transactions pending.
  SlotStamp stamp;
  stamp.count = static_cast<std::uint32_t>(slots.size());
  for (std::uint32_t i = 0; i < stamp.count; ++i) {
    stamp.slots[i] = slots[i];
    stamp.versions[i] = slots_.version(slots[i]);
  }
  if (!caching_.load(std::memory_order_seq_cst)) return std::nullopt;
  if (views_generation_.load(std::memory_order_seq_cst) != views_generation) return std::nullopt;
  for (const SlotIndex slot : slots) {
    if (slots_.pending(slot) && !mutations_.no_fence) return std::nullopt;
  }
  return stamp;
}

}  // namespace meridian
