#pragma once
// A node: everything that one process of Meridian runs, wired together.
//
// On the main loop and the main thread, which also starts the engines (the kernel ends them with
// it). open() brings it up, serve() waits for signals, close() takes it down in order. Workers run
// on threads of their own.

#include "app/config/config.h"
#include "app/http_service.h"
#include "app/ingest_service.h"
#include "app/outbox_service.h"
#include "app/postgres_server.h"
#include "app/timeline_service.h"
#include "app/worker.h"
#include "doors/door_listener.h"
#include "engines/data_folder.h"
#include "engines/nats_engine.h"
#include "engines/postgres_engine.h"
#include "engines/redis_engine.h"
#include "engines/supervisor.h"
#include "gate/trail/trail.h"
#include "runtime/blocking_pool.h"
#include "runtime/curl_fetcher.h"
#include "runtime/loop_thread.h"
#include "runtime/reclaim.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace meridian {

struct NodeOptions {
  bool own_engines =
      false;  // `up`: an engine is owned where no url is given. `serve`: every url has to be given.
  // Reads the configuration again; null where there is no file.
  std::function<Result<config::Config>()> read_config;

  // For tests alone: parts of the protocol that are switched off.
  CoherenceMutations mutations{};
  bool commit_wait = true;
  bool ack_before_commit = false;
};

class Node {
 public:
  Node(EpollLoop& loop, config::Config config, NodeOptions options);
  ~Node();

  // Errors: what keeps it from coming up, for the operator. close() must follow all the same.
  Async<Result<void>> open();

  using DoorAddresses = std::vector<std::pair<std::string, std::string>>;
  const DoorAddresses& doors() const noexcept { return door_addresses_; }
  const std::string& admin_socket() const noexcept { return admin_socket_; }

  // Until SIGTERM or SIGINT. SIGHUP reads the configuration again.
  Async<> serve();

  Async<> close();

 private:
  struct WorkerThread;

  Async<Result<void>> open_engines();
  Async<Result<void>> open_nats();
  bool wants_nats() const;
  Result<void> open_streams();
  void leave_out(DoorName door, std::string_view why);
  Result<void> open_trail();
  Result<void> open_gate();
  Result<void> bind_doors();
  void make_workers();
  WorkerShared worker_shared();
  Endpoint advertised(DoorName door) const;
  Async<Result<void>> open_doors();
  Result<std::string> reload();
  Async<> follow_engines();

  EpollLoop& loop_;
  std::shared_ptr<const config::Config> config_;
  NodeOptions options_;
  Metrics metrics_;
  BlockingPool blocking_{2};
  std::unique_ptr<DataFolder> folder_;
  NodeRun run_;

  std::unique_ptr<PostgresEngine> postgres_engine_;
  std::unique_ptr<RedisEngine> redis_engine_;
  std::unique_ptr<NatsEngine> nats_engine_;
  std::optional<Supervisor> postgres_supervisor_;
  std::optional<Supervisor> redis_supervisor_;
  std::optional<Supervisor> nats_supervisor_;

  std::vector<std::unique_ptr<WorkerThread>>
      workers_;  // Their loops, before anything that lives on them.
  // Of messages; null where there is no NATS. They are there without rules too, since a reload may
  // bring some.
  std::unique_ptr<LoopThread> outbox_thread_;
  std::unique_ptr<LoopThread> ingest_thread_;
  std::unique_ptr<trail::Trail> trail_;

  // The gate.
  GateConfig gate_config_;
  std::unique_ptr<BlockingPool> fetching_;  // One thread for each issuer: none waits for another.
  std::unique_ptr<Fetcher> fetcher_;
  std::unique_ptr<Issuers> issuers_;
  std::unique_ptr<OwnIssuer> own_issuer_;
  VisitCounts visit_counts_;
  std::unique_ptr<Published<Policy>> policy_;
  std::unique_ptr<Published<ExchangePolicy>> exchange_policy_;
  std::unique_ptr<Revocations> revocations_;
  LoginLimiter login_limiter_;
  LoginLimiter cancel_limiter_;
  std::unique_ptr<TrailLog> main_log_;
  std::unique_ptr<Gate> main_gate_;
  std::unique_ptr<TokenExchange> exchange_;
  std::unique_ptr<TlsServer> tls_;

  // The timeline and the cache.
  std::optional<PostgresServer> server_;
  RoleKeys role_keys_;
  Published<ViewSet> views_;
  Published<ReadOnlyCatalog> catalog_;
  Published<TimelineFacts> facts_;
  Published<resp::CommandTable> commands_;
  Reclaimer reclaimer_;
  Coherence coherence_;
  Store store_;
  FlightBoard flights_;
  std::unique_ptr<TimelineService> timeline_;

  // Relaying.
  std::unique_ptr<Connector> connector_;
  std::unique_ptr<PoolSet> pools_;
  CancelKeys cancels_;
  redis::SocketConnectorOptions redis_;
  Secret redis_password_;
  std::string redis_user_ = "default";
  nats::ConnectorOptions nats_;
  Secret nats_stamp_key_;
  InboxClaims inboxes_;
  bool nats_there_ = false;
  std::unique_ptr<OutboxService> outbox_;

  std::unique_ptr<IngestService> ingest_;

  // Doors.
  std::unique_ptr<HttpService> http_service_;
  std::unique_ptr<Door> http_door_;
  std::unique_ptr<DoorHost> main_host_;
  struct Bound {
    DoorName door;
    std::unique_ptr<Listener> listener;
    bool admin = false;
    bool websocket = false;
  };
  std::vector<Bound> bound_;
  std::vector<std::unique_ptr<DoorListener>> listeners_;
  DoorAddresses door_addresses_;
  std::string admin_socket_;

  Scope sealing_;  // The trail's fibre, which ends last.
  Scope scope_;
};

}  // namespace meridian
