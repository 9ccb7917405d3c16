#pragma once
// Revocations as the feed brings them: a row of meridian.revocations takes effect on this node when
// it is delivered.
//
// Belongs to the main loop. The table is the truth: it is read whole at the start, after each break
// of the feed, and when a row was changed or deleted.

#include "gate/revocations.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "timeline/feed.h"
#include "timeline/postgres/session_keeper.h"

#include <map>
#include <string>
#include <vector>

namespace meridian {

class RevocationFeed final : public FeedConsumer {
 public:
  RevocationFeed(Loop& loop, Revocations& revocations, SessionKeeper& sessions);
  ~RevocationFeed() override;

  // Reads the table. Before anybody is admitted.
  Async<Result<void>> load(Deadline deadline);

  void start() { scope_.spawn(reload_when_wanted()); }
  Async<> close() { co_await scope_.close(); }

  void lost() override {}
  void resumed(BootId boot, Position position, const Snapshot& snapshot) override;
  void changed(TransactionId transaction, const ChangedRow& row) override;
  void truncated(TransactionId transaction, std::span<const Relation* const> relations) override;
  void message(TransactionId, std::string_view, std::string_view) override {}
  void aborted(TransactionId transaction) override { open_.erase(transaction); }
  void committed(TransactionId transaction, Position end, WallTime at) override;
  void advanced(Position) override {}

 private:
  struct Open {
    std::vector<Revocation> added;
    bool reload = false;
  };

  Async<> reload_when_wanted();
  void want_reload();

  Loop& loop_;
  Revocations& revocations_;
  SessionKeeper& sessions_;
  std::map<TransactionId, Open> open_;
  std::uint64_t wanted_ = 0;
  Event reload_;
  Scope scope_;
};

}  // namespace meridian
