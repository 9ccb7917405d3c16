#pragma once
// A database for simulation: a few tables of text, one log of commits, and a feed, with all the
// liberties that PostgreSQL takes: a commit is delivered before or after it becomes visible,
// becomes visible in another order than that of the log, and may be acknowledged before it is
// flushed.

#include "base/function_ref.h"
#include "runtime/scope.h"
#include "runtime/sim/sim_loop.h"
#include "timeline/feed.h"
#include "timeline/position_source.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace meridian {

struct SimDatabaseOptions {
  double nudge_failure_share =
      0.1;  // The side connection broke, and the next question is answered by another.
  Duration flush_max = std::chrono::microseconds(300);
  Duration visible_max = std::chrono::microseconds(500);   // From flushed to visible.
  Duration delivery_max = std::chrono::microseconds(500);  // From flushed to delivered.
  Duration answer_max =
      std::chrono::microseconds(100);  // Each way of a question or an acknowledgement.
  Duration lazy_flush_max =
      std::chrono::milliseconds(200);  // Of a commit that does not wait for the disk.
  double slow_share = 0.02;            // Of these times, so many are ten times longer.
};

struct SimWrite {
  std::string table;
  std::vector<std::string> key;      // The identity columns.
  std::optional<std::string> value;  // Nothing: the row is deleted.
};

class SimDatabase final : public PositionSource {
 public:
  // Each table has key columns k0, k1, ... and a column "value".
  SimDatabase(SimLoop& loop, SimDatabaseOptions options);
  ~SimDatabase() override;

  // Commits the writes in one transaction; returns when the server has acknowledged it. With `lazy`
  // that does not wait for the disk. Errors: outcome_unknown when the server crashed meanwhile.
  Async<Result<void>> write(std::vector<SimWrite> writes, bool lazy);

  // Runs `query` on the state that is visible at some moment between call and return.
  using Table = std::map<std::vector<std::string>, std::string>;
  using Tables = std::map<std::string, Table>;
  Async<Result<std::string>> read(std::function<std::string(const Tables&)> query);

  // Delivers the log to the consumer until the end. One feed.
  void start_feed(FeedConsumer& consumer);

  // The feed's connection breaks, and is made again after a while.
  void break_feed();

  // All that is not flushed is lost, all that is flushed becomes visible, connections break, the
  // boot changes.
  void crash();

  // A transaction that changes what the cache is told by a message.
  Async<Result<void>> change_schema();

  Async<Result<OfBoot<Position>>> flushed(Deadline deadline) override;
  Async<Result<OfBoot<Snapshot>>> snapshot(Deadline deadline) override;
  Async<Result<BootId>> nudge(Deadline deadline) override;
  void reconnect() noexcept override {}  // Each question has a connection of its own.

  BootId boot() const noexcept { return boot_; }
  const Tables& visible() const noexcept { return visible_; }
  std::uint64_t commits_count() const noexcept { return commits_count_; }

  Async<> close();

 private:
  struct Commit {
    TransactionId transaction = 0;
    std::vector<SimWrite> writes;
    bool schema_change = false;
    Time deliver_at{};
  };

  Duration some(Duration most);
  Async<Result<void>> commit(std::vector<SimWrite> writes, bool lazy, bool schema_change);
  void flush(Commit commit);
  void make_visible(TransactionId transaction, const std::vector<SimWrite>& writes);
  void flush_lazy();
  void append(Commit commit);
  Async<> flush_later(TransactionId transaction, Duration delay);
  Async<> feed();
  void deliver(const Commit& commit, Position end);
  const Relation& relation_of(const std::string& table, std::size_t key_size);
  Snapshot snapshot_now() const;

  SimLoop& loop_;
  SimDatabaseOptions options_;
  Tables visible_;
  std::vector<Commit> log_;              // Flushed, in order; the position of log_[i] is i + 1.
  std::vector<Commit> lazy_;             // Visible, not flushed, in the order of their records.
  std::set<TransactionId> in_progress_;  // Begun, not visible.
  TransactionId next_transaction_ = 1'000;
  BootId boot_ = 1;
  std::uint64_t feed_epoch_ = 0;  // Counts breaks of the feed.
  std::uint64_t commits_count_ = 0;
  std::map<std::string, Relation> relations_;
  FeedConsumer* consumer_ = nullptr;
  Event log_grew_;
  Scope scope_;
};

}  // namespace meridian
