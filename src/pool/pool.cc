#include "pool/pool.h"

#include "base/escape.h"
#include "runtime/log.h"
#include "wire/postgres/framing.h"
#include "wire/postgres/frontend_writer.h"

#include <algorithm>
#include <array>
#include <utility>

namespace meridian {
namespace {

constexpr std::size_t reset_bytes_max = std::size_t{64} * 1024;  // Of all that answers a reset.

}  // namespace

// A visit that waits for a backend, on its own loop.
struct Pool::Waiter {
  explicit Waiter(EpollLoop& home) : loop(home), done(home) {}

  EpollLoop& loop;
  Event done;
  std::unique_ptr<Backend> backend;  // Handed on by another visit.
  bool may_open = false;             // A place has become free instead.
  bool refused = false;              // The pool was closed instead.
  bool left = false;                 // Gave up waiting. Under the pool's lock.
};

Pool::Pool(std::string role,
           std::string database,
           BackendSource& source,
           Metrics& metrics,
           PoolOptions options)
    : role_(std::move(role)),
      database_(std::move(database)),
      source_(source),
      options_(options),
      open_gauge_(metrics.gauge("meridian_pool_backends",
                                "Backends that are open.",
                                {{"role", role_}, {"database", database_}})),
      in_use_gauge_(metrics.gauge("meridian_pool_backends_in_use",
                                  "Backends that serve a visit.",
                                  {{"role", role_}, {"database", database_}})),
      waiting_gauge_(metrics.gauge("meridian_pool_waiting",
                                   "Visits that wait for a backend.",
                                   {{"role", role_}, {"database", database_}})) {}

Pool::~Pool() = default;

bool Pool::stale(const Backend& backend, Time now) const noexcept {
  return backend.generation != generation_.load(std::memory_order_relaxed) ||
         now - backend.opened_at() > options_.backend_age_max || !backend.healthy();
}

std::unique_ptr<Backend> Pool::pop_idle(Time now) {
  std::vector<std::unique_ptr<Backend>> closed;  // Closed after the lock is released.
  const std::lock_guard lock(mutex_);
  while (!idle_.empty()) {
    std::unique_ptr<Backend> backend = std::move(idle_.back().backend);
    idle_.pop_back();
    if (!stale(*backend, now)) return backend;
    --total_;
    open_gauge_.add(-1);
    closed.push_back(std::move(backend));
  }
  return nullptr;
}

Async<Result<std::unique_ptr<Backend>>> Pool::take(EpollLoop& loop, Deadline deadline) {
  if (auto backend = pop_idle(loop.now())) {
    backend->enter_loop(loop);
    in_use_gauge_.add(1);
    co_return backend;
  }
  bool may_open = false;
  {
    const std::lock_guard lock(mutex_);
    if (closed_)
      co_return fail(Errc::unavailable, "the pool of role " + quote(role_) + " is closed");
    may_open = total_ < options_.backends_max;
    if (may_open) ++total_;
  }
  auto backend = may_open ? co_await open(loop, deadline) : co_await queue(loop, deadline);
  if (backend) in_use_gauge_.add(1);
  co_return backend;
}

// Requires that the new backend has been counted.
Async<Result<std::unique_ptr<Backend>>> Pool::open(EpollLoop& loop, Deadline deadline) {
  // Before the defaults: where they change meanwhile, the backend is of before.
  // A server that takes a connection and says nothing must not hold a visit for ever.
  deadline = earlier(deadline, loop.after(options().open_timeout));
  const std::uint64_t generation = generation_.load(std::memory_order_relaxed);
  auto backend = co_await source_.open(loop, role_, database_, options().session, deadline);
  if (!backend) {
    one_less();
    co_return backend;
  }
  (*backend)->generation = generation;
  opened_.fetch_add(1, std::memory_order_relaxed);
  open_gauge_.add(1);
  auto settings = std::make_shared<const ReportedSettings>((*backend)->login_settings);
  const std::lock_guard lock(mutex_);
  login_settings_ = std::move(settings);
  co_return backend;
}

Async<Result<std::unique_ptr<Backend>>> Pool::queue(EpollLoop& loop, Deadline deadline) {
  auto waiter = std::make_shared<Waiter>(loop);
  const PoolOptions options = this->options();
  const auto refuse = [&](std::string_view why) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return fail(Errc::exhausted,
                "all " + std::to_string(options.backends_max) + " backends of role " +
                    quote(role_) + " in database " + quote(database_) + " are in use " +
                    "(backends_max) and " + std::string(why));
  };
  std::unique_ptr<Backend> idle;
  bool may_open = false;
  {
    const std::lock_guard lock(mutex_);
    if (closed_)
      co_return fail(Errc::unavailable, "the pool of role " + quote(role_) + " is closed");
    // Another loop may have given one back since take() looked; it would have told nobody.
    if (!idle_.empty()) {
      idle = std::move(idle_.back().backend);
      idle_.pop_back();
    } else if (total_ < options.backends_max) {
      may_open = true;
      ++total_;
    } else if (waiters_.size() >= options.queue_max) {
      co_return refuse(std::to_string(options.queue_max) + " visits wait already (queue_max)");
    }
    if (!idle && !may_open) {
      waiters_.push_back(waiter);
      waiting_gauge_.add(1);
    }
  }
  if (may_open) co_return co_await open(loop, deadline);
  if (idle && !stale(*idle, loop.now())) {
    idle->enter_loop(loop);
    co_return idle;
  }
  if (idle) {
    // Its place is this visit's.
    idle.reset();
    open_gauge_.add(-1);
    co_return co_await open(loop, deadline);
  }
  const Deadline patience = earlier(deadline, loop.after(options.queue_timeout));
  const Wake wake = co_await waiter->done.wait(patience);
  waiting_gauge_.add(-1);
  if (wake != Wake::ready) {
    std::unique_ptr<Backend> late;
    bool late_place = false;
    {
      const std::lock_guard lock(mutex_);
      waiter->left = true;
      std::erase(waiters_, waiter);
      late = std::move(waiter->backend);
      late_place = std::exchange(waiter->may_open, false);
    }
    if (late) hand_on(std::move(late));
    if (late_place) one_less();
    if (wake == Wake::cancelled)
      co_return fail(Errc::cancelled, "cancelled while waiting for a backend");
    co_return refuse("none became free within " + to_text(options.queue_timeout) +
                     " (queue_timeout)");
  }
  if (waiter->backend) {
    waiter->backend->enter_loop(loop);
    co_return std::move(waiter->backend);
  }
  if (waiter->refused)
    co_return fail(Errc::unavailable, "the pool of role " + quote(role_) + " was closed");
  MERIDIAN_ASSERT(waiter->may_open);
  co_return co_await open(loop, deadline);
}

