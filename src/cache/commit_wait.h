#pragma once
// Commit-wait: an acknowledgement goes out only after this node's cache has applied the commit
// (I7).
//
// After the database answered, the position up to which it is durable is asked for on a side
// connection; one question serves everybody who queued before it was sent. When the feed is already
// there, which is usual, that is all. If the feed does not come by within nudge_after, something
// empty is committed to move it; if it is not there within wait_max, the node stops serving hits
// instead, and the client is answered.
//
// Belongs to one loop; one for each loop that has visits. close() before it ends.

#include "base/list.h"
#include "base/metrics.h"
#include "cache/coherence.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "timeline/position_source.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace meridian {

struct CommitWaitOptions {
  Duration nudge_after = std::chrono::milliseconds(5);
  Duration wait_max = std::chrono::milliseconds(250);
  bool enabled = true;  // For tests alone: acknowledges at once.
};

class CommitWait final : public PositionWatch {
 public:
  // `positions` is a connection of this loop's own for the side questions.
  CommitWait(Loop& loop,
             Coherence& coherence,
             PositionSource& positions,
             Metrics& metrics,
             CommitWaitOptions options = {});
  ~CommitWait() override;

  // Whether there is anything to wait for now. Asked after the database answered.
  bool needed() const noexcept { return options_.enabled && coherence_.must_wait(); }

  // Returns when every commit acknowledged by the database before the call may be acknowledged to
  // its client. `unflushed`: the session may have committed without waiting for the disk
  // (synchronous_commit=off), so that the feed is late by design and is nudged at once. Cancelling
  // the fibre ends the wait early: then nothing may be sent.
  Async<Wake> wait(bool unflushed);

  Async<> close() { co_await scope_.close(); }

 private:
  struct Round;

  void wake() noexcept override;
  Async<> fly(std::shared_ptr<Round> round);
  void give_up(std::string_view why);

  Loop& loop_;
  Coherence& coherence_;
  PositionSource& positions_;
  CommitWaitOptions options_;
  Scope scope_;
  std::shared_ptr<Round> boarding_;  // The next question; who comes now is served by it.
  bool asking_ = false;
  Event advanced_;  // The feed has moved, or is lost.
  std::shared_ptr<bool>
      alive_;  // Wakes that arrive from the feed's thread after the end find it false.
  Counter& waits_;
  Counter& nudges_;
  Counter& gave_up_;
  Histogram& wait_seconds_;
};

}  // namespace meridian
