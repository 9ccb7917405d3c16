#pragma once
// The outbox's side in the database: numbers, progress, rows, dead letters.
//
// Implementations: SqlOutboxStore over the timeline's statements, and a double in simulation.
// Everything that writes proves the lease's epoch in the same transaction; an owner of before gets
// denied. Belongs to one loop.

#include "base/ids.h"
#include "base/result.h"
#include "runtime/async.h"
#include "runtime/deadline.h"
#include "streams/outbox_plan.h"
#include "timeline/position.h"
#include "timeline/snapshot.h"
#include "timeline/statements.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace meridian {

struct OutboxRow {
  std::uint64_t id = 0;
  std::string subject;
  std::string identity;                // As the header Meridian-Identity says it; may be empty.
  std::string headers;                 // Lines, each with its end.
  std::optional<std::string> payload;  // Empty when it is large: ask for it by itself.
  std::uint64_t payload_size = 0;
  WallTime created_at;
};

// The last row id that was drawn, and a transaction id that none of those who drew one has passed.
struct OutboxHorizon {
  std::uint64_t id = 0;
  std::uint64_t next_transaction = 0;
};

struct OutboxSnapshot {
  Snapshot snapshot;
  std::string text;
  std::uint64_t oldest = 0;  // Every transaction with a lower id has ended.
};

// How many rows wait, and since when the oldest does.
struct OutboxBacklog {
  std::uint64_t rows_count = 0;
  Duration oldest_age{};
};

// snapshot(), horizon(), number_backlog() and mark_settled() fail with conflict when the server may
// have crashed since the epoch was set: what they were told of may mean other rows now.
class OutboxStore {
 public:
  virtual ~OutboxStore() = default;

  virtual Async<Result<OutboxMarks>> marks(Deadline deadline) = 0;

  // Gives numbers from batch.first on. The same call again changes nothing. Returns who can be seen
  // by then.
  virtual Async<Result<Snapshot>> number(OutboxBatch batch, Deadline deadline) = 0;

  // Numbers what the snapshot sees and what has no number, but for the transactions of `excluded`
  // and ids above `id_limit`. Returns how many.
  virtual Async<Result<std::uint64_t>> number_backlog(std::string snapshot,
                                                      std::vector<TransactionId> excluded,
                                                      std::uint64_t id_limit,
                                                      Deadline deadline) = 0;

  virtual Async<Result<OutboxSnapshot>> snapshot(Deadline deadline) = 0;
  // A position that no transaction is behind which a snapshot of before sees; the feed reaches it
  // without further commits.
  virtual Async<Result<Position>> covering_position(Deadline deadline) = 0;
  // Whether any of these transactions is in the log as committed and cannot be seen since it waits
  // for a standby.
  virtual Async<Result<bool>> any_awaits_standby(std::vector<std::uint64_t> transactions,
                                                 Deadline deadline) = 0;
  // Whether every row behind this id and up to that one has a number.
  virtual Async<Result<bool>> all_have_numbers(std::uint64_t behind_id,
                                               std::uint64_t id_limit,
                                               Deadline deadline) = 0;
  virtual Async<Result<OutboxHorizon>> horizon(Deadline deadline) = 0;

  // The batches from the one that has this number on, at most count_max of them.
  virtual Async<Result<std::vector<OutboxBatch>>> batches(std::uint64_t number,
                                                          std::size_t count_max,
                                                          Deadline deadline) = 0;

  // The rows of these ids that can be seen, in any order.
  virtual Async<Result<std::vector<OutboxRow>>> rows(std::vector<IdRun> runs,
                                                     Deadline deadline) = 0;
  virtual Async<Result<std::string>> payload(std::uint64_t id, Deadline deadline) = 0;

