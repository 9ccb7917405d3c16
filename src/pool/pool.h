#pragma once
// A pool of backends for one role in one database, shared by all loops.
//
// A visit takes a backend and gives it back; what it gives back is reset, verified, and kept for
// the next one. On any doubt it is closed instead. When all are in use, visits queue in order, up
// to a deadline.
//
// Threading: take() and give_back() on any loop; the bookkeeping is under a lock that is held for
// some pointers.

#include "base/metrics.h"
#include "base/result.h"
#include "pool/backend_source.h"
#include "runtime/event.h"
#include "runtime/scope.h"

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace meridian {

struct PoolOptions {
  std::size_t backends_max = 20;
  std::size_t backends_min = 0;    // Kept open and idle for the next visits.
  std::size_t queue_max = 10'000;  // Visits that wait; more are refused at once.
  Duration queue_timeout = std::chrono::seconds(5);
  Duration backend_age_max = std::chrono::hours(1);
  Duration idle_max = std::chrono::minutes(10);
  Duration reset_timeout = std::chrono::seconds(5);
  SessionDefaults session{};
  Duration open_timeout = std::chrono::seconds(10);  // Connecting and logging in.

  friend bool operator==(const PoolOptions&, const PoolOptions&) = default;
};

class Pool {
 public:
  Pool(std::string role,
       std::string database,
       BackendSource& source,
       Metrics& metrics,
       PoolOptions options);
  ~Pool();

  const std::string& role() const noexcept { return role_; }
  const std::string& database() const noexcept { return database_; }

  // A backend in the loop's hands, idle and as after a login. Errors: exhausted (queue_timeout
  // passed, or the queue is full), and those of BackendSource::open(); unavailable when the pool is
  // closed.
  Async<Result<std::unique_ptr<Backend>>> take(EpollLoop& loop, Deadline deadline);

  // Returns what take() gave. Requires that the backend is outside of a transaction or in one that
  // may be rolled back, and has answered everything. Resets it and keeps it, or closes it.
  Async<> give_back(EpollLoop& loop, std::unique_ptr<Backend> backend);

  // Closes what take() gave.
  void discard(std::unique_ptr<Backend> backend);

  // What the server reports at login, as far as it is known: the settings of the last backend that
  // was opened.
  std::shared_ptr<const ReportedSettings> login_settings() const;

  // Closes idle backends that are too old or too many, and opens some when there are too few. Now
  // and then, on one loop.
  Async<> tend(EpollLoop& loop);

  // Backends of before are closed as they come back: the server was restarted, or the password
  // rotated away.
  void renew() noexcept { generation_.fetch_add(1, std::memory_order_relaxed); }

  struct Status {
    std::size_t in_use = 0;
    std::size_t idle = 0;
    std::size_t waiting = 0;
  };
  Status status() const;
  PoolOptions options() const;

  // Counts from now on; backends that began with other defaults, or are too many, are closed as
  // they come back. Where more may be open, who waits opens them.
  void set_options(const PoolOptions& options);

  // Closes the idle ones. Those in use are closed as they come back; who waits and later takes are
  // refused.
  void close();

 private:
  struct Waiter;

  std::unique_ptr<Backend> pop_idle(Time now);
  Async<Result<std::unique_ptr<Backend>>> open(EpollLoop& loop, Deadline deadline);
  Async<Result<std::unique_ptr<Backend>>> queue(EpollLoop& loop, Deadline deadline);
  Async<Result<void>> reset(EpollLoop& loop, Backend& backend);
  void hand_on(std::unique_ptr<Backend> backend);
  std::shared_ptr<Waiter> next_waiter();  // Null when there is none. Under the lock.
  void one_less();
  bool stale(const Backend& backend, Time now) const noexcept;  // Under the lock.

  const std::string role_;
  const std::string database_;
  BackendSource& source_;
  std::atomic<std::uint64_t> generation_{0};

  mutable std::mutex mutex_;
  PoolOptions options_;
  struct Idle {
    std::unique_ptr<Backend> backend;
    Time since;
  };
  std::vector<Idle> idle_;  // The last is the one used last.
  std::deque<std::shared_ptr<Waiter>> waiters_;
  std::size_t total_ = 0;  // Open or being opened.
  bool closed_ = false;
  std::shared_ptr<const ReportedSettings> login_settings_;

  Gauge& open_gauge_;
  Gauge& in_use_gauge_;
  Gauge& waiting_gauge_;
  std::atomic<std::uint64_t> opened_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace meridian
