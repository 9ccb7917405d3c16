#pragma once
// The ingest rules of a node, on a loop and a thread of their own.
//
// Made and destroyed on the main thread while its loop does not run; everything else is called from
// the main loop.

#include "app/config/config.h"
#include "base/metrics.h"
#include "pool/nats/connector.h"
#include "runtime/loop_thread.h"
#include "streams/ingest.h"
#include "timeline/postgres/kept_statements.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace meridian {

struct IngestServiceParts {
  EpollLoop& main;
  LoopThread& thread;
  const config::Config& config;
  Metrics& metrics;
  BlockingPool& blocking;
  nats::ConnectorOptions nats;
  trail::TrailWriter& trail;  // Of the thread's loop.
  SessionKeeper::Options admin_session;
  std::function<Result<PostgresOptions>(const std::string& role)> role_session;
  std::function<Secret()> secret;
  NodeRun run;
  bool ack_before_commit = false;
};

class IngestService {
 public:
  // Errors: invalid, naming the rule.
  static Result<std::unique_ptr<IngestService>> make(IngestServiceParts parts);
  ~IngestService();

  // Starts the thread.
  void start();
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
                                              std::uint64_t to_sequence,
                                              Deadline deadline);

 private:
  explicit IngestService(IngestServiceParts parts);

  // Runs `work`, a coroutine, on the loop of the rules.
  template <class T>
  Async<Result<T>> ask(std::function<Async<Result<T>>()> work);
  Async<Result<IngestRule*>> find(const std::string& rule);
  Async<> tend();

  IngestServiceParts parts_;
  EpollLoop& loop_;
  KeptStatements statements_;
  nats::Connector nats_;
  std::unique_ptr<IngestParts> shared_;
  std::map<std::string, std::unique_ptr<IngestRule>> rules_;
  Scope scope_;
};

}  // namespace meridian
