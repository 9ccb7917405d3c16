#include "runtime/sim/sim_loop.h"

namespace meridian {
namespace {

// Simulated runs begin on 1 January 2026, so that ids and tokens look like themselves.
constexpr WallTime epoch = std::chrono::sys_days(std::chrono::year(2026) / 1 / 1);

}  // namespace

WallTime SimLoop::wall_now() const {
  return epoch + std::chrono::floor<std::chrono::microseconds>(now_.time_since_epoch());
}

bool SimLoop::run(Duration limit) {
  for (;;) {
    accept_submissions();
    if (any_ready()) {
      compact_ready();
      const std::size_t pick = order_ == Order::random ? random_.below(ready_count()) : 0;
      observe(pick);
      ++steps_count_;
      take_ready(pick).run();
      // A batch is a few steps; what it gathered is then sent.
      if (any_batch_ends() && (!any_ready() || random_.chance(0.25))) run_batch_ends();
      continue;
    }
    if (any_batch_ends()) {
      run_batch_ends();
      continue;
    }
    const Time due = next_due();
    if (due == Time::max()) return true;
    if (due > Time(limit)) {
      now_ = std::max(now_, Time(limit));
      return false;
    }
    batch_time_ = now_ = std::max(now_, due);
    observe(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
    fire_due(now_);
  }
}

}  // namespace meridian
