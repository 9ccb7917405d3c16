#pragma once
// A session logged in as a rule's role that makes rows of batches: one transaction a batch, with
// the ledger, both ways of finding duplicates, the rows and the dead letters in it.
//
// Belongs to one loop; one batch at a time. close() before it ends.

#include "base/ids.h"
#include "base/result.h"
#include "base/secret.h"
#include "streams/ingest_batch.h"
#include "streams/rule.h"
#include "timeline/postgres/session.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace meridian {

// What kind of entry a batch is in the ledger.
enum class BatchKind : std::uint8_t {
  ingest = 0,
  replay = 1,
  rollback = 2,
  copy = 3,   // A replay into another table.
  retry = 4,  // Of dead letters; not in the ledger.
};

std::string_view to_string(BatchKind kind) noexcept;

// Under whose ownership a batch is committed, and what the ledger says of it beside its messages.
struct Claim {
  std::string lease{};
  std::uint64_t epoch = 0;
  std::uint64_t number = 0;  // Counted by the owner; with the epoch, never again.
  BatchKind kind = BatchKind::ingest;
  std::int64_t incarnation = 1;
  StreamPlace floor{};
  std::int32_t day = 0;  // As of IngestParts.
  // Of its own, for a transaction of messages of several requests.
  RequestId request{};
  std::vector<std::int64_t> letters{};  // Of a retry: the dead letters, in the batch's order.
};

// The request id that the transaction of these messages has: theirs, where they arrived and have
// one and the same. Once they are read.
RequestId request_of(const IngestBatch& batch, const Claim& claim);

// What came of a batch.
struct BatchResult {
  enum class Next : std::uint8_t {
    done,     // Committed.
    again,    // Nothing was committed; the same batch may be tried again.
    pause,    // The statement itself cannot run: `why` is for an operator.
    restart,  // The connection, or the ownership, is gone; it may have been committed.
  };
  Next next = Next::restart;
  std::string why{};
  std::size_t rows_count = 0;  // Messages that became rows.
  std::size_t duplicates_count = 0;
  std::size_t dead_count = 0;
};

class IngestSession {
 public:
  // `rule` and `mac` outlive it; `mac`, which may be null, is used on this loop. Errors: those of
  // the connection; invalid and denied where the statement cannot be prepared: the role lacks a
  // right, a table or a column is missing.
  static Async<Result<std::unique_ptr<IngestSession>>> open(EpollLoop& loop,
                                                            PostgresOptions options,
                                                            const Rule& rule,
                                                            std::int32_t rule_id,
                                                            Secret secret,
                                                            const StampMac* mac,
                                                            Deadline deadline);

  Async<BatchResult> commit(IngestBatch& batch, Claim claim);

  // The parameters' kinds, for IngestBatch::read().
  const std::vector<ParameterKind>& kinds() const noexcept { return kinds_; }
  const PostgresSession& session() const noexcept { return *session_; }

  Async<> close();

 private:
  enum class Trouble : std::uint8_t { poison, again, pause, restart, id_conflict };
  struct Sent;

  IngestSession(EpollLoop& loop,
                const Rule& rule,
                std::int32_t rule_id,
                const StampMac* mac,
                std::unique_ptr<PostgresSession> session);

  Async<Result<void>> prepare(Deadline deadline);
  std::string ids_space(const Claim& claim) const;
  std::string values_of(std::string_view sql, std::string_view prefix) const;

  static Trouble classify(const StatementFailure& failure) noexcept;
  static BatchResult to_result(const Error& error);
  BatchResult to_result(const StatementFailure& failure) const;

  Async<BatchResult> commit_at_once(IngestBatch& batch, Sent& sent);
  Async<BatchResult> commit_apart(IngestBatch& batch, Sent& sent);
  // Puts in these messages' rows, in a transaction block; those that cannot be are buried.
  Async<BatchResult> put_rows(IngestBatch& batch, std::vector<std::size_t> messages);
  Async<Result<CommandResults>> send_rows(const IngestBatch& batch,
                                          const std::vector<std::size_t>& messages);
  Async<BatchResult> bury_and_commit(const IngestBatch& batch,
                                     const Claim& claim,
                                     std::vector<std::size_t> dead);
  Async<> roll_back();
  Deadline deadline() const;

  EpollLoop& loop_;
  const Rule& rule_;
  std::int32_t rule_id_;
  const StampMac* mac_;
  std::string proof_;
  std::unique_ptr<PostgresSession> session_;
  PayloadReader fields_;
  std::vector<ParameterKind> kinds_;
  std::vector<std::string> types_;  // As SQL names; empty: no cast is needed.
};

}  // namespace meridian
