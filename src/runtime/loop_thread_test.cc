// Loops on threads: calls between them, signals as events, and memory that is safe to free only
// when every loop has been between two batches.

#include "runtime/loop_thread.h"

#include "runtime/call_on.h"
#include "runtime/reclaim.h"
#include "runtime/scope.h"
#include "runtime/signals.h"
#include "runtime/sim/sim_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <unistd.h>

namespace meridian {
namespace {

// Runs a fibre on the thread's loop and waits for its end.
template <class Work>
void run_on(LoopThread& thread, Scope& scope, Work work) {
  std::promise<void> done;
  thread.loop().submit([&] {
    scope.spawn([](Work body, std::promise<void>& told) -> Async<> {
      co_await body();
      told.set_value();
    }(std::move(work), done));
  });
  done.get_future().wait();
}

TEST(LoopThreadTest, ACallRunsThereAndItsAnswerHere) {
  LoopThread here;
  LoopThread there;
  Scope scope(here.loop());
  here.start();
  there.start();
  std::thread::id called;
  std::thread::id answered;
  std::optional<Result<std::string>> answer;
  run_on(here, scope, [&]() -> Async<> {
    answer = co_await call_on(there.loop(), [&called] {
      called = std::this_thread::get_id();
      return std::string("hello");
    });
    answered = std::this_thread::get_id();
    auto nothing = co_await call_on(there.loop(), [] {});
    EXPECT_TRUE(nothing);
  });
  here.stop();
  there.stop();
  ASSERT_TRUE(answer && *answer);
  EXPECT_EQ(**answer, "hello");
  EXPECT_NE(called, answered);
}

TEST(LoopThreadTest, StopWithoutStartAndTwice) {
  LoopThread never;
  never.stop();
  LoopThread thread;
  thread.start();
  thread.stop();
  thread.stop();
}

// A caller that was cancelled leaves; the work runs all the same, and tells nobody.
TEST(CallOnTest, ACancelledCallerLeavesTheWorkBehind) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SimLoop loop(seed);
    SimLoop other(seed);
    bool ran = false;
    std::optional<Errc> code;
    Scope scope(loop);
    scope.spawn([](SimLoop& there, bool& done, std::optional<Errc>& out) -> Async<> {
      auto answer = co_await call_on(there, [&done] {
        done = true;
        return 1;
      });
      if (!answer) out = answer.error().code();
    }(other, ran, code));
    EXPECT_TRUE(loop.run(std::chrono::seconds(1)));
    EXPECT_FALSE(ran);
    scope.cancel();
    EXPECT_TRUE(loop.run(std::chrono::seconds(1)));
    EXPECT_EQ(code, Errc::cancelled);
    EXPECT_TRUE(other.run(std::chrono::seconds(1)));
    EXPECT_TRUE(ran);
    EXPECT_TRUE(loop.run(std::chrono::seconds(1)));  // The answer finds nobody.
  }
}

TEST(SignalsTest, EachIsAnEventAndCancellingEndsTheWait) {
  // Threads that start from here on block it, this one too.
  Signals::block({SIGUSR2});
  LoopThread thread;
  std::optional<Signals> signals;
  Scope scope(thread.loop());
  signals.emplace(thread.loop(), std::initializer_list<int>{SIGUSR2});
  thread.start();
  std::optional<int> got;
  ASSERT_EQ(::kill(::getpid(), SIGUSR2), 0);
  run_on(thread, scope, [&]() -> Async<> { got = co_await signals->next(); });
  EXPECT_EQ(got, SIGUSR2);
  std::promise<std::optional<int>> second;
  thread.loop().submit([&] {
    scope.spawn([](Signals& from, std::promise<std::optional<int>>& out) -> Async<> {
      out.set_value(co_await from.next());
    }(*signals, second));
    scope.cancel();
  });
  EXPECT_EQ(second.get_future().get(), std::nullopt);
  thread.stop();
}

TEST(ReclaimTest, ALoopThatHasNotWaitedHoldsEverything) {
  Reclaimer reclaimer;
  EXPECT_GT(reclaimer.safe_epoch(), 0U);
  EpollLoop loop;
  reclaimer.observe_loop(loop);
  const std::uint64_t epoch = reclaimer.retire_epoch();
  EXPECT_LE(reclaimer.safe_epoch(), epoch);
}

TEST(ReclaimTest, WhatWasRetiredIsSafeBehindTheNextBatchOfEachLoop) {
  Reclaimer reclaimer;
  LoopThread thread;
  reclaimer.observe_loop(thread.loop());
  thread.start();
  std::promise<void> inside;
  std::promise<void> release;
  thread.loop().submit([&] {
    inside.set_value();
    release.get_future().wait();
  });
  inside.get_future().wait();
  const std::uint64_t epoch = reclaimer.retire_epoch();
  EXPECT_LE(reclaimer.safe_epoch(), epoch);  // The loop is in a batch and may hold it.
  release.set_value();
  while (reclaimer.safe_epoch() <= epoch)
    std::this_thread::yield();
  thread.stop();
}

}  // namespace
}  // namespace meridian
