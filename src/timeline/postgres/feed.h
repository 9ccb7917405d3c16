#pragma once
// The feed from PostgreSQL: logical decoding (pgoutput, version 2, streaming) through a temporary
// slot.
//
// Tables are the truth, the feed is a wake-up: the slot goes with the connection, no log piles up
// behind a dead node, and after a break the consumer starts from nothing. On every break the order
// is that of coherence.md, I8: lost(), then a new position is fixed by a new slot, then a snapshot
// is taken, then resumed().
//
// Belongs to one loop. close() before it ends.

#include "base/metrics.h"
#include "runtime/scope.h"
#include "timeline/feed.h"
#include "timeline/position_source.h"
#include "timeline/postgres/backend_watch.h"
#include "timeline/postgres/session_keeper.h"
#include "timeline/postgres/standby.h"
#include "wire/postgres/pgoutput.h"

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace meridian {

struct PostgresFeedOptions {
  std::string publication = "meridian";
  std::string name = "coherence";  // In logs.
  Labels labels{};                 // Of its metrics.
  // What a break means for whoever is behind it, for the log.
  std::string when_broken = "views are read from the database until it is back";
  // Changes of large transactions come before these end. Without it they come at the commit, and
  // the server keeps them meanwhile.
  bool streaming = true;
  // Tell the server at once how far the feed has been applied: for commit_wait = database, where
  // its commits wait for us as for a synchronous standby of this name.
  bool confirms = false;
  std::string application_name = "meridian";
  Duration status_interval = std::chrono::seconds(1);
  Duration silence_max =
      std::chrono::seconds(10);  // No answer to our question for so long: reconnect.
  Duration backoff_max = std::chrono::seconds(2);
};

class PostgresFeed {
 public:
  // `positions` gives the snapshots. The consumer outlives the feed.
  PostgresFeed(EpollLoop& loop,
               SessionKeeper::Options session,
               PositionSource& positions,
               FeedConsumer& consumer,
               Metrics& metrics,
               PostgresFeedOptions options = {});
  ~PostgresFeed();

  void start() { scope_.spawn(run()); }

  // Breaks the stream and makes a new one, within status_interval: after what is published has
  // changed.
  void restart() noexcept { ++restarts_wanted_; }

  bool streaming() const noexcept { return streaming_; }
  Position position() const noexcept { return applied_; }
  const std::string& standby_names() const noexcept { return standby_.names(); }
  const std::string& last_error() const noexcept { return last_error_; }

  // Commits wait for us no longer.
  Async<> close();

 private:
  // A table as the stream described it, with which columns belong to its identity.
  struct Described {
    Relation relation;
    std::vector<bool> key;
  };

  Async<> run();
  Async<Result<void>> stream();
  Async<Result<void>> copy(PostgresSession& session);
  Async<Result<void>> resume(BootId boot);
  Result<void> check_boot(BootId answered, BootId streams);
  Result<void> take(std::string_view message);
  Result<void> apply(const postgres::Change& change);
  Result<void> changed(std::uint32_t relation,
                       const postgres::OldTuple* before,
                       const postgres::Tuple* after);
  Result<void> send_status(PostgresSession& session, bool ask);
  void describe(const postgres::Relation& relation);
  void read_cells(const postgres::Tuple& tuple,
                  const std::vector<bool>* only,
                  std::vector<Cell>& cells) const;

  EpollLoop& loop_;
  SessionKeeper::Options session_options_;
  PositionSource& positions_;
  FeedConsumer& consumer_;
  PostgresFeedOptions options_;

  postgres::PgoutputDecoder decoder_;
  std::unordered_map<std::uint32_t, Described> relations_;
  std::vector<Cell> before_;
  std::vector<Cell> after_;
  // Of the block that is being read. In a streamed block a change may belong to a subtransaction of
  // it; that one being rolled back later makes for an invalidation too many, and for no harm.
  TransactionId transaction_ = 0;
  Position applied_;
  Position server_end_;  // What the server has, as far as we were told.
  Time heard_at_{};
  bool confirm_wanted_ = false;
  bool answer_wanted_ = false;
  bool claimed_ = false;    // The names of standbys may be ours.
  bool streaming_ = false;  // The consumer was told that it is resumed, and hears of commits.
  std::uint64_t restarts_wanted_ = 0;
  bool restart_due_ = false;  // The stream ended because restart() asked for it.
  std::string last_error_;

  Gauge& connected_;
  Gauge& lag_bytes_;
  Counter& restarts_;
  Counter& messages_;
  Histogram& delay_;
  SynchronousStandby standby_;
  BackendWatch slot_watch_;
  Scope scope_;
};

}  // namespace meridian
