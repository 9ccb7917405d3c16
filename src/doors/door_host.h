#pragma once
// The host of one loop's visits: takes connections in, records their coming and going, and ends
// them in order.

#include "base/metrics.h"
#include "doors/door.h"
#include "gate/trail/trail_writer.h"
#include "runtime/event.h"
#include "runtime/scope.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>

namespace meridian {

// Where a loop's visit ids begin, so that loops need not ask each other and a later start of the
// node uses others: 7 bits of loop, 30 of seconds since 2026, 16 of count. A count may run on into
// the seconds: a loop that takes in fewer than 65,536 visits a second does not catch up with the
// clock. 53 bits in all, since clients in JavaScript have no more for an integer: they ask for
// theirs with CLIENT ID.
std::uint64_t visits_begin_at(std::uint32_t loop_number, WallTime now) noexcept;

// How long a connection that is over waits for room for its goodbye.
constexpr Duration goodbye_timeout = std::chrono::seconds(1);

class DoorHost {
 public:
  DoorHost(Loop& loop, trail::TrailWriter& trail, Metrics& metrics, std::uint32_t loop_number);
  ~DoorHost();

  // Whoever counts connections is told of each, once and in this order.
  struct Told {
    std::move_only_function<void()> let_in;  // The client has proven who it is; perhaps never.
    std::move_only_function<void()> left;
  };

  // Serves a connection through the door until it ends. On this loop. The door outlives the host's
  // visits.
  void admit(Door& door, std::unique_ptr<Stream> stream, Told told);

  // Visits here now. Any thread.
  std::uint32_t visits_count() const noexcept {
    return visits_count_.load(std::memory_order_relaxed);
  }

  // Two steps: visits finish what they are doing, then, after `patience`, are ended.
  Async<> drain(Duration patience);

 private:
  Async<> serve(Door& door, std::unique_ptr<Stream> stream, Told told);
  Result<void> record_opened(Visit& visit, Door& door);

  struct PerDoor {
    Counter* opened = nullptr;
    Gauge* present = nullptr;
    Histogram* duration = nullptr;
  };

  Loop& loop_;
  trail::TrailWriter& trail_;
  std::array<PerDoor, doors_count> per_door_{};
  std::uint64_t next_id_;
  std::unordered_map<VisitId, Visit*> visits_;
  std::atomic<std::uint32_t> visits_count_{0};
  bool draining_ = false;
  Scope scope_;
};

}  // namespace meridian
