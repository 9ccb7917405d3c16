#pragma once
// One ingest rule at work: owns it by a lease, takes messages from its stream, has them committed
// batch by batch, and acknowledges what is committed.
//
// The database is the authority for the position. Whenever the rule begins anew, it takes a new
// epoch, which waits for whatever the old one has under way, reads from the ledger what is done,
// and makes the stream's consumer anew from there. So nothing depends on what the stream remembers,
// and a transaction whose outcome is unknown needs no special case.
//
// Belongs to one loop. close() before it ends.

#include "base/metrics.h"
#include "base/secret.h"
#include "gate/trail/trail_writer.h"
#include "pool/nats/connector.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "streams/ingest_session.h"
#include "streams/jetstream.h"
#include "streams/lease.h"
#include "streams/progress.h"
#include "streams/pull.h"
#include "streams/rule.h"
#include "timeline/statements.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

struct IngestParts {
  EpollLoop& loop;
  Statements& statements;  // As the owner of the schema meridian.
  nats::Connector& nats;
  std::function<Result<PostgresOptions>(const std::string& role)> session_options;
  std::function<Secret()> secret;  // What proofs are made with (wire: meridian.secrets).
  const StampMac* mac;             // Of nats.stamp_key_file; null: stamps are believed as they are.
  trail::TrailWriter& trail;
  Metrics& metrics;
  NodeRun run;  // Who holds the leases.
  // To which the ledger's rows belong: what meridian.ingest_rotate() said last. By no clock of this
  // machine, or a jump would lead to where there is no partition.
  std::int32_t ledger_day = 0;
  // For tests alone: acknowledges what was not committed, and trusts the stream's position.
  bool ack_before_commit = false;
};

class IngestRule {
 public:
  enum class State : std::uint8_t {
    waiting,  // Another node has it.
    starting,
    running,
    paused,       // By an operator, until told to resume.
    failing,      // The statement cannot run; tried again by itself.
    blocked,      // Only an operator can say how to go on.
    unreachable,  // The database or NATS; tried again by itself.
  };

  struct Status {
    std::string name;
    State state = State::starting;
    std::string why;     // It does not run.
    std::string holder;  // The node that has it, where that is another.
    std::string stream;
    std::uint64_t epoch = 0;
    std::int64_t incarnation = 1;
    StreamPlace floor;
    std::uint64_t pending = 0;  // Messages that the stream has still to deliver.
    std::size_t under_way = 0;
    std::uint64_t rows = 0;  // Of this process, as what follows.
    std::uint64_t duplicates = 0;
    std::uint64_t dead = 0;
    std::uint64_t batches = 0;
    std::string one_by_one;  // Why rows go in one by one; empty when they do not.
    std::string gap;         // The last gap that was found; empty for none.
  };

  // What a replay is to do: messages between two places, both included.
  struct ReplayOptions {
    std::uint64_t from_sequence = 0;  // 0: from_time.
    std::uint64_t to_sequence = 0;    // 0: to_time, or up to what the stream has now.
    std::optional<WallTime> from_time{};
    std::optional<WallTime> to_time{};
    std::string into{};  // Another table, made if absent; empty: the statement's own.
    bool force = false;  // Though the statement may double rows.
  };
  struct ReplayStatus {
    enum class State : std::uint8_t { none, running, done, failed };
    State state = State::none;
    std::string why{};
    std::uint64_t last_sequence = 0;  // Up to which it is committed.
    std::uint64_t rows = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t dead = 0;
  };
  // The last message that a rollback leaves: of that sequence, or the last one up to that time.
  struct RollbackPoint {
    std::uint64_t sequence = 0;
    std::optional<WallTime> time{};
  };
  struct Counts {
    std::uint64_t rows = 0;
    std::uint64_t dead = 0;
    std::uint64_t others = 0;  // Settled by somebody else, or without an effect.
  };

  // `parts` outlives it.
  // Messages of the stream that are read without a filter where the rule begins (check_position()).
  static constexpr std::uint64_t unfiltered_min = 1'000;
  static constexpr std::uint64_t unfiltered_max = 200'000;

  IngestRule(const IngestParts& parts, Rule rule);
  ~IngestRule();

  void start();
  Async<> close();

  const Rule& rule() const noexcept { return rule_; }
  Status status() const;

  // The schema has changed: what failed may work now.
  void try_again() noexcept {
    if (state_ == State::failing) poked_.notify_all();
  }

