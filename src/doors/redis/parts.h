#pragma once
// What the redis door of one loop works with. All of it outlives the door.

#include "base/metrics.h"
#include "cache/view_reader.h"
#include "cache/view_set.h"
#include "gate/gate.h"
#include "gate/trail/trail_writer.h"
#include "gate/visit_registry.h"
#include "pool/redis/link_pool.h"
#include "runtime/loop.h"
#include "runtime/published.h"
#include "runtime/tls.h"
#include "wire/resp/command_table.h"
#include "wire/resp/request_decoder.h"

#include <string>
#include <vector>

namespace meridian {

struct RedisDoorLimits {
  Duration login_timeout = std::chrono::seconds(30);  // From connecting to a login that succeeded.
  Duration idle_timeout{};  // Without a request; zero: as long as it likes.
  Duration farewell_timeout = std::chrono::seconds(1);
  Duration request_timeout = std::chrono::seconds(30);  // Of a view's query, or of Redis.
  Duration link_timeout =
      std::chrono::seconds(5);  // Of a request, for a link to Redis that stands.
  Duration lease_timeout = std::chrono::seconds(5);
  Duration reads_interval = std::chrono::seconds(1);  // Reads are recorded together this often.
  std::size_t pipelined_max = 1'024;                  // Requests answered out of one batch.
  std::size_t subscriptions_max = 1'024;              // Of one visit, patterns included.
  resp::RequestLimits requests{};
};

struct RedisDoorParts {
  Loop& loop;
  Gate& gate;
  VisitRegistry& registry;
  trail::TrailWriter& trail;
  ViewReader& views;
  redis::LinkPool& links;
  const Published<ViewSet>& view_set;
  const Published<resp::CommandTable>& commands;
  const TlsServer* tls;  // Null: none.
  Metrics& metrics;
  RedisDoorLimits limits{};
};

// What the visits of one loop share.
struct RedisDoorShared {
  explicit RedisDoorShared(RedisDoorParts given);

  RedisDoorParts parts;
  std::vector<char> read_buffer;
  std::string write_buffer;
  std::vector<resp::KeyUse> keys;
  Published<ViewSet>::Reader view_set;
  Published<resp::CommandTable>::Reader commands;

  Counter& commands_total;
  Counter& view_reads;
  Counter& relayed;
  Counter& denied;
  Histogram& miss_seconds;
  Histogram& relay_seconds;
};

}  // namespace meridian
