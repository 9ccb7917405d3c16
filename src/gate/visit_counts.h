#pragma once
// How many visits each role has through each door on this node, over all loops.

#include "gate/permissions.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace meridian {

class Metrics;

// One count. Any thread.
class VisitCount {
 public:
  std::uint32_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  friend class VisitSlot;
  std::atomic<std::uint32_t> value_{0};
};

// A place among the visits of a role; leaves it when it ends. Any thread, one at a time.
class VisitSlot {
 public:
  VisitSlot() = default;  // No place.
  VisitSlot(VisitSlot&&) noexcept = default;
  VisitSlot& operator=(VisitSlot&& other) noexcept {
    leave();
    count_ = std::move(other.count_);
    return *this;
  }
  ~VisitSlot() { leave(); }

  // Holds no place when there are `visits_max` visits already.
  static VisitSlot take(std::shared_ptr<VisitCount> count, std::uint32_t visits_max) noexcept;

  bool held() const noexcept { return count_ != nullptr; }

 private:
  void leave() noexcept {
    if (count_) count_->value_.fetch_sub(1, std::memory_order_relaxed);
    count_.reset();
  }

  std::shared_ptr<VisitCount> count_;
};

// The counts by role and door. They outlive a reload of the roles, since visits do. Any thread.
class VisitCounts {
 public:
  explicit VisitCounts(Metrics& metrics) noexcept : metrics_(metrics) {}

  std::shared_ptr<VisitCount> of(const std::string& role, DoorName door);

 private:
  Metrics& metrics_;
  std::mutex mutex_;
  std::map<std::pair<std::string, DoorName>, std::shared_ptr<VisitCount>> counts_;
};

}  // namespace meridian
