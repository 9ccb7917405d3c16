#pragma once
// The Supervisor runs one engine for as long as Meridian runs: starts it, watches it, starts it
// again with backoff when it ends, and stops it with us.
//
// An engine that lives is never killed for being slow: recovery after a crash takes as long as it
// takes, and is reported once.
//
// Belongs to the main thread's loop; status(), generation() and serving() are for any thread. The
// owner awaits close() before it ends, and nobody waits in ready() by then.

#include "base/metrics.h"
#include "base/result.h"
#include "base/time.h"
#include "engines/backoff.h"
#include "engines/engine.h"
#include "engines/engine_log.h"
#include "runtime/async.h"
#include "runtime/child.h"
#include "runtime/epoll_loop.h"
#include "runtime/event.h"
#include "runtime/scope.h"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace meridian {

struct SupervisorOptions {
  Duration backoff_min = std::chrono::milliseconds(100);
  Duration backoff_max = std::chrono::seconds(10);
  Duration slow_start = std::chrono::seconds(30);  // A start that takes longer is reported.

  // How long the polite signal has, then the other one; then SIGKILL. PostgreSQL itself kills what
  // does not follow its immediate shutdown after 5 s.
  Duration stop_timeout = std::chrono::seconds(30);
  Duration stop_at_once_timeout = std::chrono::seconds(10);

  std::uint64_t log_size_max = 16uz * 1024 * 1024;
};

enum class EngineState : std::uint8_t {
  stopped,   // Not started, or closed.
  starting,  // Running or about to, not serving yet.
  ready,     // Serving.
  down,      // Ended or could not start; the next attempt waits for the backoff.
  stopping,  // Asked to end.
};

std::string_view to_string(EngineState state) noexcept;

struct EngineStatus {
  EngineState state = EngineState::stopped;
  WallTime since{};              // Of that state.
  WallTime down_since{};         // When it last stopped serving; zero while it serves.
  pid_t process = 0;             // 0 when there is none.
  std::uint64_t generation = 0;  // How many processes there have been.
  std::uint64_t failures = 0;    // How often it ended by itself or could not start.
  std::string last_failure;      // "ended with signal 9 (Killed)"; empty when there was none.
};

class Supervisor {
 public:
  // `engine` and `metrics` outlive it.
  Supervisor(EpollLoop& loop, Engine& engine, Metrics& metrics, SupervisorOptions options = {});
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Once.
  void start();

  // Waits until the engine serves. Errors: timeout, with its last failure; cancelled, also when the
  // supervisor is closed. On the main loop only.
  Async<Result<void>> ready(Deadline deadline);

  EngineStatus status() const;

  // Changes with every start of a process: a connection that was made under another generation is
  // dead.
  std::uint64_t generation() const noexcept { return generation_.load(std::memory_order_acquire); }
  bool serving() const noexcept { return serving_.load(std::memory_order_acquire); }

  // Stops the engine, politely first, and returns when it has ended.
  Async<> close();

 private:
  Async<> run();
  Async<Result<ChildExit>> live(Fibre& fibre);
  Async<Result<void>> await_ready(Child& child);
  Async<> stop(Child& child, Fibre& fibre);
  Async<> bound_log();

  void enter(EngineState state, pid_t process);
  void fail_life(const Result<ChildExit>& life);

  EpollLoop& loop_;
  Engine& engine_;
  SupervisorOptions options_;
  EngineLog log_;
  Backoff backoff_;
  Event changed_;
  Scope scope_;
  Time serving_from_{};  // Of this life; zero when it has not served.

  std::atomic<std::uint64_t> generation_{0};
  std::atomic<bool> serving_{false};
  mutable std::mutex mutex_;  // Guards status_.
  EngineStatus status_;

  Gauge& ready_gauge_;
  Gauge& down_since_gauge_;
  Counter& starts_;
  Counter& failures_;
  Histogram& start_duration_;
};

}  // namespace meridian
