#pragma once
// The loop of production: one thread, one epoll instance, the system's clocks.

#include "runtime/file.h"
#include "runtime/loop.h"
#include "runtime/stream.h"
#include "runtime/system_random.h"

#include <atomic>
#include <cstdint>

namespace meridian {

struct ObserverTag;

// Told when the loop is about to wait for events and when it has woken: outside of that interval
// it may hold pointers into shared structures, inside it holds none.
class LoopObserver : public ListNode<ObserverTag> {
 public:
  virtual void before_wait() noexcept = 0;
  virtual void after_wait() noexcept = 0;

 protected:
  ~LoopObserver() = default;
};

class EpollLoop final : public Loop {
 public:
  class Watch;

  EpollLoop();
  ~EpollLoop() override;

  Time now() const override;
  WallTime wall_now() const override;
  Random& random() override { return random_; }

  // Runs until stop() was called. The calling thread is the loop's thread.
  void run();

  // Any thread.
  void stop();

  void observe(LoopObserver& observer) noexcept { observers_.push_back(observer); }

 private:
  void interrupt() noexcept override;
  void run_ready();
  void wait();
  void dispatch(void* target, std::uint32_t events);

  File epoll_;
  File wake_;
  SystemRandom random_;
  List<LoopObserver, ObserverTag> observers_;
  std::atomic<bool> asleep_{false};
  bool stopped_ = false;
};

// One descriptor's place in a loop: remembers whether it was last seen ready, so that neither a
// read nor a wait costs a system call in vain. Edge-triggered; the descriptor must be non-blocking
// and stay open while watched.
class EpollLoop::Watch {
 public:
  class Wait;

  Watch(EpollLoop& loop, int fd);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  // False: a try would block. True: unknown, try.
  bool readable_hint() const noexcept { return readable_; }
  bool writable_hint() const noexcept { return writable_; }

  // A try came back empty-handed, or moved less than was asked for.
  void drained() noexcept { readable_ = hung_up_; }
  void full() noexcept { writable_ = hung_up_; }

  // The peer has closed its side, so reads end soon; a short read says nothing then.
  bool hung_up() const noexcept { return hung_up_; }

  // For streams: see Stream::watch.
  bool watch(IoWait& wait, Interest interest);

  Wait readable(Deadline deadline = Deadline::never()) noexcept;
  Wait writable(Deadline deadline = Deadline::never()) noexcept;

  // For a descriptor that a library reads behind our back: whatever it left unread brings an event
  // again.
  void rearm() noexcept;

  // Both sides are ready from now on: what waits finds out that the descriptor is closed.
  void wake_all_waits() noexcept;

 private:
  friend class EpollLoop;

  void on_events(std::uint32_t events) noexcept;
  void update(bool want_write) noexcept;
  void modify() noexcept;

  EpollLoop& loop_;
  int fd_;
  bool readable_ = true;
  bool writable_ = true;
  bool hung_up_ = false;
  bool watching_write_ = false;
  IoWaits reads_;
  IoWaits writes_;
};

class EpollLoop::Watch::Wait final : public IoWait {
 public:
  Wait(Watch& owner, Interest interest, Deadline deadline) noexcept
      : IoWait(interest, deadline), owner_(owner) {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    if (!park(handle)) return false;
    if (owner_.watch(*this, interest())) return true;
    unpark(Wake::ready);
    return false;
  }
  Wake await_resume() const noexcept { return outcome(); }

 private:
  Watch& owner_;
};

inline EpollLoop::Watch::Wait EpollLoop::Watch::readable(Deadline deadline) noexcept {
  return {*this, Interest::read, deadline};
}
inline EpollLoop::Watch::Wait EpollLoop::Watch::writable(Deadline deadline) noexcept {
  return {*this, Interest::write, deadline};
}

}  // namespace meridian
