#pragma once
// A Deadline: until when an answer is wanted. Set once at a door and passed down by value; nobody
// below makes a fresh one that is later.

#include "base/time.h"

#include <algorithm>

namespace meridian {

class Deadline {
 public:
  static constexpr Deadline never() noexcept { return Deadline(Time::max()); }
  static constexpr Deadline at(Time time) noexcept { return Deadline(time); }

  constexpr Time time() const noexcept { return time_; }
  constexpr bool is_never() const noexcept { return time_ == Time::max(); }
  constexpr bool passed(Time now) const noexcept { return now >= time_; }

  friend constexpr Deadline earlier(Deadline a, Deadline b) noexcept {
    return Deadline(std::min(a.time_, b.time_));
  }

 private:
  explicit constexpr Deadline(Time time) noexcept : time_(time) {}

  Time time_;
};

}  // namespace meridian
