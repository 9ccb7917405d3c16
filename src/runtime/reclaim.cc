#include "runtime/reclaim.h"

#include <algorithm>
#include <limits>

namespace meridian {

class Reclaimer::Participant final : public LoopObserver {
 public:
  explicit Participant(Reclaimer& owner) noexcept : owner_(owner) {}

  void before_wait() noexcept override { seen_.store(waiting, std::memory_order_release); }

  // The fence pairs with the one in safe_epoch(): either that sees this batch, or this batch sees
  // what was unlinked.
  void after_wait() noexcept override {
    seen_.store(owner_.epoch_.load(std::memory_order_seq_cst), std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }

  std::uint64_t seen() const noexcept { return seen_.load(std::memory_order_acquire); }

 private:
  static constexpr std::uint64_t waiting = std::numeric_limits<std::uint64_t>::max();

  Reclaimer& owner_;
  std::atomic<std::uint64_t> seen_{0};  // 0: has not waited yet, so nothing is safe.
};

Reclaimer::Reclaimer() = default;
Reclaimer::~Reclaimer() = default;

void Reclaimer::observe_loop(EpollLoop& loop) {
  auto participant = std::make_unique<Participant>(*this);
  loop.observe(*participant);
  const std::lock_guard lock(mutex_);
  participants_.push_back(std::move(participant));
}

std::uint64_t Reclaimer::safe_epoch() const noexcept {
  // What is retired later gets a later epoch than this.
  std::uint64_t safe = epoch_.load(std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::lock_guard lock(mutex_);
  for (const auto& participant : participants_)
    safe = std::min(safe, participant->seen());
  return safe;
}

}  // namespace meridian
