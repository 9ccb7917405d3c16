#pragma once
// How long to wait before the next attempt: twice as long after every failure, and never the same
// for all, so that many who failed together do not come back together.

#include "base/random.h"
#include "base/time.h"

#include <algorithm>
#include <cstdint>

namespace meridian {

class Backoff {
 public:
  // Requires 0 < min <= max / 2.
  Backoff(Duration min, Duration max) noexcept : min_(min), max_(max), bound_(2 * min) {}

  // First between min and twice that; then between half of the bound and the bound, which doubles
  // every time up to max.
  Duration next(Random& random) noexcept {
    const std::int64_t half = bound_.count() / 2;
    const auto part =
        static_cast<std::int64_t>(random.next() % static_cast<std::uint64_t>(half + 1));
    bound_ = bound_ > max_ / 2 ? max_ : bound_ * 2;
    last_ = Duration(half + part);
    return last_;
  }

  // Forgets the failures before a success of this duration, if that is long beside the last pause:
  // what fails now and then is not held up.
  void succeeded_for(Duration duration) noexcept {
    constexpr int pauses = 20;
    if (duration >= pauses * std::max(last_, min_)) reset();
  }

  void reset() noexcept { bound_ = 2 * min_; }

 private:
  Duration min_;
  Duration max_;
  Duration bound_;
  Duration last_{};
};

}  // namespace meridian
