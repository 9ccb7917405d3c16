#include "app/worker.h"

#include "runtime/log.h"
#include "wire/resp/encoder.h"

#include <utility>

namespace meridian {

Worker::Worker(EpollLoop& loop,
               trail::TrailWriter& trail,
               WorkerShared shared,
               std::uint32_t number)
    : loop_(loop),
      shared_(std::move(shared)),
      log_(trail),
      gate_(loop,
            {.issuers = shared_.issuers,
             .policy = shared_.policy,
             .revocations = shared_.revocations.published(),
             .limiter = shared_.login_limiter,
             .log = log_,
             .metrics = shared_.metrics},
            {.clock_skew = shared_.gate_config.clock_skew,
             .tokens_cached_max = shared_.gate_config.tokens_cached_max}),
      registry_(loop, shared_.revocations.published(), shared_.gate_config.visits),
      positions_(loop, shared_.admin_session),
      commit_wait_(loop, shared_.cache.coherence, positions_, shared_.metrics, shared_.commit_wait),
      reader_(loop, shared_.role_session),
      views_(loop,
             shared_.cache,
             reader_,
             shared_.metrics,
             {.value_bytes_max = shared_.config.cache.value_bytes_max}),
      redis_connector_(loop, shared_.blocking, shared_.redis, shared_.redis_login),
      links_(loop,
             redis_connector_,
             shared_.metrics,
             {.shared_links_count = shared_.config.redis.links}),
      nats_connector_(loop, shared_.blocking, shared_.nats, shared_.metrics),
      postgres_(make_postgres_door(
          {.loop = loop,
           .gate = gate_,
           .registry = registry_,
           .trail = trail,
           .pools = shared_.pools,
           .connector = shared_.connector,
           .commit_wait = commit_wait_,
           .cancels = shared_.cancels,
           .cancel_limiter = shared_.cancel_limiter,
           .catalog = shared_.catalog,
           .timeline = shared_.facts,
           .tls = shared_.tls,
           .metrics = shared_.metrics,
           .limits = {.login_timeout = shared_.config.limits.login_timeout,
                      .request_bytes_max = shared_.config.limits.request_bytes_max,
                      .pipelined_max = shared_.config.limits.pipelined_max,
                      .idle_timeout =
                          shared_.config.limits.idle_timeout.value_or(Duration::zero())}})),
      redis_(make_redis_door(
          {.loop = loop,
           .gate = gate_,
           .registry = registry_,
           .trail = trail,
           .views = views_,
           .links = links_,
           .view_set = shared_.views,
           .commands = shared_.commands,
           .tls = shared_.tls,
           .metrics = shared_.metrics,
           .limits = {.login_timeout = shared_.config.limits.login_timeout,
                      .idle_timeout = shared_.config.limits.idle_timeout.value_or(Duration::zero()),
                      .pipelined_max = shared_.config.limits.pipelined_max,
                      .requests = {.request_bytes_max =
                                       shared_.config.limits.request_bytes_max}}})),
      nats_(make_nats_door(nats_parts(trail, false))),
      nats_websocket_(make_nats_door(nats_parts(trail, true))),
      host_(loop, trail, shared_.metrics, number),
      scope_(loop) {}

Worker::~Worker() = default;

NatsDoorParts Worker::nats_parts(trail::TrailWriter& trail, bool websocket) {
  const config::Config& config = shared_.config;
  return {.loop = loop_,
          .gate = gate_,
          .registry = registry_,
          .trail = trail,
          .connector = nats_connector_,
          .inboxes = shared_.inboxes,
          .tls = shared_.tls,
          .metrics = shared_.metrics,
          .node = config.node.name,
          .advertised = shared_.nats_advertised,
          .stamp_key = shared_.nats_stamp_key,
          .websocket = websocket,
          .limits = {.login_timeout = config.limits.login_timeout,
                     .idle_timeout = config.limits.idle_timeout.value_or(Duration::zero()),
                     .handshake_first_timeout =
                         config.tls.nats_handshake_first.value_or(Duration::zero())}};
}

Door& Worker::door(DoorName name, bool websocket) noexcept {
  MERIDIAN_ASSERT(name != DoorName::http);
  if (name == DoorName::nats) return websocket ? *nats_websocket_ : *nats_;
  return name == DoorName::redis ? *redis_ : *postgres_;
}

void Worker::start(bool reads_commands) {
  shared_.cache.coherence.add_watch(commit_wait_);
  shared_.revocations.watch(loop_, [this] { registry_.check_revocations(); });
  registry_.start();
  links_.start();
  if (reads_commands) scope_.spawn(learn_commands());
}

Async<> Worker::stop(Duration patience) {
  co_await host_.drain(patience);
  co_await scope_.close();
  co_await registry_.close();
  co_await views_.close();
  co_await commit_wait_.close();
  co_await reader_.close();
  co_await positions_.close();
  co_await links_.close();
}

// Until it is known the door knows no command, so nothing is let through that was not judged.
Async<> Worker::learn_commands() {
  constexpr Duration pause = std::chrono::milliseconds(200);
  constexpr Duration refreshed_every = std::chrono::minutes(10);  // Modules may bring more.
  std::string request;
  resp::append_request(request, {"COMMAND"});
  for (;;) {
    auto reply =
        co_await links_.call(request, redis::Effect::reads, loop_.after(std::chrono::seconds(5)));
    auto table = reply ? resp::CommandTable::parse(*reply) : std::unexpected(reply.error());
    if (table) {
      shared_.commands.publish(std::make_shared<const resp::CommandTable>(std::move(*table)));
    } else if (table.error().code() == Errc::cancelled) {
      co_return;
    }
    if (co_await loop_.sleep(table ? refreshed_every : pause) != Wake::ready) co_return;
  }
}

}  // namespace meridian
