#pragma once
// A Loop runs fibres on one thread and is their only source of time and chance.
//
// Implementations: EpollLoop (runtime/epoll_loop.h) on real sockets and clocks, and SimLoop
// (runtime/sim/sim_loop.h) in virtual time, in an order that a seed decides.
//
// Threading: everything but submit() is called on the loop's own thread only.

#include "base/list.h"
#include "base/random.h"
#include "base/time.h"
#include "runtime/async.h"
#include "runtime/deadline.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace meridian {

struct BatchEndTag;

// Told once at the end of the batch of events during which it was registered: the moment to send
// what gathered.
class BatchEnd : public ListNode<BatchEndTag> {
 public:
  virtual void on_batch_end() = 0;

 protected:
  ~BatchEnd() = default;
};

class Loop {
 public:
  Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  virtual ~Loop();

  virtual Time now() const = 0;

  // When the present batch of events began: for what needs no better, and free.
  Time batch_time() const noexcept { return batch_time_; }

  virtual WallTime wall_now() const = 0;
  virtual Random& random() = 0;

  Deadline after(Duration duration) const {
    return duration == Duration::max() ? Deadline::never() : Deadline::at(now() + duration);
  }

  // Ends with ready after this time, or with cancelled.
  class Sleep;
  Sleep sleep(Duration duration);

  // Lets everything else that is ready run first.
  class Yield;
  Yield yield();

  // Any thread. Runs `work` on this loop, in the order of submission from one thread. What was not
  // run when the loop ends is dropped.
  void submit(std::move_only_function<void()> work);

  // The rest of the class is for the runtime's own pieces.

  void make_ready(Ready& ready) noexcept;
  void forget(Ready& ready) noexcept;
  void watch_deadline(Suspension& suspension) noexcept;
  void at_batch_end(BatchEnd& item) noexcept {
    if (!item.linked()) batch_ends_.push_back(item);
  }

 protected:
  // A wait in the list of timers, which fires to the nanosecond. Deadlines of I/O are coarser and
  // cheaper.
  using Timers = std::multimap<Time, Sleep*>;

  // Wakes the loop's thread out of its wait. Any thread.
  virtual void interrupt() noexcept = 0;

  // What is ready now, each taken off the queue before it runs.
  bool any_ready() const noexcept { return ready_live_ != 0; }
  Ready& take_ready(std::size_t pick) noexcept;
  std::size_t ready_count() const noexcept { return ready_.size(); }
  void compact_ready() noexcept;

  // Moves what other threads submitted to the queue.
  void accept_submissions();
  bool any_submissions() noexcept;

  // Wakes timers and deadlines that are due. Never later than: when the next one wants to be looked
  // at.
  void fire_due(Time now);
  Time next_due() const noexcept;

  void run_batch_ends();
  bool any_batch_ends() const noexcept { return !batch_ends_.empty(); }

  // Destroys what is queued without running it. Derived destructors call it first.
  void drop_queues() noexcept;

  Time batch_time_{};

  std::vector<Ready*> ready_;
  std::size_t ready_live_ = 0;  // Entries of ready_ that were not forgotten.

 private:
  struct Submission;

  static constexpr std::size_t wheel_slots = 1024;
  static constexpr Duration wheel_tick = std::chrono::milliseconds(10);

  Timers timers_;
  List<BatchEnd, BatchEndTag> batch_ends_;

  // Deadlines hang in the slot of their tick; a slot is looked at once a turn of the wheel (10.24
  // s).
  std::array<List<Suspension, DeadlineTag>, wheel_slots> wheel_;
  static constexpr std::int64_t wheel_empty = INT64_MAX;
  std::int64_t wheel_position_ = 0;        // The last tick that was looked at.
  std::int64_t wheel_next_ = wheel_empty;  // The first tick whose slot may hold something.

  std::mutex submissions_mutex_;
  std::atomic<bool> submitted_{false};  // There are some; so that the usual look costs no lock.
  std::vector<std::unique_ptr<Submission>> submissions_;
};

class Loop::Sleep final : public Suspension {
 public:
  Sleep(Loop& loop, Time until) noexcept : loop_(loop), until_(until) {}
  ~Sleep() {
    if (armed_) loop_.timers_.erase(place_);
  }

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    if (!park(handle)) return false;
    place_ = loop_.timers_.emplace(until_, this);
    armed_ = true;
    return true;
  }
  Wake await_resume() const noexcept { return outcome(); }

 private:
  friend class Loop;

  void detach() noexcept override {
    loop_.timers_.erase(place_);
    armed_ = false;
  }
  void fire() noexcept {
    armed_ = false;
    wake(Wake::ready);
  }

  Loop& loop_;
  Time until_;
  Timers::iterator place_;
  bool armed_ = false;
};

class Loop::Yield final : public Suspension {
 public:
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    if (!park(handle)) return false;
    wake(Wake::ready);
    return true;
  }
  Wake await_resume() const noexcept { return outcome(); }

 private:
  void detach() noexcept override {}
};

inline Loop::Sleep Loop::sleep(Duration duration) {
  return {*this, now() + duration};
}
inline Loop::Yield Loop::yield() {
  return {};
}

}  // namespace meridian
