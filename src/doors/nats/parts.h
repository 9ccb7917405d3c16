#pragma once
// What the nats door of one loop works with. All of it outlives the door.

#include "base/metrics.h"
#include "gate/gate.h"
#include "gate/inbox_claims.h"
#include "gate/trail/trail_writer.h"
#include "gate/visit_registry.h"
#include "pool/nats/connector.h"
#include "runtime/loop.h"
#include "runtime/socket.h"
#include "runtime/tls.h"

#include <string>
#include <vector>

namespace meridian {

struct NatsDoorLimits {
  Duration login_timeout = std::chrono::seconds(5);  // From connecting to a login that succeeded.
  Duration farewell_timeout = std::chrono::seconds(1);
  Duration publications_interval = std::chrono::seconds(1);  // Recorded together this often.
  Duration idle_timeout = Duration::zero();  // Of one that has no subscription; zero: none.

  // From telling clients that the node stops to the end of their visits.
  Duration lame_duck_timeout = std::chrono::seconds(1);

  // How long INFO waits for a client that begins with TLS; zero: it does not.
  Duration handshake_first_timeout = Duration::zero();

  // A client that takes nothing for this long while messages wait is cut. The server behind does
  // the same to us after longer, and would take it for our fault.
  Duration slow_consumer_timeout = std::chrono::seconds(10);
  std::size_t connect_size_max = 65'536;  // Of the line with the token.
  std::size_t owed_max = 65'536;          // Answers that the server owes: more are not asked for.
  std::size_t responses_max = 4'096;      // Reply subjects that may be answered, of one visit.
};

struct NatsDoorParts {
  Loop& loop;
  Gate& gate;
  VisitRegistry& registry;
  trail::TrailWriter& trail;
  nats::Connector& connector;
  InboxClaims& inboxes;
  const TlsServer* tls;  // Null: none.
  Metrics& metrics;
  std::string node;        // What clients are told as the server's name.
  Endpoint advertised;     // And as its address.
  Secret stamp_key;        // Of the stamps' MAC; empty: they have none.
  bool websocket = false;  // The protocol in WebSocket's messages.
  NatsDoorLimits limits{};
};

// What the visits of one loop share.
struct NatsDoorShared {
  explicit NatsDoorShared(NatsDoorParts given);

  NatsDoorParts parts;
  std::vector<char> read_buffer;
  std::string to_server;  // Between two waits alone.
  std::string to_client;
  std::string headers;
  std::string refusal;  // For who comes while there is no room.

  Counter& published;
  Counter& delivered;
  Counter& withheld;
  Counter& denied;
  Counter& slow_consumers;
  Counter& rate_refused;
  Counter& idle_ended;
  Counter& held_back;
  Gauge& subscriptions;
};

}  // namespace meridian
