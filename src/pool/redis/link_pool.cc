#include "pool/redis/link_pool.h"

#include "base/assert.h"
#include "base/hex.h"
#include "pool/redis/login.h"
#include "runtime/log.h"

#include <algorithm>
#include <utility>

namespace meridian::redis {
namespace {

Gauge& links_gauge(Metrics& metrics, std::string_view kind) {
  return metrics.gauge(
      "meridian_redis_links", "Connections to Redis that stand.", {{"kind", std::string(kind)}});
}

Counter& connects_counter(Metrics& metrics, std::string_view outcome) {
  return metrics.counter("meridian_redis_connects_total",
                         "Attempts to connect and log in to Redis.",
                         {{"outcome", std::string(outcome)}});
}

std::string make_nonce(Random& random) {
  std::array<std::uint8_t, 16> bytes;
  random.fill_secret(bytes);
  return to_hex(bytes);
}

}  // namespace

LinkPool::LinkPool(Loop& loop, RedisConnector& connector, Metrics& metrics, LinkPoolOptions options)
    : loop_(loop),
      connector_(connector),
      options_(std::move(options)),
      ground_(loop, metrics, options_.limits),
      permits_(options_.exclusive_max),
      connects_(connects_counter(metrics, "ok")),
      connect_failures_(connects_counter(metrics, "failed")),
      links_lost_(metrics.counter("meridian_redis_links_lost_total",
                                  "Shared connections to Redis that ended by themselves.")),
      resets_failed_(metrics.counter("meridian_redis_resets_failed_total",
                                     "Exclusive connections that were closed because a reset "
                                     "could not be verified.")),
      shared_links_(links_gauge(metrics, "shared")),
      exclusive_links_(links_gauge(metrics, "exclusive")),
      link_wait_(metrics.histogram("meridian_redis_link_wait_seconds",
                                   "How long requests waited for a shared connection, or for "
                                   "room on it.")),
      lease_wait_(metrics.histogram("meridian_redis_lease_wait_seconds",
                                    "How long visits waited for an exclusive connection.")),
      scope_(loop) {
  for (std::size_t i = 0; i < options_.shared_links_count; ++i) {
    slots_.push_back({.protocol = resp::Protocol::resp2});
    slots_.push_back({.protocol = resp::Protocol::resp3});
  }
}

LinkPool::~LinkPool() = default;

void LinkPool::start() {
  for (Slot& slot : slots_)
    scope_.spawn(keep_shared(slot));
}

Async<> LinkPool::close() {
  closed_ = true;
  ground_.changed.notify_all();
  co_await scope_.close();
  idle_.clear();
}

Link* LinkPool::best_link(resp::Protocol protocol) noexcept {
  Link* best = nullptr;
  for (const Slot& slot : slots_) {
    if (slot.protocol != protocol || !slot.link || !slot.link->open()) continue;
    if (!best || slot.link->expected_count() < best->expected_count()) best = slot.link.get();
  }
  return best;
}

Link* LinkPool::link_for(const Exchange& exchange, resp::Protocol protocol) noexcept {
  Link* const link = exchange.link() ? exchange.link() : best_link(protocol);
  return link && link->has_room() ? link : nullptr;
}

Async<Result<Link*>> LinkPool::wait_for_link(Exchange& exchange,
                                             resp::Protocol protocol,
                                             Deadline deadline) {
  const Time asked = loop_.now();
  for (;;) {
    if (exchange.failed()) co_return std::unexpected(exchange.failure());
    if (Link* const link = link_for(exchange, protocol)) {
      link_wait_.observe(loop_.now() - asked);
      co_return link;
    }
    if (closed_) co_return fail(Errc::unavailable, "the pool of connections to Redis is closed");
    const Wake wake = co_await ground_.changed.wait(deadline);
    if (wake == Wake::cancelled) co_return fail(Errc::cancelled, "cancelled");
    if (wake != Wake::timeout) continue;
    if (exchange.link() || connected(protocol)) {
      co_return fail(Errc::exhausted,
                     "too many requests wait for Redis: queued_bytes_max=" +
                         std::to_string(options_.limits.queued_bytes_max) +
                         ", expected_max=" + std::to_string(options_.limits.expected_max));
    }
    co_return fail(Errc::unavailable, "no connection to Redis: " + last_failure_.detail());
  }
}

Async<Result<std::shared_ptr<Link>>> LinkPool::open_link(resp::Protocol protocol,
                                                         Link::Kind kind,
                                                         Deadline deadline) {
  const Deadline until = earlier(deadline, loop_.after(options_.connect_timeout));
  MERIDIAN_CO_TRY(RedisLogin login, co_await connector_.login(until));
  MERIDIAN_CO_TRY(std::unique_ptr<Stream> stream, co_await connector_.connect(until));
  MERIDIAN_CO_TRY(
      const std::string version,
      co_await log_in(*stream, protocol, std::move(login), options_.client_name, until));
  log_debug("redis",
            "connected",
            {{"protocol", std::to_underlying(protocol)}, {"server_version", version}});
  co_return std::make_shared<Link>(ground_, std::move(stream), kind);
}

// Keeps one shared link standing until the pool closes.
Async<> LinkPool::keep_shared(Slot& slot) {
  std::uint64_t failures_count = 0;
  while (!closed_) {
    auto opened = co_await open_link(slot.protocol, Link::Kind::shared, Deadline::never());
    if (closed_) break;
    if (opened) {
      connects_.add();
      if (failures_count > 0) {
        log_info("redis", "connected again", {{"attempts", failures_count}});
      }
      const Time since = loop_.now();
      slot.link = std::move(*opened);
      shared_links_.add(1);
      ground_.changed.notify_all();
      const Error why = co_await slot.link->serve();
      slot.link.reset();
      shared_links_.add(-1);
      if (closed_) break;
      links_lost_.add();
      last_failure_ = why;
      // A server that takes connections only to drop them is not back.
      if (loop_.now() - since >= options_.reconnect_pause_max) failures_count = 0;
      log_warning("redis", "lost a connection", {{"reason", why.detail()}});
    } else {
      connect_failures_.add();
      last_failure_ = opened.error();
      if (failures_count == 0) {
        log_warning(
            "redis",
            "cannot connect; trying on",
            {{"code", to_string(last_failure_.code())}, {"reason", last_failure_.detail()}});
      }
    }
    if (co_await loop_.sleep(pause_after(failures_count++)) == Wake::cancelled) break;
  }
}

// Doubles from reconnect_pause_min to reconnect_pause_max, with up to half of it by chance, so that
// many loops and nodes do not come back in step.
Duration LinkPool::pause_after(std::uint64_t failures_count) {
  Duration pause = options_.reconnect_pause_min;
  for (std::uint64_t i = 0; i < failures_count && pause < options_.reconnect_pause_max; ++i)
    pause *= 2;
  pause = std::min(pause, options_.reconnect_pause_max);
  const auto half = static_cast<std::uint64_t>(pause.count() / 2);
  return pause - Duration(static_cast<std::int64_t>(loop_.random().next() % (half + 1)));
}

Async<> LinkPool::serve_exclusive(std::shared_ptr<Link> link) {
  exclusive_links_.add(1);
  const Error why = co_await link->serve();
  exclusive_links_.add(-1);
  log_debug("redis", "an exclusive connection ended", {{"reason", why.detail()}});
  std::erase_if(idle_, [&](const Kept& kept) { return kept.link == link; });
}

Async<Result<LinkPool::Lease>> LinkPool::lease(resp::Protocol protocol, Deadline deadline) {
  if (closed_) co_return fail(Errc::unavailable, "the pool of connections to Redis is closed");
  const Time asked = loop_.now();
  const Wake wake = co_await permits_.take(deadline);
  if (wake == Wake::cancelled) co_return fail(Errc::cancelled, "cancelled");
  if (wake == Wake::timeout) {
    co_return fail(Errc::exhausted,
                   "all exclusive connections to Redis are in use: exclusive_max=" +
                       std::to_string(options_.exclusive_max));
  }
  Permit permit(permits_);
  if (closed_) co_return fail(Errc::unavailable, "the pool of connections to Redis is closed");
  const std::uint64_t generation = generation_;
  std::shared_ptr<Link> link = take_idle(protocol);
  if (!link) {
    auto opened = co_await open_link(protocol, Link::Kind::exclusive, deadline);
    if (!opened) {
      connect_failures_.add();
      co_return std::unexpected(std::move(opened).error());
    }
    if (closed_) co_return fail(Errc::unavailable, "the pool of connections to Redis is closed");
    connects_.add();
    link = std::move(*opened);
    scope_.spawn(serve_exclusive(link));
  }
  lease_wait_.observe(loop_.now() - asked);
  co_return Lease(*this,
                  {.link = std::move(link), .protocol = protocol, .generation = generation},
                  std::move(permit));
}

std::shared_ptr<Link> LinkPool::take_idle(resp::Protocol protocol) noexcept {
  // The last one in is the warmest.
  for (auto kept = idle_.rbegin(); kept != idle_.rend(); ++kept) {
    if (kept->protocol != protocol || !kept->link->open()) continue;
    std::shared_ptr<Link> link = std::move(kept->link);
    idle_.erase(std::next(kept).base());
    return link;
  }
  return nullptr;
}

void LinkPool::give_back(Kept kept, Permit permit) {
  kept.link->clear_owner();
  if (!kept.link->open()) return;
  if (closed_ || kept.link->busy() || kept.generation != generation_) {
    // What a visit left unanswered may block for ever.
    kept.link->close(Error(Errc::cancelled, "its visit ended"));
    return;
  }
  scope_.spawn(reset_and_keep(std::move(kept), std::move(permit)));
}

Async<> LinkPool::reset_and_keep(Kept kept, Permit permit) {
  const auto verified = co_await reset(kept);
  const auto kept_count = std::ranges::count(idle_, kept.protocol, &Kept::protocol);
  const bool keeps = verified && !closed_ && kept.generation == generation_ &&
                     static_cast<std::size_t>(kept_count) < options_.exclusive_idle_max;
  if (!verified) {
    resets_failed_.add();
    log_debug("redis", "closing a connection", {{"reason", verified.error().detail()}});
  }
  if (keeps) {
    idle_.push_back(std::move(kept));
  } else {
    kept.link->close(Error(Errc::cancelled, "not needed any more"));
  }
  permit.give_back();
}

Async<Result<void>> LinkPool::reset(Kept& kept) {
  const Deadline deadline = loop_.after(options_.reset_timeout);
  MERIDIAN_CO_TRY(RedisLogin login, co_await connector_.login(deadline));
  co_return co_await reset_link(*kept.link,
                                kept.protocol,
                                std::move(login),
                                options_.client_name,
                                make_nonce(loop_.random()),
                                deadline);
}

Async<Result<std::string>> LinkPool::call(std::string_view request,
                                          Effect effect,
                                          Deadline deadline) {
  Exchange exchange;
  MERIDIAN_CO_TRY(Link* const link,
                  co_await wait_for_link(exchange, resp::Protocol::resp2, deadline));
  link->request(exchange, request, effect);
  std::string reply;
  do {
    MERIDIAN_CO_CHECK(to_result(co_await exchange.answers(deadline), "Redis to answer"));
    if (exchange.failed()) co_return std::unexpected(exchange.failure());
    exchange.take(reply);
    if (reply.size() > own_reply_bytes_max) {
      co_return fail(Errc::exhausted,
                     "a reply of Redis to ourselves exceeds own_reply_bytes_max=" +
                         std::to_string(own_reply_bytes_max));
    }
  } while (exchange.replies_left() > 0);
  co_return reply;
}

void LinkPool::renew() noexcept {
  ++generation_;
  const Error why(Errc::unavailable, "the Redis server was replaced");
  for (const Slot& slot : slots_) {
    if (slot.link) slot.link->close(why);
  }
  for (const Kept& kept : idle_)
    kept.link->close(why);
}

LinkPool::Lease& LinkPool::Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    give_back();
    pool_ = other.pool_;
    kept_ = std::move(other.kept_);
    permit_ = std::move(other.permit_);
  }
  return *this;
}

void LinkPool::Lease::give_back() noexcept {
  if (!kept_.link) return;
  pool_->give_back(std::exchange(kept_, {}), std::move(permit_));
}

}  // namespace meridian::redis
