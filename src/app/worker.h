#pragma once
// A worker: one loop's share of the node. Its visits, and everything that they need without asking
// another loop.
//
// Made and destroyed on the main thread while its loop does not run; start() and stop() run on its
// loop.

#include "app/config/config.h"
#include "app/trail_log.h"
#include "cache/commit_wait.h"
#include "cache/view_reader.h"
#include "doors/door_host.h"
#include "doors/nats/door.h"
#include "doors/postgres/door.h"
#include "doors/redis/door.h"
#include "gate/gate.h"
#include "gate/visit_registry.h"
#include "pool/nats/connector.h"
#include "pool/redis/link_pool.h"
#include "pool/redis/socket_connector.h"
#include "runtime/epoll_loop.h"
#include "timeline/postgres/positions.h"
#include "timeline/postgres/postgres_reader.h"

#include <memory>

namespace meridian {

// What all workers share. All of it outlives them.
struct WorkerShared {
  const config::Config& config;
  Metrics& metrics;
  BlockingPool& blocking;
  GateConfig gate_config;
  Issuers& issuers;
  const Published<Policy>& policy;
  Revocations& revocations;
  LoginLimiter& login_limiter;
  LoginLimiter& cancel_limiter;
  ViewCache cache;
  const Published<ViewSet>& views;
  const Published<ReadOnlyCatalog>& catalog;
  const Published<TimelineFacts>& facts;
  Published<resp::CommandTable>& commands;
  PoolSet& pools;
  Connector& connector;
  CancelKeys& cancels;
  SessionKeeper::Options admin_session;
  PostgresReader::OptionsFor role_session;
  redis::SocketConnectorOptions redis;
  redis::SocketConnector::LoginSource redis_login;
  nats::ConnectorOptions nats;
  InboxClaims& inboxes;
  Endpoint nats_advertised;
  Secret nats_stamp_key;
  const TlsServer* tls;
  CommitWaitOptions commit_wait;
};

class Worker {
 public:
  Worker(EpollLoop& loop, trail::TrailWriter& trail, WorkerShared shared, std::uint32_t number);
  ~Worker();

  // `reads_commands`: this one learns Redis's command table, for all.
  void start(bool reads_commands);

  // Visits end in order, then everything else.
  Async<> stop(Duration patience);

  // The schema has changed: plans may be wrong.
  void renew_reader() { reader_.reset(); }
  // Another policy was published.
  void check_policy() { registry_.check_policy(*shared_.policy.get()); }
  // Redis is another process now.
  void renew_links() { links_.renew(); }

  EpollLoop& loop() noexcept { return loop_; }
  DoorHost& host() noexcept { return host_; }

  // That of a name that workers serve: not http, which the main loop does. The nats door has a
  // second one over WebSocket.
  Door& door(DoorName name, bool websocket) noexcept;

 private:
  Async<> learn_commands();
  NatsDoorParts nats_parts(trail::TrailWriter& trail, bool websocket);

  EpollLoop& loop_;
  WorkerShared shared_;
  TrailLog log_;
  Gate gate_;
  VisitRegistry registry_;
  PostgresPositions positions_;
  CommitWait commit_wait_;
  PostgresReader reader_;
  ViewReader views_;
  redis::SocketConnector redis_connector_;
  redis::LinkPool links_;
  nats::Connector nats_connector_;
  std::unique_ptr<Door> postgres_;
  std::unique_ptr<Door> redis_;
  std::unique_ptr<Door> nats_;
  std::unique_ptr<Door> nats_websocket_;
  DoorHost host_;
  Scope scope_;
};

}  // namespace meridian