  virtual Async<Result<void>> mark_published(std::uint64_t number,
                                             std::string stream_created,
                                             std::uint64_t sequence,
                                             std::uint64_t done_id,
                                             Deadline deadline) = 0;
  virtual Async<Result<void>> mark_settled(std::uint64_t id, Deadline deadline) = 0;
  virtual Async<Result<void>> adopt(OutboxMarks marks, Deadline deadline) = 0;
  virtual Async<Result<void>> state_condition(std::string condition, Deadline deadline) = 0;
  virtual Async<Result<void>> bury(std::uint64_t number,
                                   std::uint64_t id,
                                   std::string error,
                                   Deadline deadline) = 0;
  virtual Async<Result<OutboxBacklog>> backlog(Deadline deadline) = 0;

  // Removes whole partitions that are published and older. Returns how many.
  virtual Async<Result<std::uint64_t>> trim(Duration keep, Deadline deadline) = 0;
};

class SqlOutboxStore final : public OutboxStore {
 public:
  // Each runs as the owner of the schema meridian, on a session of its own: one answers in the
  // order of what it is asked, and a commit waits for the disk.
  struct Sessions {
    Statements& numbering;
    Statements& reading;  // And what is found out beside the numbering.
    Statements& marking;
    Statements& slow;  // For what takes long.
  };

  SqlOutboxStore(Sessions sessions, std::string lease)
      : statements_(sessions.numbering),
        reading_(sessions.reading),
        marking_(sessions.marking),
        slow_(sessions.slow),
        lease_(std::move(lease)) {}

  // What the writes prove from now on.
  void set_epoch(std::uint64_t epoch) {
    epoch_ = std::to_string(epoch);
    life_.clear();
  }

  Async<Result<OutboxMarks>> marks(Deadline deadline) override;
  Async<Result<Snapshot>> number(OutboxBatch batch, Deadline deadline) override;
  Async<Result<std::uint64_t>> number_backlog(std::string snapshot,
                                              std::vector<TransactionId> excluded,
                                              std::uint64_t id_limit,
                                              Deadline deadline) override;
  Async<Result<OutboxSnapshot>> snapshot(Deadline deadline) override;
  Async<Result<Position>> covering_position(Deadline deadline) override;
  Async<Result<bool>> any_awaits_standby(std::vector<std::uint64_t> transactions,
                                         Deadline deadline) override;
  Async<Result<bool>> all_have_numbers(std::uint64_t behind_id,
                                       std::uint64_t id_limit,
                                       Deadline deadline) override;
  Async<Result<OutboxHorizon>> horizon(Deadline deadline) override;
  Async<Result<std::vector<OutboxBatch>>> batches(std::uint64_t number,
                                                  std::size_t count_max,
                                                  Deadline deadline) override;
  Async<Result<std::vector<OutboxRow>>> rows(std::vector<IdRun> runs, Deadline deadline) override;
  Async<Result<std::string>> payload(std::uint64_t id, Deadline deadline) override;
  Async<Result<void>> mark_published(std::uint64_t number,
                                     std::string stream_created,
                                     std::uint64_t sequence,
                                     std::uint64_t done_id,
                                     Deadline deadline) override;
  Async<Result<void>> mark_settled(std::uint64_t id, Deadline deadline) override;
  Async<Result<void>> adopt(OutboxMarks marks, Deadline deadline) override;
  Async<Result<void>> state_condition(std::string condition, Deadline deadline) override;
  Async<Result<void>> bury(std::uint64_t number,
                           std::uint64_t id,
                           std::string error,
                           Deadline deadline) override;
  Async<Result<OutboxBacklog>> backlog(Deadline deadline) override;
  Async<Result<std::uint64_t>> trim(Duration keep, Deadline deadline) override;

 private:
  Async<Result<void>> write(Statements& statements,
                            std::string_view sql,
                            std::vector<std::string> values,
                            Deadline deadline);

  Statements& statements_;
  Statements& reading_;
  Statements& marking_;
  Statements& slow_;
  Result<void> check_life(std::string_view session);

  std::string lease_;
  std::string epoch_ = "0";
  // The session that answered first since the epoch: its process and its beginning. A
  // server that crashes ends all sessions, and then gives out ids again, of rows and of
  // transactions, which it had not written to the disk. What was read before means nothing after.
  std::string life_;
};

}  // namespace meridian