  // Kept in the database, so that it holds on every node and after a restart.
  Async<Result<void>> pause(std::string why, Deadline deadline);
  // Also ends the wait of a rule that is failing. `accept_stream`: what the stream has now is taken
  // for a new one, from its beginning.
  Async<Result<void>> resume(bool accept_stream, Deadline deadline);

  // Runs dead letters again, these or the oldest; at most letters_max at once.
  static constexpr std::size_t letters_max = 1'000;
  Async<Result<Counts>> retry(std::vector<std::int64_t> letters, Deadline deadline);

  // Begins a replay; status() of it says how it goes. Errors: conflict (one is running), invalid
  // (the statement is not one to run twice), not_found (the stream no longer has all of it).
  Async<Result<void>> start_replay(ReplayOptions options, Deadline deadline);
  const ReplayStatus& replay() const noexcept { return replay_; }
  void cancel_replay() noexcept { replay_cancelled_ = true; }

  // Undoes what messages after this point wrote, in one transaction, by the statement that the rule
  // declares. The rule stands still meanwhile. Errors: invalid (it declares none; a message cannot
  // be undone), exhausted (rollback_max), conflict (another node has the rule).
  static constexpr std::size_t rollback_max = 100'000;
  Async<Result<Counts>> roll_back(RollbackPoint to, Deadline deadline);

 private:
  struct Counters;
  struct Run;
  // Why a run ended.
  struct Ending {
    State state = State::unreachable;
    std::string why;
  };
  // A row of meridian.ingest_rules.
  struct Kept {
    std::int32_t id = 0;
    std::string consumer;  // Its name; of this installation alone.
    std::string stream;
    std::string created;
    std::int64_t incarnation = 1;
    StreamPlace floor;
    bool paused = false;
    std::string paused_why;
  };
  struct Position {
    Progress progress;
    StreamPlace newest;  // The highest sequence that is done.
  };

  Async<> run();
  Async<Ending> own();
  Async<Result<Kept>> load(Deadline deadline);
  Async<Result<Position>> load_position(const Kept& kept, Deadline deadline);
  // Makes it where there is none and `may_make`. Errors: not_found; invalid, for what the settings
  // have to say otherwise.
  Async<Result<StreamInfo>> find_stream(JetStream& jetstream, bool may_make, Deadline deadline);
  // Errors: conflict, for what an operator has to decide.
  Async<Result<ConsumerConfig>> check_position(JetStream& jetstream,
                                               const StreamInfo& stream,
                                               Kept& kept,
                                               const Position& position,
                                               Deadline deadline);
  Async<Result<void>> make_consumer(JetStream& jetstream,
                                    ConsumerConfig config,
                                    const Position& position,
                                    Deadline deadline);
  Async<Ending> work(JetStream& jetstream,
                     const Kept& kept,
                     Position position,
                     bool from_the_beginning,
                     std::uint64_t unfiltered_to);
  Async<> dispatch(Run& run);
  Async<> serve(Run& run, std::size_t worker);
  Async<> keep_up(Run& run);
  Async<> watch_lease(Run& run);
  Async<> note_idle_floor(Run& run);
  Async<Result<void>> record(const IngestBatch& batch,
                             const Claim& claim,
                             const BatchResult& result,
                             Time from);
  Async<Result<std::unique_ptr<IngestSession>>> open_session(const Rule& rule,
                                                             std::int32_t id,
                                                             Deadline deadline);
  Async<Result<void>> run_replay(ReplayOptions options);
  Async<Result<Rule>> make_copy_rule(std::string table, Deadline deadline);
  Async<Result<Counts>> undo(const Kept& kept, RollbackPoint to, Deadline deadline);
  void alarm(std::string_view kind, std::string detail);
  void enter(State state, std::string why);

  const IngestParts& parts_;
  EpollLoop& loop_;
  Rule rule_;
  Lease lease_;
  State state_ = State::starting;
  std::string why_;
  std::string gap_;
  std::string stream_;
  std::int64_t incarnation_ = 1;
  StreamPlace floor_;
  bool caught_up_ = false;  // The run before ended because what had waited was done.
  std::uint64_t batch_number_ = 0;
  Duration backoff_{};
  Run* running_ = nullptr;
  ReplayStatus replay_;
  bool replay_cancelled_ = false;
  std::unique_ptr<Counters> counters_;
  Event poked_;
  Scope scope_;
};

std::string_view to_string(IngestRule::State state) noexcept;

}  // namespace meridian
