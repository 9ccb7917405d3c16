#pragma once
// The keeper does what the protocol needs done in time, on the feed's loop: it asks which delivered
// transactions have become visible, and opens the valve again when the feed has caught up.
//
// close() before it ends.

#include "base/metrics.h"
#include "cache/coherence.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "timeline/position_source.h"

#include <functional>
#include <memory>

namespace meridian {

struct KeeperOptions {
  Duration settle_pause = std::chrono::milliseconds(1);  // Between questions after the first few.
  Duration question_timeout = std::chrono::seconds(5);
  Duration reopen_pause = std::chrono::milliseconds(50);  // Between attempts to open the valve.
  // The server that answers is not the one that the feed is from: the feed has to begin anew.
  std::function<void()> server_changed = [] {};
};

class Keeper final : public PositionWatch {
 public:
  Keeper(Loop& loop,
         Coherence& coherence,
         PositionSource& positions,
         Metrics& metrics,
         KeeperOptions options = {});
  ~Keeper() override;

  // A transaction was delivered, or the feed resumed: there may be something to settle. On the
  // feed's loop.
  void transaction_delivered() noexcept { pending_.notify_all(); }

  void start();
  Async<> close() { co_await scope_.close(); }

 private:
  void wake() noexcept override;
  Async<> settle();
  Async<> reopen();
  void other_server();

  Loop& loop_;
  Coherence& coherence_;
  PositionSource& positions_;
  KeeperOptions options_;
  Scope scope_;
  Event pending_;
  Event advanced_;
  std::shared_ptr<bool> alive_;
  Counter& questions_;
};

}  // namespace meridian
