#include "app/node.h"

#include "app/config/changes.h"
#include "app/config/secret_file.h"
#include "app/config/url.h"
#include "app/translate.h"
#include "app/version.h"
#include "base/escape.h"
#include "runtime/call_on.h"
#include "runtime/log.h"
#include "runtime/loop_thread.h"
#include "runtime/signals.h"

#include <algorithm>
#include <signal.h>
#include <sys/stat.h>
#include <utility>

namespace meridian {
namespace {

constexpr Duration engines_timeout = std::chrono::seconds(60);
constexpr Duration timeline_timeout = std::chrono::seconds(60);
constexpr Duration drain_patience = std::chrono::seconds(5);

// Cancels are answered to nobody, so whoever sends many is guessing.
constexpr LoginLimits cancel_limits{.failures_per_minute = 600, .failures_burst = 100};

}  // namespace

// A loop on a thread of its own, and what lives there.
struct Node::WorkerThread {
  LoopThread thread;
  std::unique_ptr<Worker> worker;
};

Node::Node(EpollLoop& loop, config::Config config, NodeOptions options)
    : loop_(loop),
      config_(std::make_shared<const config::Config>(std::move(config))),
      options_(std::move(options)),
      visit_counts_(metrics_),
      login_limiter_(
          {.failures_per_minute = static_cast<double>(config_->limits.failed_logins_per_minute),
           .failures_burst = static_cast<double>(config_->limits.failed_logins_per_minute)}),
      cancel_limiter_(cancel_limits),
      role_keys_(loop, metrics_),
      views_(std::make_shared<const ViewSet>()),
      catalog_(std::make_shared<const ReadOnlyCatalog>()),
      facts_(std::make_shared<const TimelineFacts>()),
      commands_(std::make_shared<const resp::CommandTable>()),
      coherence_(Slots::count_default, options_.mutations),
      store_(reclaimer_, config_->cache.bytes_max),
      flights_(coherence_),
      sealing_(loop),
      scope_(loop) {
  metrics_.gauge("meridian_cache_bytes", "Memory of the kept values.", {}, [this] {
    return static_cast<double>(store_.bytes());
  });
  metrics_.gauge("meridian_cache_entries", "Values that are kept.", {}, [this] {
    return static_cast<double>(store_.count());
  });
  metrics_.gauge(
      "meridian_cache_evictions", "Values that had to make room, since the start.", {}, [this] {
        return static_cast<double>(store_.evictions());
      });
  metrics_.gauge("meridian_cache_serving", "1 while hits are served.", {}, [this] {
    return coherence_.serving() ? 1.0 : 0.0;
  });
}

Node::~Node() = default;

Async<Result<void>> Node::open() {
  set_log_level(config_->log.level);
  MERIDIAN_CO_TRY(folder_,
                  DataFolder::open({.path = config_->data, .engine_user = config_->engines.user},
                                   loop_.wall_now()));
  MERIDIAN_CO_TRY(const FolderRun run, folder_->begin_run(loop_.random()));
  run_ = {.node = config_->node.name + " " + run.folder, .number = run.number};
  // Ports are taken before anything is started that would have to be stopped again.
  MERIDIAN_CO_CHECK(bind_doors());
  if (!config_->tls.certificate.empty()) {
    MERIDIAN_CO_TRY(tls_,
                    TlsServer::load({.certificate_file = config_->tls.certificate,
                                     .key_file = config_->tls.key,
                                     .client_ca_file = config_->tls.client_ca}));
  }
  for (std::uint32_t i = 0; i < config_->node.loops; ++i) {
    workers_.push_back(std::make_unique<WorkerThread>());
    reclaimer_.observe_loop(workers_.back()->thread.loop());
  }
  if (wants_nats()) {
    outbox_thread_ = std::make_unique<LoopThread>();
    ingest_thread_ = std::make_unique<LoopThread>();
  }
  MERIDIAN_CO_CHECK(open_trail());
  MERIDIAN_CO_CHECK(open_gate());
  MERIDIAN_CO_CHECK(co_await open_engines());

  connector_ = std::make_unique<Connector>(
      server_->relay_options(),
      Connector::Passwords{
          .now = [this](std::string_view role) { return role_keys_.password(role); },
          .after =
              [this](std::string role, Secret refused, Deadline deadline) {
                return role_keys_.password_after(std::move(role), std::move(refused), deadline);
              }},
      blocking_);
  pools_ = std::make_unique<PoolSet>(*connector_, metrics_);
  pools_->set_options(to_pool_options(*config_));
  timeline_ = std::make_unique<TimelineService>(
      loop_,
      TimelineShared{.coherence = coherence_,
                     .views = views_,
                     .catalog = catalog_,
                     .facts = facts_,
                     .role_keys = role_keys_,
                     .revocations = *revocations_,
                     .trail = trail_->writer(0),
                     .metrics = metrics_},
      *server_,
      *config_,
      [this] {
        for (const auto& thread : workers_) {
          Worker* const worker = thread->worker.get();
          worker->loop().submit([worker] { worker->renew_reader(); });
        }
        if (ingest_) ingest_->schema_changed();
      });
  make_workers();
  timeline_->start();
  // Who was revoked is known before anybody is let in.
  MERIDIAN_CO_CHECK(co_await timeline_->ready(loop_.after(timeline_timeout)));
  MERIDIAN_CO_CHECK(open_streams());
  co_return co_await open_doors();
}

Result<void> Node::bind_doors() {
  const auto bind = [&](DoorName door, const std::vector<Endpoint>& endpoints) -> Result<void> {
    for (const Endpoint& endpoint : endpoints) {
      MERIDIAN_TRY(auto listener, Listener::listen(loop_, endpoint));
      door_addresses_.emplace_back(to_string(door), listener->endpoint().to_string());
      bound_.push_back({.door = door, .listener = std::move(listener)});
    }
    return {};
  };
  const auto bind_websocket = [&](const std::vector<Endpoint>& endpoints) -> Result<void> {
    for (const Endpoint& endpoint : endpoints) {
      MERIDIAN_TRY(auto listener, Listener::listen(loop_, endpoint));
      door_addresses_.emplace_back("nats_websocket", listener->endpoint().to_string());
      bound_.push_back(
          {.door = DoorName::nats, .listener = std::move(listener), .websocket = true});
    }
    return {};
  };
  MERIDIAN_CHECK(bind(DoorName::postgres, config_->listen.postgres));
  MERIDIAN_CHECK(bind(DoorName::redis, config_->listen.redis));
  MERIDIAN_CHECK(bind(DoorName::nats, config_->listen.nats));
  MERIDIAN_CHECK(bind_websocket(config_->listen.nats_websocket));
  MERIDIAN_CHECK(bind(DoorName::http, config_->listen.http));
  admin_socket_ = (folder_->path() / "admin.sock").native();
  MERIDIAN_TRY(auto listener, Listener::listen(loop_, Endpoint{.host = {}, .path = admin_socket_}));
  ::chmod(admin_socket_.c_str(), 0600);
  bound_.push_back({.door = DoorName::http, .listener = std::move(listener), .admin = true});
  return {};
}

Result<void> Node::open_trail() {
  std::vector<Loop*> loops{&loop_};
  for (const auto& thread : workers_)
    loops.push_back(&thread->thread.loop());
  if (outbox_thread_) loops.push_back(&outbox_thread_->loop());
  if (ingest_thread_) loops.push_back(&ingest_thread_->loop());
  trail::TrailSettings settings{.folder = folder_->trail(),
                                .node = config_->node.name,
                                .version = std::string(version()),
                                .segment_bytes = config_->trail.segment,
                                .sync_interval = config_->trail.sync_interval,
                                .retention = config_->trail.retention};
  settings.head_sink = [this](const trail::SignedHead& head) {
    if (timeline_) timeline_->keep_head(head);
  };
  MERIDIAN_TRY(trail_, trail::Trail::open(std::move(settings), loops, metrics_));
  sealing_.spawn(trail_->run());
  return {};
}

Result<void> Node::open_gate() {
  std::string issuer_url = config_->token.issuer;
  if (issuer_url.empty()) {
    issuer_url = "http://localhost";
    for (const auto& [name, address] : door_addresses_) {
      if (name == "http" && !address.starts_with("unix:")) {
        issuer_url = (tls_ ? "https://" : "http://") + address;
        break;
      }
    }
  }
  gate_config_ = to_gate_config(*config_, issuer_url, (folder_->keys() / "issuer").native());
  fetching_ = std::make_unique<BlockingPool>(std::max<std::size_t>(1, gate_config_.issuers.size()));
  fetcher_ = std::make_unique<CurlFetcher>(*fetching_);
  MERIDIAN_TRY(
      issuers_,
      Issuers::make(loop_, *fetcher_, metrics_, gate_config_.issuers, gate_config_.key_fetch));
  MERIDIAN_TRY(own_issuer_,
               OwnIssuer::open(
                   loop_, *issuers_, metrics_, gate_config_.own_issuer, gate_config_.clock_skew));
  std::vector<std::string> names{gate_config_.own_issuer.name};
  for (const auto& issuer : gate_config_.issuers)
    names.push_back(issuer.name);
  MERIDIAN_TRY(auto policy, Policy::compile(gate_config_.roles, names, visit_counts_));
  policy_ = std::make_unique<Published<Policy>>(std::move(policy));
  MERIDIAN_TRY(auto exchange, ExchangePolicy::compile(gate_config_.exchange, names));
  exchange_policy_ = std::make_unique<Published<ExchangePolicy>>(std::move(exchange));
  revocations_ = std::make_unique<Revocations>(
      gate_config_.revocations_max, gate_config_.clock_skew, metrics_);

  main_log_ = std::make_unique<TrailLog>(trail_->writer(0));
  const GateParts parts{.issuers = *issuers_,
                        .policy = *policy_,
                        .revocations = revocations_->published(),
                        .limiter = login_limiter_,
                        .log = *main_log_,
                        .metrics = metrics_};
  main_gate_ = std::make_unique<Gate>(
      loop_,
      parts,
      TokenVerifier::Options{.clock_skew = gate_config_.clock_skew,
                             .tokens_cached_max = gate_config_.tokens_cached_max});
  exchange_ =
      std::make_unique<TokenExchange>(loop_, *main_gate_, parts, *own_issuer_, *exchange_policy_);
  issuers_->start();
  own_issuer_->start();
  return {};
}

Async<Result<void>> Node::open_engines() {
  const std::string database = timeline_database(*config_);
  if (!config_->timeline.url.empty()) {
    MERIDIAN_CO_TRY(server_, PostgresServer::given(config_->timeline, database));
  } else if (!options_.own_engines) {
    co_return fail(Errc::invalid,
                   "timeline.url is not set; set it, or let `meridian up` own a PostgreSQL");
  } else {
    MERIDIAN_CO_TRY(postgres_engine_,
                    co_await PostgresEngine::open(
                        loop_,
                        *folder_,
                        {.programs = config_->engines.postgres.bin,
                         .connections_max = config_->engines.postgres.max_connections,
                         .shared_buffers_size = config_->engines.postgres.shared_buffers,
                         .settings = config_->engines.postgres.settings}));
    postgres_supervisor_.emplace(loop_, *postgres_engine_, metrics_);
    postgres_supervisor_->start();
  }
  if (!config_->redis.url.empty()) {
    const auto url = config::parse_url(config_->redis.url);
    if (!url) co_return fail(Errc::invalid, "redis.url: " + url.error());
    constexpr std::uint16_t redis_port = 6379;
    redis_.endpoint = {.host = url->host == "localhost" ? "127.0.0.1" : url->host,
                       .port = url->port.value_or(redis_port),
                       .path = {}};
    if (!url->user.empty()) redis_user_ = url->user;
    if (url->scheme == "rediss") {
      MERIDIAN_CO_TRY(redis_.tls,
                      make_tls_client({.server_name = url->host, .ca_file = config_->redis.ca}));
    }
    if (!config_->redis.password_file.empty()) {
      MERIDIAN_CO_TRY(redis_password_, config::read_secret_file(config_->redis.password_file));
    }
  } else if (!options_.own_engines) {
    co_return fail(Errc::invalid,
                   "redis.url is not set; set it, or let `meridian up` own a redis-server");
  } else {
    MERIDIAN_CO_TRY(redis_engine_,
                    co_await RedisEngine::open(loop_,
                                               *folder_,
                                               {.program = config_->engines.redis.bin,
                                                .memory_size_max = config_->engines.redis.maxmemory,
                                                .durable = config_->engines.redis.appendonly}));
    redis_supervisor_.emplace(loop_, *redis_engine_, metrics_);
    redis_supervisor_->start();
    redis_.endpoint = redis_engine_->endpoint();
    redis_password_ = redis_engine_->password();
  }
  MERIDIAN_CO_CHECK(co_await open_nats());
  const Deadline deadline = loop_.after(engines_timeout);
  if (postgres_supervisor_) {
    MERIDIAN_CO_CHECK(co_await postgres_supervisor_->ready(deadline));
    server_ = PostgresServer::owned(*postgres_engine_, database);
  }
  if (redis_supervisor_) {
    MERIDIAN_CO_CHECK(co_await redis_supervisor_->ready(deadline));
  }
  if (nats_supervisor_) {
    MERIDIAN_CO_CHECK(co_await nats_supervisor_->ready(deadline));
  }
  scope_.spawn(follow_engines());
  co_return Result<void>();
}

bool Node::wants_nats() const {
  return !config_->listen.nats.empty() || !config_->listen.nats_websocket.empty() ||
         !config_->publish.empty() || !config_->ingest.empty();
}

// Where there is no NATS to stand behind the door, the rest runs.
Async<Result<void>> Node::open_nats() {
  if (!wants_nats()) co_return Result<void>();
  if (!config_->nats.stamp_key_file.empty()) {
    MERIDIAN_CO_TRY(nats_stamp_key_, config::read_secret_file(config_->nats.stamp_key_file));
    constexpr std::size_t key_size_min = 32;  // As many bytes as the hash has.
    if (nats_stamp_key_.reveal().size() < key_size_min) {
      co_return fail(Errc::invalid, "nats.stamp_key_file: the key is shorter than 32 characters");
    }
  }
  if (!config_->nats.url.empty()) {
    const auto urls = config::parse_urls(config_->nats.url);
    if (!urls) co_return fail(Errc::invalid, "nats.url: " + urls.error());
    constexpr std::uint16_t nats_port = 4222;
    std::vector<Endpoint> servers;
    for (const config::Url& url : *urls) {
      servers.push_back({.host = url.host == "localhost" ? "127.0.0.1" : url.host,
                         .port = url.port.value_or(nats_port),
                         .path = {}});
    }
    nats_.endpoints = [servers] { return servers; };
    nats_.user = urls->front().user;
    if (urls->front().scheme == "tls") {
      MERIDIAN_CO_TRY(
          nats_.tls,
          make_tls_client({.server_name = urls->front().host, .ca_file = config_->nats.ca}));
    }
    if (!config_->nats.proxy_seed_file.empty()) {
      MERIDIAN_CO_TRY(const Secret seed, config::read_secret_file(config_->nats.proxy_seed_file));
      auto key = nats::Nkey::from_seed(seed);
      if (!key) co_return fail_while("reading nats.proxy_seed_file", key.error());
      nats_.proxy_key = *std::move(key);
    }
    if (!config_->nats.password_file.empty()) {
      MERIDIAN_CO_TRY(nats_.secret, config::read_secret_file(config_->nats.password_file));
    }
    nats_there_ = true;
    co_return Result<void>();
  }
  if (!options_.own_engines) {
    leave_out(DoorName::nats, "nats.url is not set");
    co_return Result<void>();
  }
  auto engine =
      co_await NatsEngine::open(loop_,
                                *folder_,
                                {.program = config_->engines.nats.bin,
                                 .payload_size_max = config_->engines.nats.max_payload,
                                 .file_store_size_max = config_->engines.nats.max_file_store,
                                 .memory_store_size_max = config_->engines.nats.max_memory_store});
  if (!engine && engine.error().code() == Errc::not_found) {
    leave_out(DoorName::nats, engine.error().detail());
    co_return Result<void>();
  }
  MERIDIAN_CO_TRY(nats_engine_, std::move(engine));
  nats_supervisor_.emplace(loop_, *nats_engine_, metrics_);
  nats_supervisor_->start();
  nats_.endpoints = [server = nats_engine_.get()] { return std::vector{server->endpoint()}; };
  nats_.secret = nats_engine_->token();
  nats_there_ = true;
  co_return Result<void>();
}

void Node::leave_out(DoorName door, std::string_view why) {
  std::erase_if(bound_, [&](const Bound& bound) { return bound.door == door; });
  std::erase_if(door_addresses_, [&](const auto& each) {
    return each.first == to_string(door) ||
           (door == DoorName::nats && each.first == "nats_websocket");
  });
  log_warning("node", "a door stays closed", {{"door", to_string(door)}, {"reason", why}});
}

// Where clients find the first of a door's listeners.
Endpoint Node::advertised(DoorName door) const {
  for (const Bound& bound : bound_) {
    if (bound.door == door && !bound.listener->endpoint().is_unix())
      return bound.listener->endpoint();
  }
  return {.host = "127.0.0.1", .port = 0, .path = {}};
}

WorkerShared Node::worker_shared() {
  return {
      .config = *config_,
      .metrics = metrics_,
      .blocking = blocking_,
      .gate_config = gate_config_,
      .issuers = *issuers_,
      .policy = *policy_,
      .revocations = *revocations_,
      .login_limiter = login_limiter_,
      .cancel_limiter = cancel_limiter_,
      .cache = {.coherence = coherence_, .store = store_, .flights = flights_},
      .views = views_,
      .catalog = catalog_,
      .facts = facts_,
      .commands = commands_,
      .pools = *pools_,
      .connector = *connector_,
      .cancels = cancels_,
      .admin_session = [this] { return server_->admin_options(); },
      .role_session =
          [this](const std::string& role, const std::string& database) {
            return server_->role_options(role_keys_, role, database);
          },
      .redis = redis_,
      .redis_login =
          [this] { return redis::RedisLogin{.user = redis_user_, .password = redis_password_}; },
      .nats = nats_,
      .inboxes = inboxes_,
      .nats_advertised = advertised(DoorName::nats),
      .nats_stamp_key = nats_stamp_key_,
      .tls = tls_.get(),
      .commit_wait = {.nudge_after = config_->timeline.nudge_after,
                      .wait_max = config_->timeline.commit_wait_max,
                      .enabled = options_.commit_wait &&
                                 config_->timeline.commit_wait != config::CommitWait::off}};
}

void Node::make_workers() {
  std::uint32_t number = 0;
  for (const auto& thread : workers_) {
    ++number;
    thread->worker = std::make_unique<Worker>(
        thread->thread.loop(), trail_->writer(number), worker_shared(), number);
    // Before any loop runs: what the workers share is told of all of them on this thread.
    thread->worker->start(number == 1);
  }
  for (const auto& thread : workers_)
    thread->thread.start();
  scope_.spawn(pools_->tend(loop_));
}

// Without rules they wait for some, and have no connections.
Result<void> Node::open_streams() {
  if (!outbox_thread_) return {};
  outbox_thread_->start();
  if (!nats_there_) {
    ingest_thread_->start();
    if (!config_->publish.empty()) {
      log_error("outbox", "there is no NATS, so rows wait in the table until there is one");
    }
    if (config_->ingest.empty()) return {};
    return fail(Errc::invalid, "there are ingest rules, and no NATS to read from: set nats.url");
  }
  const auto shard = static_cast<std::uint32_t>(workers_.size() + 1);
  outbox_ = std::make_unique<OutboxService>(
      *outbox_thread_,
      OutboxServiceParts{.admin_session = [this] { return server_->admin_options(); },
                         .nats = nats_,
                         .blocking = blocking_,
                         .trail = trail_->writer(shard),
                         .metrics = metrics_,
                         .run = run_,
                         .config = config_->outbox});
  outbox_->set_subjects(outbox_subjects(*config_));
  MERIDIAN_TRY(auto rules, IngestService::compile(*config_));
  ingest_ = std::make_unique<IngestService>(
      IngestServiceParts{.main = loop_,
                         .thread = *ingest_thread_,
                         .streams = config_->streams,
                         .metrics = metrics_,
                         .blocking = blocking_,
                         .nats = nats_,
                         .trail = trail_->writer(shard + 1),
                         .admin_session = [this] { return server_->admin_options(); },
                         .role_session =
                             [this](const std::string& role) {
                               return server_->role_options(role_keys_, role, server_->database());
                             },
                         .secret = [this] { return facts_.get()->identity_secret; },
                         .stamp_key = nats_stamp_key_,
                         .run = run_,
                         .ack_before_commit = options_.ack_before_commit});
  ingest_->start();
  ingest_->set_rules(std::move(rules));
  return {};
}

Async<Result<void>> Node::open_doors() {
  const ConnectionLimits limits{
      .visits_max = config_->limits.visits_max,
      .visits_per_address_max = config_->limits.visits_per_address,
      .unauthenticated_per_address_max = config_->limits.unauthenticated_per_address};
  std::vector<std::pair<std::string, const Supervisor*>> engines;
  if (postgres_supervisor_) engines.emplace_back("postgres", &*postgres_supervisor_);
  if (redis_supervisor_) engines.emplace_back("redis", &*redis_supervisor_);
  if (nats_supervisor_) engines.emplace_back("nats", &*nats_supervisor_);
  http_service_ = std::make_unique<HttpService>(
      HttpServiceParts{.loop = loop_,
                       .config = config_,
                       .metrics = metrics_,
                       .trail = trail_->writer(0),
                       .gate = *main_gate_,
                       .issuer = *own_issuer_,
                       .exchange = *exchange_,
                       .timeline = *timeline_,
                       .views = views_,
                       .policy = *policy_,
                       .cache = {.coherence = coherence_, .store = store_, .flights = flights_},
                       .pools = *pools_,
                       .engines = std::move(engines),
                       .outbox = outbox_.get(),
                       .doors = door_addresses_,
                       .ingest = ingest_.get(),
                       .reload = [this] { return reload(); }});
  http_door_ = make_http_door(
      {.loop = loop_, .handler = *http_service_, .tls = tls_.get(), .metrics = metrics_});
  main_host_ = std::make_unique<DoorHost>(loop_, trail_->writer(0), metrics_, 0);
  for (Bound& bound : bound_) {
    std::vector<DoorListener::Target> targets;
    if (bound.door == DoorName::http) {
      targets.push_back({.loop = &loop_, .host = main_host_.get(), .door = http_door_.get()});
    } else {
      for (const auto& thread : workers_) {
        Worker& worker = *thread->worker;
        targets.push_back({.loop = &thread->thread.loop(),
                           .host = &worker.host(),
                           .door = &worker.door(bound.door, bound.websocket)});
      }
    }
    listeners_.push_back(std::make_unique<DoorListener>(
        loop_, std::move(bound.listener), std::move(targets), limits, metrics_));
    listeners_.back()->start();
  }
  bound_.clear();
  co_return folder_->record_doors({door_addresses_.begin(), door_addresses_.end()});
}

// Connections to an engine that was started again are dead; they are made anew before somebody
// finds out.
Async<> Node::follow_engines() {
  constexpr Duration pause = std::chrono::milliseconds(50);
  std::uint64_t postgres = postgres_supervisor_ ? postgres_supervisor_->generation() : 0;
  std::uint64_t redis = redis_supervisor_ ? redis_supervisor_->generation() : 0;
  while (co_await loop_.sleep(pause) == Wake::ready) {
    if (postgres_supervisor_ &&
        std::exchange(postgres, postgres_supervisor_->generation()) != postgres && pools_) {
      pools_->renew();
    }
    if (redis_supervisor_ && std::exchange(redis, redis_supervisor_->generation()) != redis) {
      for (const auto& thread : workers_) {
        if (!thread->worker) continue;
        thread->thread.loop().submit([worker = thread->worker.get()] { worker->renew_links(); });
      }
    }
  }
}

Result<std::string> Node::reload() {
  if (!options_.read_config)
    return fail(Errc::invalid, "there is no configuration file to read again");
  MERIDIAN_TRY(config::Config fresh, options_.read_config());
  std::string said;
  const auto changes = config::changes_between(*config_, fresh);
  for (const config::Change& change : changes)
    said += config::to_text(change) + "\n";
  const GateConfig told =
      to_gate_config(fresh, gate_config_.own_issuer.url, gate_config_.own_issuer.folder);
  std::vector<std::string> names{gate_config_.own_issuer.name};
  for (const auto& issuer : gate_config_.issuers)
    names.push_back(issuer.name);
  MERIDIAN_TRY(auto policy, Policy::compile(told.roles, names, visit_counts_));
  MERIDIAN_TRY(auto exchange, ExchangePolicy::compile(told.exchange, names));
  MERIDIAN_TRY(auto rules, IngestService::compile(fresh));
  if (!ingest_ && !rules.empty()) {
    return fail(Errc::invalid,
                "there are ingest rules now, and this node began without NATS to read from: "
                "restart it");
  }
  if (tls_) {
    MERIDIAN_CHECK(tls_->reload());
  }
  // From here on nothing fails: all of it is taken over, or none.
  set_log_level(fresh.log.level);
  policy_->publish(std::move(policy));
  exchange_policy_->publish(std::move(exchange));
  pools_->set_options(to_pool_options(fresh));
  // What counts only after a restart stays as it is.
  config::Config next = *config_;
  next.log = fresh.log;
  next.roles = fresh.roles;
  next.views = fresh.views;
  next.publish = fresh.publish;
  next.ingest = fresh.ingest;
  next.exchange = fresh.exchange;
  config_ = std::make_shared<const config::Config>(next);
  if (outbox_) {
    outbox_->set_subjects(outbox_subjects(next));
  } else if (!next.publish.empty()) {
    log_error("outbox", "this node began without NATS: rows wait for a restart");
  }
  timeline_->reload(std::move(next));
  if (ingest_) ingest_->set_rules(std::move(rules));
  for (const auto& thread : workers_) {
    Worker* const worker = thread->worker.get();
    worker->loop().submit([worker] { worker->check_policy(); });
  }
  log_info("config", "read again", {{"changes", changes.size()}});
  return said.empty() ? "nothing has changed\n" : said;
}

Async<> Node::serve() {
  Signals signals(loop_, {SIGTERM, SIGINT, SIGHUP});
  for (;;) {
    const auto number = co_await signals.next();
    if (!number) co_return;
    if (*number != SIGHUP) {
      log_info("node", "stopping", {{"signal", *number}});
      co_return;
    }
    auto said = reload();
    if (!said) {
      log_error("config",
                "not taken over; the configuration of before stays",
                {{"reason", said.error().detail()}});
    } else {
      log_info("config", *said);
    }
  }
}

Async<> Node::close() {
  // Nobody comes in any more; who is in finishes and leaves.
  for (const auto& listener : listeners_)
    co_await listener->close();
  bound_.clear();
  // All loops at once: nobody waits to hear of it until those of another loop have left.
  struct Stopping {
    std::shared_ptr<Event> stopped;
    std::shared_ptr<std::unique_ptr<Scope>> stopper;
  };
  std::vector<Stopping> stopping;
  for (const auto& thread : workers_) {
    if (!thread->worker) continue;
    Worker* const worker = thread->worker.get();
    auto stopped = std::make_shared<Event>(loop_);
    auto stopper = std::make_shared<std::unique_ptr<Scope>>();
    stopping.push_back({.stopped = stopped, .stopper = stopper});
    thread->thread.loop().submit([this, worker, stopped, stopper] {
      *stopper = std::make_unique<Scope>(worker->loop());
      (*stopper)->spawn([](Loop& main, Worker* ending, std::shared_ptr<Event> done) -> Async<> {
        co_await ending->stop(drain_patience);
        main.submit([done] { done->set(); });
      }(loop_, worker, stopped));
    });
  }
  for (const Stopping& each : stopping)
    (void)co_await each.stopped->wait();
  for (const auto& thread : workers_) {
    if (thread->worker) thread->thread.stop();
  }
  stopping.clear();
  if (main_host_) co_await main_host_->drain(std::chrono::milliseconds(100));
  if (ingest_) co_await ingest_->close();
  co_await scope_.close();
  if (outbox_) co_await outbox_->close(loop_);
  if (timeline_) co_await timeline_->close();
  if (pools_) pools_->close();
  if (own_issuer_) co_await own_issuer_->close();
  if (issuers_) co_await issuers_->close();
  // What lives on the workers' loops ends before the loops; their shards are closed after.
  for (const auto& thread : workers_) {
    thread->thread.stop();
    thread->worker.reset();
  }
  for (LoopThread* const thread : {outbox_thread_.get(), ingest_thread_.get()}) {
    if (thread) thread->stop();
  }
  ingest_.reset();
  co_await sealing_.close();
  if (trail_) {
    auto closed = trail_->close("stopped");
    if (!closed)
      log_error(
          "trail", "the trail was not closed in order", {{"reason", closed.error().detail()}});
    trail_.reset();
  }
  if (nats_supervisor_) co_await nats_supervisor_->close();
  if (redis_supervisor_) co_await redis_supervisor_->close();
  if (postgres_supervisor_) co_await postgres_supervisor_->close();
  listeners_.clear();
  main_host_.reset();
  http_door_.reset();
  if (folder_) folder_->close();
}

}  // namespace meridian
