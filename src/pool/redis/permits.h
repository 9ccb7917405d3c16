#pragma once
// Permits: how many of something may be in use at once. Who finds none waits in line.

#include "base/list.h"
#include "runtime/async.h"

#include <cstddef>
#include <utility>

namespace meridian::redis {

class Permits;

// One of them. Given back when it ends. Outlived by its Permits.
class Permit {
 public:
  Permit() = default;
  explicit Permit(Permits& permits) noexcept : permits_(&permits) {}
  Permit(Permit&& other) noexcept : permits_(std::exchange(other.permits_, nullptr)) {}
  Permit& operator=(Permit&& other) noexcept {
    if (this != &other) {
      give_back();
      permits_ = std::exchange(other.permits_, nullptr);
    }
    return *this;
  }
  ~Permit() { give_back(); }

  void give_back() noexcept;

 private:
  Permits* permits_ = nullptr;
};

class Permits {
 public:
  class Wait;

  explicit Permits(std::size_t count_max) noexcept : count_max_(count_max) {}
  Permits(const Permits&) = delete;
  Permits& operator=(const Permits&) = delete;
  ~Permits() { MERIDIAN_ASSERT(count_ == 0); }

  std::size_t count() const noexcept { return count_; }

  // Wake::ready means that one was taken, which the caller now wraps in a Permit. In the order of
  // asking.
  Wait take(Deadline deadline) noexcept;

 private:
  friend class Permit;
  struct WaitTag;

  void free_one() noexcept;

  std::size_t count_max_;
  std::size_t count_ = 0;  // Taken, or on their way to a fibre that was woken.
  List<Wait, WaitTag> waits_;
};

class Permits::Wait final : public Suspension, public ListNode<WaitTag> {
 public:
  Wait(Permits& permits, Deadline deadline) noexcept : Suspension(deadline), permits_(permits) {}
  ~Wait() {
    if (granted_) permits_.free_one();
  }

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    if (permits_.count_ < permits_.count_max_) {
      ++permits_.count_;
      granted_ = true;
      return false;
    }
    if (!park(handle)) return false;
    permits_.waits_.push_back(*this);
    return true;
  }
  Wake await_resume() noexcept {
    granted_ = false;
    return outcome();
  }

 private:
  friend class Permits;

  void detach() noexcept override { ListNode<WaitTag>::unlink(); }

  Permits& permits_;
  bool granted_ = false;  // And not yet told to the fibre, which may end before it hears.
};

inline Permits::Wait Permits::take(Deadline deadline) noexcept {
  return {*this, deadline};
}

inline void Permits::free_one() noexcept {
  if (waits_.empty()) {
    --count_;
    return;
  }
  Wait& next = waits_.pop_front();
  next.granted_ = true;
  next.wake(Wake::ready);
}

inline void Permit::give_back() noexcept {
  if (permits_) std::exchange(permits_, nullptr)->free_one();
}

}  // namespace meridian::redis