// To the visit that has waited longest, or to the idle ones. Requires a backend without a loop.
void Pool::hand_on(std::unique_ptr<Backend> backend) {
  const std::lock_guard lock(mutex_);
  if (closed_ || total_ > options_.backends_max) {
    --total_;
    open_gauge_.add(-1);
    return;
  }
  if (const auto waiter = next_waiter()) {
    waiter->backend = std::move(backend);
    waiter->loop.submit([waiter] { waiter->done.set(); });
    return;
  }
  idle_.push_back({.backend = std::move(backend), .since = Time{}});
}

// A backend has ended: whoever waits longest may open another in its place.
void Pool::one_less() {
  const std::lock_guard lock(mutex_);
  if (total_ <= options_.backends_max) {
    if (const auto waiter = next_waiter()) {
      waiter->may_open = true;
      waiter->loop.submit([waiter] { waiter->done.set(); });
      return;
    }
  }
  --total_;
}

std::shared_ptr<Pool::Waiter> Pool::next_waiter() {
  while (!waiters_.empty()) {
    std::shared_ptr<Waiter> waiter = std::move(waiters_.front());
    waiters_.pop_front();
    if (!waiter->left) return waiter;
  }
  return nullptr;
}

void Pool::discard(std::unique_ptr<Backend> backend) {
  backend.reset();
  in_use_gauge_.add(-1);
  open_gauge_.add(-1);
  one_less();
}

Async<> Pool::give_back(EpollLoop& loop, std::unique_ptr<Backend> backend) {
  const bool old = backend->generation != generation_.load(std::memory_order_relaxed) ||
                   loop.now() - backend->opened_at() > options().backend_age_max;
  if (!old) {
    auto clean = co_await reset(loop, *backend);
    if (clean) {
      in_use_gauge_.add(-1);
      backend->leave_loop();
      hand_on(std::move(backend));
      co_return;
    }
    log_warning("pool",
                "closed a backend that could not be reset",
                {{"role", role_}, {"database", database_}, {"reason", clean.error().detail()}});
  }
  discard(std::move(backend));
}

