#pragma once
// Event: fibres of one loop wait until it is set, or until the next notification.

#include "base/list.h"
#include "runtime/async.h"
#include "runtime/loop.h"

namespace meridian {

struct EventTag;

// Stays set until reset. Belongs to one loop.
class Event {
 public:
  class Wait final : public Suspension, public ListNode<EventTag> {
   public:
    Wait(Event& event, Deadline deadline) noexcept : Suspension(deadline), event_(event) {}

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
      if (event_.set_) return false;
      if (!park(handle)) return false;
      event_.waits_.push_back(*this);
      return true;
    }
    Wake await_resume() const noexcept { return outcome(); }

   private:
    void detach() noexcept override { ListNode<EventTag>::unlink(); }

    Event& event_;
  };

  explicit Event(Loop& /*loop*/) noexcept {}

  bool is_set() const noexcept { return set_; }
  void set() noexcept {
    set_ = true;
    notify_all();
  }
  void reset() noexcept { set_ = false; }

  // Ends the waits of now, without staying set.
  void notify_all() noexcept {
    List<Wait, EventTag> woken;
    woken.take_all(waits_);
    while (!woken.empty())
      woken.pop_front().wake(Wake::ready);
  }
  void notify_one() noexcept {
    if (!waits_.empty()) waits_.pop_front().wake(Wake::ready);
  }
  bool any_waiting() const noexcept { return !waits_.empty(); }

  // The deadline is kept to 10 ms.
  Wait wait(Deadline deadline = Deadline::never()) noexcept { return Wait(*this, deadline); }

 private:
  bool set_ = false;
  List<Wait, EventTag> waits_;
};

}  // namespace meridian
