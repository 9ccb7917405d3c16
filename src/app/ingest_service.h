#pragma once
// The ingest rules of a node, on a loop and a thread of their own. They may change while it runs.
//
// Made and destroyed on the main thread while its loop does not run; everything else is called from
// the main loop.

#include "app/config/config.h"
#include "base/metrics.h"
#include "pool/nats/connector.h"
#include "runtime/event.h"
#include "runtime/loop_thread.h"
#include "streams/ingest.h"
#include "timeline/postgres/kept_statements.h"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace meridian {

struct IngestServiceParts {
  EpollLoop& main;
  LoopThread& thread;
  config::StreamsConfig streams;
  Metrics& metrics;
  BlockingPool& blocking;
  nats::ConnectorOptions nats;
  trail::TrailWriter& trail;  // Of the thread's loop.
  SessionKeeper::Options admin_session;
  std::function<Result<PostgresOptions>(const std::string& role)> role_session;
  std::function<Secret()> secret;
  Secret stamp_key;  // Empty: stamps have no MAC.
  NodeRun run;
  bool ack_before_commit = false;
};

class IngestService {
 public:
  using Rules = std::map<std::string, Rule>;

  // Of a configuration. Errors: invalid, naming the rule.
  static Result<Rules> compile(const config::Config& config);

  explicit IngestService(IngestServiceParts parts);
  ~IngestService();

  // Starts the thread.
  void start();

  // What is to run from now on. A rule that is as it was goes on undisturbed. One that went or has
  // changed finishes what an operator has asked of it, commits nothing more, and gives its lease
  // back; where a rule of that name begins again, it does so where the ledger says.
  void set_rules(Rules rules);
  void schema_changed();
  Async<> close();

  Async<Result<std::vector<IngestRule::Status>>> status();
  // Errors of these: not_found (no such rule), and the database's.
  Async<Result<void>> pause(std::string rule, std::string why, Deadline deadline);
  Async<Result<void>> resume(std::string rule, bool accept_stream, Deadline deadline);

  // Dead letters as rows: id, rule, sequence, subject, reason, sqlstate, error, attempt, state,
  // buried_at, payload.
  Async<Result<Rows>> dead_letters(std::string rule,
                                   std::string state,
                                   std::size_t count_max,
                                   Deadline deadline);
  Async<Result<IngestRule::Counts>> retry(std::string rule,
                                          std::vector<std::int64_t> letters,
                                          Deadline deadline);
  Async<Result<std::size_t>> discard(std::string rule,
                                     std::vector<std::int64_t> letters,
                                     Deadline deadline);
  Async<Result<void>> start_replay(std::string rule,
                                   IngestRule::ReplayOptions options,
                                   Deadline deadline);
  Async<Result<IngestRule::ReplayStatus>> replay_status(std::string rule);
  Async<Result<void>> cancel_replay(std::string rule);
  Async<Result<IngestRule::Counts>> roll_back(std::string rule,
                                              IngestRule::RollbackPoint to,
                                              Deadline deadline);

 private:
  // A rule, and who is at it: it is not taken away from under him.
  struct Place {
    Place(Loop& loop, const IngestParts& parts, Rule compiled)
        : rule(parts, std::move(compiled)), left(loop) {}
    IngestRule rule;
    bool started = false;
    std::size_t users_count = 0;
    Event left;
  };
  class Use {
   public:
    explicit Use(Place& place) : place_(&place) { ++place.users_count; }
    Use(Use&& other) noexcept : place_(std::exchange(other.place_, nullptr)) {}
    Use& operator=(Use&&) = delete;
    ~Use() {
      if (place_ && --place_->users_count == 0) place_->left.notify_all();
    }
    IngestRule* operator->() const noexcept { return &place_->rule; }

   private:
    Place* place_;
  };

  // Runs `work`, a coroutine, on the loop of the rules.
  template <class T>
  Async<Result<T>> ask(std::function<Async<Result<T>>()> work);
  Result<Use> find(const std::string& rule);
  Async<> tend();
  Async<Result<void>> rotate();
  Async<> follow_changes();
  Async<> retire(std::unique_ptr<Place> place);

  IngestServiceParts parts_;
  EpollLoop& loop_;
  KeptStatements statements_;
  nats::Connector nats_;
  std::optional<StampMac> mac_;
  std::unique_ptr<IngestParts> shared_;
  std::map<std::string, std::unique_ptr<Place>> places_;
  std::optional<Rules> wanted_;  // Not in force yet.
  Event wanted_changed_;
  Event some_to_start_;
  std::optional<Time> looked_at_;  // When the partitions were looked after last.
  Counter& clock_jumps_;
  Scope scope_;
};

}  // namespace meridian
