#include "gate/visit_counts.h"

#include "base/metrics.h"

namespace meridian {

VisitSlot VisitSlot::take(std::shared_ptr<VisitCount> count, std::uint32_t visits_max) noexcept {
  VisitSlot slot;
  std::uint32_t now = count->value();
  do {
    if (now >= visits_max) return slot;
  } while (!count->value_.compare_exchange_weak(now, now + 1, std::memory_order_relaxed));
  slot.count_ = std::move(count);
  return slot;
}

std::shared_ptr<VisitCount> VisitCounts::of(const std::string& role, DoorName door) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<VisitCount>& count = counts_[{role, door}];
  if (!count) {
    count = std::make_shared<VisitCount>();
    metrics_.gauge("meridian_visits",
                   "Visits of a role through a door.",
                   {{"role", role}, {"door", std::string(to_string(door))}},
                   [counted = count] { return static_cast<double>(counted->value()); });
  }
  return count;
}

}  // namespace meridian