// DISCARD ALL cannot run in a transaction, so one is ended first; outside of one that is a warning.
Async<Result<void>> Pool::reset(EpollLoop& loop, Backend& backend) {
  static const postgres::FramingRules rules(postgres::Sender::backend);
  const Deadline deadline = loop.after(options().reset_timeout);
  std::string request;
  postgres::append_query(request, "ROLLBACK");
  postgres::append_query(request, "DISCARD ALL");
  MERIDIAN_CO_CHECK(co_await write_all(backend.stream(), request, deadline));
  const postgres::Framer framer(rules);
  std::string received;
  std::size_t total = 0;
  int answered = 0;
  while (answered < 2) {
    const postgres::Frame frame = framer.next(received);
    if (frame.status == postgres::Frame::Status::refused) {
      co_return std::unexpected(framer.refusal(received));
    }
    if (frame.status == postgres::Frame::Status::partial) {
      std::array<char, 2'048> buffer;
      MERIDIAN_CO_TRY(const std::size_t size,
                      co_await read_some(backend.stream(), buffer, deadline));
      if (size == 0) co_return fail(Errc::unavailable, "the server closed the connection");
      total += size;
      if (total > reset_bytes_max)
        co_return fail(Errc::unavailable, "the server does not come to an end");
      received.append(buffer.data(), size);
      continue;
    }
    const auto size = static_cast<std::size_t>(frame.size);
    const std::string_view body =
        std::string_view(received).substr(postgres::header_bytes, size - postgres::header_bytes);
    using postgres::BackendType;
    const BackendType type = frame.backend();
    if (type == BackendType::ready_for_query) {
      MERIDIAN_CO_TRY(const auto status, postgres::parse_ready_for_query(body));
      if (status != postgres::TransactionStatus::idle) {
        co_return fail(Errc::unavailable, "a transaction would not end");
      }
      ++answered;
    } else if (type == BackendType::parameter_status) {
      MERIDIAN_CO_TRY(const auto status, postgres::parse_parameter_status(body));
      if (!backend.settings.set(status.name, status.value)) {
        co_return fail(Errc::unavailable, "the server reports too many settings");
      }
    } else if (type == BackendType::error_response) {
      const auto report = postgres::parse_report(body);
      co_return fail(Errc::unavailable, report ? escape(report->message) : "an error");
    } else if (type != BackendType::command_complete && type != BackendType::notice_response &&
               type != BackendType::notification_response) {
      co_return fail(Errc::unavailable, "an answer to nothing that was asked");
    }
    received.erase(0, size);
  }
  if (!received.empty()) co_return fail(Errc::unavailable, "bytes without an owner");
  if (!(backend.settings == backend.login_settings)) {
    co_return fail(Errc::unavailable, "a setting is not what it was at login");
  }
  backend.may_commit_unflushed = false;
  co_return Result<void>();
}

std::shared_ptr<const ReportedSettings> Pool::login_settings() const {
  const std::lock_guard lock(mutex_);
  return login_settings_;
}

Async<> Pool::tend(EpollLoop& loop) {
  const Time now = loop.now();
  std::vector<std::unique_ptr<Backend>> closed;
  std::size_t wanted = 0;
  {
    const std::lock_guard lock(mutex_);
    std::size_t kept = 0;
    // The front has been idle longest.
    for (Idle& idle : idle_) {
      if (idle.since == Time{}) idle.since = now;
      const bool spare = total_ > options_.backends_max ||
                         (total_ > options_.backends_min && now - idle.since > options_.idle_max);
      if (spare || stale(*idle.backend, now)) {
        --total_;
        open_gauge_.add(-1);
        closed.push_back(std::move(idle.backend));
      } else {
        idle_[kept++] = std::move(idle);
      }
    }
    idle_.resize(kept);
    if (!closed_ && total_ < options_.backends_min) {
      wanted = options_.backends_min - total_;
      total_ += wanted;
    }
  }
  closed.clear();
  constexpr Duration patience = std::chrono::seconds(5);
  for (; wanted > 0; --wanted) {
    auto backend = co_await open(loop, loop.after(patience));
    if (!backend) {
      // The others will fail for the same reason; open() has given this one's place back.
      for (--wanted; wanted > 0; --wanted)
        one_less();
      co_return;
    }
    (*backend)->leave_loop();
    hand_on(std::move(*backend));
  }
}

PoolOptions Pool::options() const {
  const std::lock_guard lock(mutex_);
  return options_;
}

void Pool::set_options(const PoolOptions& options) {
  const std::lock_guard lock(mutex_);
  const bool renewed = options_.session != options.session;
  options_ = options;
  while (!closed_ && total_ < options_.backends_max) {
    const auto waiter = next_waiter();
    if (!waiter) break;
    ++total_;
    waiter->may_open = true;
    waiter->loop.submit([waiter] { waiter->done.set(); });
  }
  if (!renewed) return;
  login_settings_ = nullptr;  // They are reported by the next backend that is opened.
  renew();
}

Pool::Status Pool::status() const {
  const std::lock_guard lock(mutex_);
  return {.in_use = total_ - idle_.size(), .idle = idle_.size(), .waiting = waiters_.size()};
}

void Pool::close() {
  std::vector<Idle> closed;
  const std::lock_guard lock(mutex_);
  closed_ = true;
  closed.swap(idle_);
  total_ -= closed.size();
  open_gauge_.add(-static_cast<std::int64_t>(closed.size()));
  while (const auto waiter = next_waiter()) {
    waiter->refused = true;
    waiter->loop.submit([waiter] { waiter->done.set(); });
  }
}

}  // namespace meridian
