#include "engines/supervisor.h"

#include "runtime/log.h"

#include <algorithm>
#include <array>
#include <signal.h>
#include <string>

namespace meridian {
namespace {

constexpr const char* area = "engines";

// How long one probe may take, and the pause before the next: a share of the time waited so far, so
// that a quick start is seen at once and a slow one is not disturbed.
constexpr Duration probe_timeout = std::chrono::seconds(2);
constexpr Duration probe_pause_min = std::chrono::milliseconds(10);
constexpr Duration probe_pause_max = std::chrono::seconds(1);
constexpr int probe_pause_share = 8;

constexpr Duration log_interval = std::chrono::seconds(10);

std::int64_t to_seconds(WallTime time) noexcept {
  return std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count();
}

}  // namespace

std::string_view to_string(EngineState state) noexcept {
  constexpr std::array<std::string_view, 5> names{
      "stopped", "starting", "ready", "down", "stopping"};
  return names[static_cast<std::size_t>(state)];
}

Supervisor::Supervisor(EpollLoop& loop, Engine& engine, Metrics& metrics, SupervisorOptions options)
    : loop_(loop),
      engine_(engine),
      options_(options),
      log_(engine.log_file(), options.log_size_max),
      backoff_(options.backoff_min, options.backoff_max),
      changed_(loop),
      scope_(loop),
      ready_gauge_(metrics.gauge("meridian_engine_ready",
                                 "1 while the engine serves.",
                                 {{"engine", std::string(engine.name())}})),
      down_since_gauge_(metrics.gauge("meridian_engine_down_since_seconds",
                                      "When the engine stopped serving (Unix time); 0 while it "
                                      "serves.",
                                      {{"engine", std::string(engine.name())}})),
      starts_(metrics.counter("meridian_engine_starts_total",
                              "Processes started for the engine.",
                              {{"engine", std::string(engine.name())}})),
      failures_(metrics.counter("meridian_engine_failures_total",
                                "How often the engine ended by itself or could not be started.",
                                {{"engine", std::string(engine.name())}})),
      start_duration_(metrics.histogram("meridian_engine_start_seconds",
                                        "From the start of a process until it serves.",
                                        {{"engine", std::string(engine.name())}})) {}

void Supervisor::start() {
  enter(EngineState::starting, 0);
  scope_.spawn(run());
  scope_.spawn(bound_log());
}

Async<> Supervisor::close() {
  co_await scope_.close();
  enter(EngineState::stopped, 0);
}

EngineStatus Supervisor::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

Async<Result<void>> Supervisor::ready(Deadline deadline) {
  while (!serving()) {
    if (scope_.cancelled()) {
      co_return fail(Errc::cancelled, std::string(engine_.name()) + " is being stopped");
    }
    const Wake wake = co_await changed_.wait(deadline);
    if (wake == Wake::cancelled) co_return fail(Errc::cancelled);
    if (wake == Wake::timeout && !serving()) {
      const EngineStatus now = status();
      co_return fail(Errc::timeout,
                     std::string(engine_.name()) + " is not ready: it is " +
                         std::string(to_string(now.state)) + " since " + to_rfc3339(now.since) +
                         (now.last_failure.empty() ? "" : "; it " + now.last_failure) + "; see " +
                         log_.path().native());
    }
  }
  co_return Result<void>();
}

void Supervisor::enter(EngineState state, pid_t process) {
  const WallTime now = loop_.wall_now();
  const bool ready = state == EngineState::ready;
  {
    const std::lock_guard lock(mutex_);
    if (status_.state != state) status_.since = now;
    status_.state = state;
    status_.process = process;
    status_.generation = generation();
    if (ready) {
      status_.down_since = WallTime();
    } else if (status_.down_since == WallTime()) {
      status_.down_since = now;
    }
    down_since_gauge_.set(to_seconds(status_.down_since));
  }
  serving_.store(ready, std::memory_order_release);
  ready_gauge_.set(ready ? 1 : 0);
  changed_.notify_all();
}

Async<> Supervisor::run() {
  Fibre& fibre = co_await this_fibre();
  while (!fibre.cancelled()) {
    serving_from_ = Time();
    const Result<ChildExit> life = co_await live(fibre);
    if (fibre.cancelled()) break;
    if (serving_from_ != Time()) backoff_.succeeded_for(loop_.now() - serving_from_);
    fail_life(life);
    const Duration pause = backoff_.next(loop_.random());
    log_info(area, "starting again", {{"engine", engine_.name()}, {"in", to_text(pause)}});
    (void)co_await loop_.sleep(pause);  // Cancelled: the loop's condition sees it.
  }
}

// From the preparation to the end of one process.
Async<Result<ChildExit>> Supervisor::live(Fibre& fibre) {
  enter(EngineState::starting, 0);
  log_.mark();
  MERIDIAN_CO_TRY(ChildOptions command, co_await engine_.prepare());
  command.log_file = log_.path().native();
  const Time from = loop_.now();
  MERIDIAN_CO_TRY(const auto child, Child::start(loop_, std::move(command)));
  generation_.fetch_add(1, std::memory_order_acq_rel);
  starts_.add();
  enter(EngineState::starting, child->process());
  if (co_await await_ready(*child)) {
    serving_from_ = loop_.now();
    const Duration took = serving_from_ - from;
    start_duration_.observe(took);
    enter(EngineState::ready, child->process());
    log_info(area,
             "ready",
             {{"engine", engine_.name()},
              {"process", child->process()},
              {"generation", generation()},
              {"took", to_text(std::chrono::ceil<std::chrono::milliseconds>(took))}});
  }
  auto exit = co_await child->exited();
  if (fibre.cancelled()) co_await stop(*child, fibre);
  co_return exit;
}

// Fails when the child ended or we are being closed: its exit is looked at next.
Async<Result<void>> Supervisor::await_ready(Child& child) {
  const Time from = loop_.now();
  bool reported = false;
  for (;;) {
    const auto answer = co_await engine_.probe(loop_.after(probe_timeout));
    if (answer) co_return Result<void>();
    const Duration waited = loop_.now() - from;
    if (waited >= options_.slow_start && !reported) {
      reported = true;
      log_warning(area,
                  "not ready yet; going on waiting",
                  {{"engine", engine_.name()},
                   {"process", child.process()},
                   {"waited", to_text(waited)},
                   {"answer", answer.error().detail()},
                   {"log", log_.path().native()}});
    }
    const Duration pause = std::clamp(waited / probe_pause_share, probe_pause_min, probe_pause_max);
    const auto exit = co_await child.exited(loop_.after(pause));
    if (exit) co_return fail(Errc::unavailable, "ended with " + exit->to_string());
    if (exit.error().code() != Errc::timeout) co_return std::unexpected(exit.error());
  }
}

Async<> Supervisor::stop(Child& child, Fibre& fibre) {
  const Shield shield(fibre);  // Bounded by the two timeouts and SIGKILL.
  const auto [polite, at_once] = engine_.stop_signals();
  const Time from = loop_.now();
  enter(EngineState::stopping, child.process());
  child.signal(polite);
  auto exit = co_await child.exited(loop_.after(options_.stop_timeout));
  if (!exit) {
    log_warning(area,
                "does not stop; stopping it at once",
                {{"engine", engine_.name()}, {"waited", to_text(options_.stop_timeout)}});
    child.signal(at_once);
    exit = co_await child.exited(loop_.after(options_.stop_at_once_timeout));
  }
  if (!exit) {
    log_warning(area, "still does not stop; killing it", {{"engine", engine_.name()}});
    child.signal(SIGKILL);
    exit = co_await child.exited();
  }
  const Duration took = loop_.now() - from;
  log_info(area,
           "stopped",
           {{"engine", engine_.name()},
            {"exit", exit ? exit->to_string() : exit.error().detail()},
            {"took", to_text(std::chrono::ceil<std::chrono::milliseconds>(took))}});
}

void Supervisor::fail_life(const Result<ChildExit>& life) {
  const std::string failure =
      life ? "ended with " + life->to_string() : "could not be started: " + life.error().detail();
  failures_.add();
  {
    const std::lock_guard lock(mutex_);
    ++status_.failures;
    status_.last_failure = failure;
  }
  enter(EngineState::down, 0);
  log_error(area,
            std::string(engine_.name()) + " " + failure,
            {{"generation", generation()}, {"log", log_.path().native()}});
  for (const std::string& line : log_.tail())
    log_error(area, std::string(engine_.name()) + " printed", {{"line", line}});
}

Async<> Supervisor::bound_log() {
  bool failed = false;
  while (co_await loop_.sleep(log_interval) == Wake::ready) {
    const auto bounded = co_await log_.bound(loop_);
    if (!bounded && !failed) {
      log_warning(area,
                  "the log cannot be kept within its bound",
                  {{"engine", engine_.name()}, {"reason", bounded.error().detail()}});
    }
    failed = !bounded;
  }
}

}  // namespace meridian
