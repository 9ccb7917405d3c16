#pragma once
// The outbox of one node on a thread of its own: the lease, the feed of the outbox's table, the
// connections to the database and to NATS. While another node has the lease it only waits for it.
//
// Idle until there is a subject for the first time: then it begins, and goes on to the end.
//
// All of it on the main loop.

#include "app/config/config.h"
#include "app/postgres_server.h"
#include "base/metrics.h"
#include "gate/trail/trail_writer.h"
#include "pool/nats/connector.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop_thread.h"
#include "streams/lease.h"
#include "streams/outbox.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace meridian {

struct OutboxServiceParts {
  std::function<PostgresOptions()> admin_session;  // Any thread.
  nats::ConnectorOptions nats;
  BlockingPool& blocking;
  trail::TrailWriter& trail;  // Of the outbox's loop.
  Metrics& metrics;
  NodeRun run;  // Who holds the lease.
  config::OutboxConfig config;
};

class OutboxService {
 public:
  // `thread` runs until after close().
  OutboxService(LoopThread& thread, OutboxServiceParts parts);
  ~OutboxService();

  struct Status {
    bool begun = false;  // Else there was nothing to publish so far, and the rest says nothing.
    bool owner = false;
    std::string owner_name;  // Who has the lease, where that is another.
    Outbox::Status outbox;
    std::string lease_problem;
  };
  Async<Result<Status>> status();

  // Of the configuration. Before the database is told of it.
  void set_subjects(std::vector<std::string> subjects);

  Async<> close(Loop& home);

 private:
  class Worker;

  LoopThread& thread_;
  OutboxServiceParts parts_;
  std::vector<std::string> subjects_;
  std::unique_ptr<Worker> worker_;  // Its loop's.
};

}  // namespace meridian
