#pragma once
// What the postgres door of one loop works with. All of it outlives the door.

#include "base/metrics.h"
#include "base/secret.h"
#include "cache/commit_wait.h"
#include "doors/postgres/cancel_keys.h"
#include "doors/postgres/statement.h"
#include "gate/gate.h"
#include "gate/login_limiter.h"
#include "gate/trail/trail_writer.h"
#include "gate/visit_registry.h"
#include "pool/connector.h"
#include "pool/pool_set.h"
#include "runtime/epoll_loop.h"
#include "runtime/published.h"
#include "runtime/tls.h"
#include "wire/postgres/framing.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace meridian {

// What every visit is told about the timeline. Replaced as a whole when it changes.
struct TimelineFacts {
  std::string database;      // Whose commits views depend on.
  bool views_exist = false;  // Without views nobody waits.
  Secret identity_secret;  // What meridian.subject() checks proofs with; empty where the schema is
                           // not installed.
};

struct PostgresDoorLimits {
  Duration login_timeout = std::chrono::seconds(5);
  Duration farewell_timeout = std::chrono::seconds(1);  // For the last message to a slow client.
  // For the rest of what is refused: hundreds of megabytes over a slow network, or to a busy
  // machine. Who sends nothing of it for the shorter time has stopped.
  Duration hear_out_timeout = std::chrono::seconds(60);
  Duration hear_out_silence_max = std::chrono::seconds(10);
  Duration cancel_timeout = std::chrono::seconds(5);
  std::size_t pending_bytes_max = 16 << 20;  // Of a message that has to be looked at whole.
  std::size_t request_bytes_max = 64 << 20;  // Of a message of the client.
  std::size_t pipelined_max = 128;           // Statements that one visit may have under way.
  Duration idle_timeout{};                   // Without a request; zero: as long as it likes.
};

struct PostgresDoorParts {
  EpollLoop& loop;
  Gate& gate;
  VisitRegistry& registry;
  trail::TrailWriter& trail;
  PoolSet& pools;
  Connector& connector;
  CommitWait& commit_wait;
  CancelKeys& cancels;
  LoginLimiter& cancel_limiter;
  const Published<ReadOnlyCatalog>& catalog;
  const Published<TimelineFacts>& timeline;
  const TlsServer* tls;  // Null: none.
  Metrics& metrics;
  PostgresDoorLimits limits{};
};

// What the visits of one loop share: buffers that are only in use between two waits, and the
// statements known.
struct PostgresDoorShared {
  explicit PostgresDoorShared(PostgresDoorParts given);

  PostgresDoorParts parts;
  StatementClassifier classifier;
  postgres::FramingRules client_rules;
  postgres::FramingRules server_rules;
  std::vector<char> read_buffer;
  std::string write_buffer;
  Published<TimelineFacts>::Reader timeline;

  Counter& statements;
  Counter& stamped;
  Counter& checkouts;
  Counter& cancels;
  Counter& violations;
  Histogram& statement_seconds;
  Histogram& checkout_seconds;
  Histogram& login_seconds;
};

}  // namespace meridian
