#pragma once
// What commit-wait and the cache ask the timeline about its order of commits.
//
// Implementations: timeline/postgres (a side connection) and timeline/sim. Belongs to one loop.

#include "base/result.h"
#include "runtime/async.h"
#include "runtime/deadline.h"
#include "timeline/boot_id.h"
#include "timeline/position.h"
#include "timeline/snapshot.h"

namespace meridian {

class PositionSource {
 public:
  virtual ~PositionSource() = default;

  // A position that every commit acknowledged before the call, and waited for by the disk, has
  // reached; the feed reaches it without further commits. Errors: unavailable, timeout, cancelled.
  virtual Async<Result<OfBoot<Position>>> flushed(Deadline deadline) = 0;

  // What a reader that starts now sees. Errors as above.
  virtual Async<Result<OfBoot<Snapshot>>> snapshot(Deadline deadline) = 0;

  // Commits something empty, durably: afterwards flushed() covers everything that was committed
  // before on that boot, also without waiting for the disk. Errors as above.
  virtual Async<Result<BootId>> nudge(Deadline deadline) = 0;

  // The answers are not of the boot that the feed is of: the next question is asked over a new
  // connection.
  virtual void reconnect() noexcept = 0;
};

}  // namespace meridian
