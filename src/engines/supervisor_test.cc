// The Supervisor starts what ends, waits longer after every failure, says what it is doing, and
// stops with the signals that it was given. The engine is a shell that does as the test says.

#include "engines/supervisor.h"

#include "base/function_ref.h"
#include "test/temporary_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <signal.h>
#include <string>
#include <utility>
#include <vector>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration patience = seconds(30);

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class ShellEngine final : public Engine {
 public:
  explicit ShellEngine(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::string_view name() const noexcept override { return "shell"; }
  std::filesystem::path log_file() const override { return folder_ / "log"; }
  Async<Result<ChildOptions>> prepare() override {
    ++prepared_count;
    if (!trouble.empty()) co_return fail(Errc::conflict, trouble);
    co_return ChildOptions{.command = {"/bin/sh", "-c", script}};
  }
  // Ready when the script has made its file.
  Async<Result<void>> probe(Deadline /*deadline*/) override {
    if (!std::filesystem::exists(folder_ / "ready")) co_return fail(Errc::unavailable, "no file");
    co_return Result<void>();
  }
  StopSignals stop_signals() const noexcept override {
    return {.polite = SIGINT, .at_once = SIGTERM};
  }

  // A script that does the one thing, is ready, and does the other.
  void serve_after(std::string_view first, std::string_view then) {
    script =
        std::string(first) + "touch " + (folder_ / "ready").native() + "; " + std::string(then);
  }
  void serve_then(std::string_view then) { serve_after("", then); }

  std::string script;
  std::string trouble;
  int prepared_count = 0;

 private:
  std::filesystem::path folder_;
};

class Supervisors : public testing::Test {
 protected:
  Supervisors() {
    engine_.emplace(folder_.path());
    options_ = {.backoff_min = milliseconds(1), .backoff_max = milliseconds(4)};
  }

  void run(FunctionRef<Async<>(EpollLoop&, Supervisor&)> body) {
    EpollLoop loop;
    Supervisor supervisor(loop, *engine_, metrics_, options_);
    Scope scope(loop);
    scope.spawn([](EpollLoop& on,
                   Supervisor& under_test,
                   FunctionRef<Async<>(EpollLoop&, Supervisor&)> work) -> Async<> {
      co_await work(on, under_test);
      co_await under_test.close();
      on.stop();
    }(loop, supervisor, body));
    loop.run();
    EXPECT_EQ(supervisor.status().state, EngineState::stopped);
    EXPECT_FALSE(supervisor.serving());
  }

  static Async<bool> becomes_true(EpollLoop& loop, FunctionRef<bool()> condition) {
    const Deadline deadline = loop.after(patience);
    while (!condition()) {
      if (deadline.passed(loop.now())) co_return false;
      (void)co_await loop.sleep(milliseconds(1));
    }
    co_return true;
  }

  std::uint64_t total(std::string_view name) const {
    return metrics_.total(name, {{"engine", "shell"}});
  }

  TemporaryFolder folder_;
  std::optional<ShellEngine> engine_;
  Metrics metrics_;
  SupervisorOptions options_;
};

TEST_F(Supervisors, SayWhenTheEngineServes) {
  engine_->serve_then("exec sleep 1000");
  run([&](EpollLoop& loop, Supervisor& supervisor) -> Async<> {
    EXPECT_EQ(supervisor.status().state, EngineState::stopped);
    supervisor.start();
    EXPECT_EQ(supervisor.status().state, EngineState::starting);
    EXPECT_FALSE(supervisor.serving());
    EXPECT_TRUE(co_await supervisor.ready(loop.after(patience)));
    EXPECT_TRUE(co_await supervisor.ready(loop.after(patience)));
    const EngineStatus status = supervisor.status();
    EXPECT_EQ(status.state, EngineState::ready);
    EXPECT_EQ(status.generation, 1U);
    EXPECT_EQ(supervisor.generation(), 1U);
    EXPECT_GT(status.process, 0);
    EXPECT_EQ(status.down_since, WallTime());
    EXPECT_EQ(status.failures, 0U);
    EXPECT_TRUE(metrics_.to_prometheus().contains("meridian_engine_ready{engine=\"shell\"} 1\n"));
  });
  EXPECT_EQ(total("meridian_engine_starts_total"), 1U);
  EXPECT_EQ(total("meridian_engine_failures_total"), 0U);
  EXPECT_TRUE(metrics_.to_prometheus().contains("meridian_engine_ready{engine=\"shell\"} 0\n"));
}

TEST_F(Supervisors, StartAgainWhatEnds) {
  engine_->script = "echo about to fail >&2; exit 3";
  run([&](EpollLoop& loop, Supervisor& supervisor) -> Async<> {
    supervisor.start();
    EXPECT_TRUE(co_await becomes_true(loop, [&] { return supervisor.status().failures >= 3; }));
    EXPECT_EQ(supervisor.status().last_failure, "ended with exit code 3");
    EXPECT_NE(supervisor.status().down_since, WallTime());
    const auto ready = co_await supervisor.ready(loop.after(milliseconds(20)));
    EXPECT_EQ(ready.error().code(), Errc::timeout);
    EXPECT_TRUE(ready.error().detail().contains("shell is not ready: it is "))
        << ready.error().detail();
    EXPECT_TRUE(ready.error().detail().contains("it ended with exit code 3"));
    // It is mended, and served by the next attempt.
    engine_->serve_then("exec sleep 1000");
    EXPECT_TRUE(co_await supervisor.ready(loop.after(patience)));
    EXPECT_EQ(supervisor.generation(), supervisor.status().failures + 1);
    EXPECT_EQ(supervisor.status().down_since, WallTime());
  });
}

TEST_F(Supervisors, NoticeTheDeathOfAServingEngine) {
  engine_->serve_then("exec sleep 1000");
  run([&](EpollLoop& loop, Supervisor& supervisor) -> Async<> {
    supervisor.start();
    EXPECT_TRUE(co_await supervisor.ready(loop.after(patience)));
    for (std::uint64_t generation = 2; generation <= 4; ++generation) {
      ::kill(supervisor.status().process, SIGKILL);
      EXPECT_TRUE(
          co_await becomes_true(loop, [&] { return supervisor.generation() == generation; }));
      EXPECT_TRUE(co_await supervisor.ready(loop.after(patience)));
    }
    EXPECT_EQ(supervisor.status().last_failure, "ended with signal 9 (Killed)");
  });
  EXPECT_EQ(total("meridian_engine_failures_total"), 3U);
}

TEST_F(Supervisors, TryAgainWhenTheFolderIsTaken) {
  engine_->trouble = "somebody is there";
  engine_->serve_then("exec sleep 1000");
  run([&](EpollLoop& loop, Supervisor& supervisor) -> Async<> {
    supervisor.start();
    EXPECT_TRUE(co_await becomes_true(loop, [&] { return engine_->prepared_count >= 3; }));
    EXPECT_EQ(supervisor.generation(), 0U);
    EXPECT_EQ(supervisor.status().last_failure, "could not be started: somebody is there");
    engine_->trouble.clear();
    EXPECT_TRUE(co_await supervisor.ready(loop.after(patience)));
  });
}

TEST_F(Supervisors, StopPolitelyFirst) {
  engine_->serve_after("trap 'echo asked; exit 0' INT; ", "while :; do sleep 0.01; done");
  run([&](EpollLoop& loop, Supervisor& supervisor) -> Async<> {
    supervisor.start();
    EXPECT_TRUE(co_await supervisor.ready(loop.after(patience)));
  });
  EXPECT_EQ(total("meridian_engine_failures_total"), 0U);
  EXPECT_EQ(text_of(engine_->log_file()), "asked\n");
}

TEST_F(Supervisors, StopAtOnceWhatDoesNotFollow) {
  options_.stop_timeout = milliseconds(20);
  options_.stop_at_once_timeout = milliseconds(20);
  engine_->script =
      "trap '' INT TERM; touch " + (folder_ / "ready").native() + "; while :; do sleep 0.01; done";
  pid_t process = 0;
  run([&](EpollLoop& loop, Supervisor& supervisor) -> Async<> {
    supervisor.start();
    EXPECT_TRUE(co_await supervisor.ready(loop.after(patience)));
    process = supervisor.status().process;
  });
  EXPECT_NE(::kill(process, 0), 0);
}

TEST_F(Supervisors, StopInTheMiddleOfAStart) {
  engine_->script = "exec sleep 1000";  // Never ready.
  run([&](EpollLoop& loop, Supervisor& supervisor) -> Async<> {
    supervisor.start();
    EXPECT_TRUE(co_await becomes_true(loop, [&] { return supervisor.generation() == 1; }));
    Scope waiters(loop);
    waiters.spawn([](Supervisor& waited_for) -> Async<> {
      EXPECT_EQ((co_await waited_for.ready(Deadline::never())).error().code(), Errc::cancelled);
    }(supervisor));
    (void)co_await loop.yield();
    co_await supervisor.close();
    co_await waiters.join();
  });
}

TEST_F(Supervisors, StopBeforeTheStart) {
  engine_->script = "exec sleep 1000";
  run([](EpollLoop& /*loop*/, Supervisor& supervisor) -> Async<> {
    supervisor.start();
    co_await supervisor.close();
    EXPECT_EQ(supervisor.generation(), 0U);
  });
}

class ChosenRandom final : public Random {
 public:
  std::uint64_t next() override { return value; }
  void fill_secret(std::span<std::uint8_t> /*bytes*/) override {}
  std::uint64_t value = 0;
};

TEST(Backoffs, DoubleUpToTheirBound) {
  ChosenRandom random;
  Backoff backoff(milliseconds(100), seconds(10));
  for (const int shortest : {100, 200, 400, 800, 1'600, 3'200, 5'000, 5'000}) {
    EXPECT_EQ(backoff.next(random), milliseconds(shortest));
  }
  backoff.reset();
  for (const int longest : {200, 400, 800, 1'600, 3'200, 6'400, 10'000, 10'000}) {
    random.value = static_cast<std::uint64_t>(Duration(milliseconds(longest)).count() / 2);
    EXPECT_EQ(backoff.next(random), milliseconds(longest));
  }
}

TEST(Backoffs, ForgetFailuresAfterALongSuccess) {
  ChosenRandom random;
  Backoff backoff(milliseconds(100), seconds(10));
  for (int i = 0; i < 4; ++i)
    (void)backoff.next(random);
  backoff.succeeded_for(milliseconds(15'999));  // The last pause was 800 ms.
  EXPECT_EQ(backoff.next(random), milliseconds(1'600));
  backoff.succeeded_for(seconds(32));
  EXPECT_EQ(backoff.next(random), milliseconds(100));
}

class EngineLogs : public testing::Test {
 protected:
  void append(std::string_view text) {
    std::ofstream(folder_ / "log", std::ios::app | std::ios::binary) << text;
  }
  static void bound(EngineLog& log) {
    EpollLoop loop;
    Scope scope(loop);
    scope.spawn([](EpollLoop& on, EngineLog& to_bound) -> Async<> {
      EXPECT_TRUE(co_await to_bound.bound(on));
      on.stop();
    }(loop, log));
    loop.run();
  }

  TemporaryFolder folder_;
};

TEST_F(EngineLogs, ShowTheLastLinesSinceTheMark) {
  EngineLog log(folder_ / "log", 1'000'000);
  EXPECT_TRUE(log.tail().empty());
  append("of an earlier start\n");
  log.mark();
  EXPECT_TRUE(log.tail().empty());
  append("one\n\ntwo\nthree");
  EXPECT_EQ(log.tail(), (std::vector<std::string>{"one", "two", "three"}));
  for (int i = 0; i < 20; ++i)
    append("\n" + std::to_string(i));
  EXPECT_EQ(log.tail().size(), EngineLog::tail_lines_max);
  EXPECT_EQ(log.tail().back(), "19");
  append(std::string(100'000, 'x'));
  ASSERT_EQ(log.tail().size(), 1U);
  EXPECT_EQ(log.tail()[0].size(), EngineLog::tail_size_max);
}

TEST_F(EngineLogs, StayWithinTheirBound) {
  EngineLog log(folder_ / "log", 10);
  bound(log);  // There is none yet.
  append("0123456789");
  bound(log);
  EXPECT_EQ(text_of(folder_ / "log"), "0123456789");
  append("abc");
  log.mark();
  bound(log);
  EXPECT_EQ(text_of(folder_ / "log"), "");
  EXPECT_EQ(text_of(folder_ / "log.1"), "3456789abc");
  append("later");
  EXPECT_EQ(log.tail(), (std::vector<std::string>{"later"}));
}

}  // namespace
}  // namespace meridian
