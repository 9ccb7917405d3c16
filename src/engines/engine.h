#pragma once
// An engine: a real server (PostgreSQL, Redis) that Meridian starts and owns. It knows how to make
// its folder fit, what to run, and how to ask whether it serves; when to do so is the Supervisor's.
//
// Implementations: PostgresEngine, RedisEngine. Belongs to the main thread's loop.

#include "base/result.h"
#include "base/time.h"
#include "runtime/async.h"
#include "runtime/child.h"
#include "runtime/deadline.h"

#include <filesystem>
#include <string_view>

namespace meridian {

// How an engine is asked to end: first politely, then at once. Either leaves the disk in a state
// that the next start can use.
struct StopSignals {
  int polite;
  int at_once;
};

// How long the engine of a Meridian that was killed may still take to end.
inline constexpr Duration predecessor_timeout_default = std::chrono::seconds(7);

class Engine {
 public:
  virtual ~Engine() = default;

  // In logs and metrics: "postgres".
  virtual std::string_view name() const noexcept = 0;

  // Where its output goes.
  virtual std::filesystem::path log_file() const = 0;

  // Before each start: clears away what a killed one left, writes its configuration, and says what
  // to run. Errors: conflict when somebody else's server works on its folder, which is left alone.
  virtual Async<Result<ChildOptions>> prepare() = 0;

  // Success when it serves clients. The error says what it answered instead.
  virtual Async<Result<void>> probe(Deadline deadline) = 0;

  virtual StopSignals stop_signals() const noexcept = 0;
};

}  // namespace meridian
