#pragma once
// Safe memory for structures that loops read without a lock: what was unlinked is freed once every
// loop has been between two batches of events since.
//
// A reader holds nothing but the rule that it keeps no pointer into the structure over a wait. So a
// hit costs no atomic operation; each loop tells once a batch that it has let go of everything.

#include "base/list.h"
#include "runtime/epoll_loop.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace meridian {

class Reclaimer {
 public:
  // One for each loop that reads. Lives as long as the loop runs; registered by observe_loop().
  class Participant;

  Reclaimer();
  Reclaimer(const Reclaimer&) = delete;
  Reclaimer& operator=(const Reclaimer&) = delete;
  ~Reclaimer();

  // Before the loop runs, or on its thread.
  void observe_loop(EpollLoop& loop);

  // The epoch to stamp on something that has just been unlinked.
  std::uint64_t retire_epoch() noexcept { return epoch_.fetch_add(1, std::memory_order_seq_cst); }

  // What was retired in an epoch before this one is out of every reader's sight.
  std::uint64_t safe_epoch() const noexcept;

 private:
  std::atomic<std::uint64_t> epoch_{1};
  mutable std::mutex mutex_;  // Guards the list, taken at registration and when memory is freed.
  std::vector<std::unique_ptr<Participant>> participants_;
};

}  // namespace meridian
