#pragma once
// The outbox: rows that were committed become messages, in the order of the commits, each once.
//
//   feed ─► OutboxCommits ─► number (a fenced transaction) ─► publish ─► mark
//
// The feed brings the rows too (OutboxRows); what was not kept of them is read from the table.
// Numbering and publishing go on by themselves: while NATS is away rows get their numbers, and wait
// in the table. Where there is no feed, the table is looked at instead: what it shows together is
// numbered in an order that cause and effect allow. docs/decisions/0061 says why.
//
// Belongs to one loop, the store, the sink and the commits with it.

#include "base/metrics.h"
#include "base/result.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "streams/outbox_commits.h"
#include "streams/outbox_plan.h"
#include "streams/outbox_sink.h"
#include "streams/outbox_store.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace meridian {

struct OutboxOptions {
  std::string stream = "OUTBOX";
  Duration keep = std::chrono::hours(4);   // Published rows stay so long, to be published again.
  std::uint64_t batch_rows_max = 8'192;    // Numbered in one transaction.
  std::size_t in_flight_max = 4'096;       // Messages without an acknowledgement.
  std::size_t ready_bytes_max = 16 << 20;  // Rows that were read and not sent.
  Duration acknowledgement_timeout = std::chrono::seconds(5);
  std::uint64_t alarm_rows = 100'000;  // Waiting: more is an alarm.
  Duration alarm_age = std::chrono::minutes(1);
};

// Messages in a row that one request has written; recorded before they are sent.
struct OutboxPublication {
  RequestId request;
  std::string_view stream;
  std::string_view subject;  // Of the first.
  std::uint64_t first_number = 0;
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
  std::uint64_t expected_sequence = 0;
};

class Outbox {
 public:
  // Errors: nothing was recorded, and nothing is sent.
  using Record = std::function<Result<void>(const OutboxPublication&)>;

  Outbox(Loop& loop,
         OutboxStore& store,
         OutboxSink& sink,
         OutboxCommits& commits,
         Record record,
         Metrics& metrics,
         OutboxOptions options);
  ~Outbox();

  // Works as the owner, until it may no longer be one or its place in the table is in doubt: then
  // the lease is to be acquired anew, and the feed begun anew. Returns why. Once at a time.
  Async<Error> serve();

  // Publishing begins anew by opening the sink.
  void reopen();

  struct Status {
    enum class State : std::uint8_t { idle, opening, gap, publishing, waiting };
    State state = State::idle;
    std::uint64_t numbered = 0;
    std::uint64_t published = 0;
    std::uint64_t dead_letters = 0;  // Since the start.
    Duration oldest_age{};
    bool alarm = false;
    bool by_feed = false;  // Numbers follow the very order of the commits, not the table's.
    std::string problem;   // Why nothing is published; empty when nothing keeps it from it.
  };
  const Status& status() const noexcept { return status_; }

 private:
  struct Ready {
    std::uint64_t number = 0;
    std::string error;     // Why it is a dead letter; empty when it is not.
    std::size_t size = 0;  // Of the payload, as it counts for ready_bytes_max.
    OutboxRow row;
  };
  struct Sent {
    WallTime created_at;
    Time sent_at{};
    std::size_t size = 0;
  };
  struct Settled {
    std::uint64_t id = 0;
    std::uint64_t numbered = 0;  // When everything up to the id had its number.
  };
  // Some rows up to this id have no number, of those that the snapshot sees.
  struct LeftOut {
    std::uint64_t id = 0;
    std::string seen;
  };
  struct Current;  // One run of publishing.

  Async<Result<void>> number();
  Async<Result<void>> number_from_table();
  Async<Result<bool>> number_before_feed();
  Async<Result<bool>> any_suspects(const Snapshot& seen);
  Async<Result<void>> number_batch(std::vector<IdRun> runs);
  Async<Result<void>> number_left_out();
  Async<> keep_settled();
  Async<Result<void>> settle();
  void numbered(std::uint64_t count);
  void pass(std::uint64_t count);

  Async<> publish();
  Async<Result<void>> publish_run();
  Async<Result<void>> read(Current& current);
  Async<Result<void>> send(Current& current);
  Async<Result<void>> send_burst(Current& current);
  Result<void> record_burst(const Current& current, std::size_t count) const;
  Async<Result<void>> take_acknowledgements(Current& current);
  Async<Result<OutboxBatch>> batch_of(std::uint64_t number);
  Async<Result<void>> read_runs(Current& current, std::uint64_t number, std::vector<IdRun> runs);
  Async<Result<void>> read_back(std::vector<IdRun> runs,
                                std::unordered_map<std::uint64_t, OutboxRow>& found);
  std::string headers_of(const Ready& ready, std::uint64_t expected_sequence) const;

  Async<> keep_marks();
  Async<> watch();
  void end(Error why);

  Loop& loop_;
  OutboxStore& store_;
  OutboxSink& sink_;
  OutboxCommits& commits_;
  Record record_;
  OutboxOptions options_;
  Status status_;

  // Numbering.
  std::uint64_t numbered_ = 0;
  std::uint64_t beginning_done_ = 0;
  std::optional<Snapshot> polled_;  // What the last look at the table saw.
  // Ran when the feed began: of these some may be in the log before that and be seen after.
  std::uint64_t suspects_beginning_ = 0;
  std::vector<std::uint64_t> suspects_;
  Time suspects_until_{};
  Duration poll_pause_{};
  std::optional<OutboxHorizon> horizon_;  // To be settled from the table.
  Time settle_at_{};
  std::optional<LeftOut> left_out_;
  std::uint64_t passed_count_ = 0;
  std::uint64_t settled_id_ = 0;
  std::deque<Settled> settled_;
  std::deque<OutboxBatch> recent_;  // Numbered and not read yet, the newest; bounded.
  Snapshot seen_;                   // Of the numbering that came last.

  // Publishing.
  std::string installation_;
  std::uint64_t published_ = 0;
  std::uint64_t published_sequence_ = 0;
  std::string stream_created_;
  std::uint64_t done_id_ = 0;
  bool opened_ = false;  // The stream was compared with the database, so numbers may be given.

  std::optional<Error> ended_;
  Event ended_event_;
  Event numbered_event_;
  Event passed_event_;
  Event opened_event_;

  Counter& numbered_total_;
  Counter& published_total_;
  Counter& bytes_total_;
  Counter& dead_letters_total_;
  Counter& stragglers_total_;
  Counter& read_back_total_;
  Counter& restarts_total_;
  Counter& emptied_total_;
  Gauge& waiting_;
  Gauge& rows_bytes_;
  Gauge& oldest_age_seconds_;
  Gauge& alarm_;
  Gauge& gap_;
  Histogram& delay_;
  // Where that time goes, once the feed has told of a commit.
  Histogram& numbering_;
  Histogram& reading_;
  Histogram& acknowledging_;
  Current* current_ = nullptr;
  std::unique_ptr<Scope> scope_;
};

std::string_view to_string(Outbox::Status::State state) noexcept;

}  // namespace meridian
