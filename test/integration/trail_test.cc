// The trail on real loops, threads and file systems: it seals by itself, and a disk that is really
// full refuses records and never kills the process.

#include "gate/trail/trail.h"

#include "gate/trail/verify.h"
#include "runtime/epoll_loop.h"
#include "runtime/scope.h"
#include "test/temporary_folder.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace meridian::trail {
namespace {

namespace fs = std::filesystem;

class TrailOnDisk : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
};

Async<> append_until(TrailWriter& writer, std::atomic<bool>& enough) {
  while (!enough.load()) {
    EXPECT_TRUE(writer.append({}, KeyWrite{.command = "SET", .key = "session:1"}));
    (void)co_await writer.loop().sleep(std::chrono::milliseconds(1));
  }
}

Async<> stop_when_sealed(Loop& loop,
                         Scope& sealing,
                         std::array<std::atomic<int>, 2>& heads,
                         std::atomic<bool>& enough,
                         std::array<EpollLoop*, 2> loops) {
  const Deadline deadline = loop.after(std::chrono::seconds(90));
  while ((heads[0] < 5 || heads[1] < 5) && !deadline.passed(loop.now())) {
    (void)co_await loop.sleep(std::chrono::milliseconds(5));
  }
  enough = true;
  (void)co_await loop.sleep(std::chrono::milliseconds(5));
  co_await sealing.close();
  for (EpollLoop* each : loops) {
    each->stop();
  }
}

TEST_F(TrailOnDisk, EveryShardIsSealedAgainAndAgainWhileItIsWritten) {
  EpollLoop main_loop;
  EpollLoop other_loop;
  const std::array<Loop*, 2> loops{&main_loop, &other_loop};
  Metrics metrics;
  std::array<std::atomic<int>, 2> heads{};
  std::vector<SignedHead> offered;
  auto opened = Trail::open({.folder = folder_.path(),
                             .node = "n1",
                             .segment_bytes = std::uint64_t{128} << 10,
                             .sync_interval = std::chrono::milliseconds(20),
                             .head_sink =
                                 [&](const SignedHead& head) {
                                   ++heads[head.shard];
                                   offered.push_back(head);
                                 }},
                            loops,
                            metrics);
  ASSERT_TRUE(opened) << opened.error().detail();
  Trail& trail = **opened;
  std::atomic<bool> enough{false};
  std::thread other([&] {
    Scope scope(other_loop);
    scope.spawn(append_until(trail.writer(1), enough));
    other_loop.run();
    scope.abandon();
  });
  Scope scope(main_loop);
  Scope sealing(main_loop);
  sealing.spawn(trail.run());
  scope.spawn(append_until(trail.writer(0), enough));
  scope.spawn(stop_when_sealed(main_loop, sealing, heads, enough, {&main_loop, &other_loop}));
  main_loop.run();
  other.join();
  scope.abandon();
  ASSERT_TRUE(trail.close("over"));
  EXPECT_GE(heads[0], 5);
  EXPECT_GE(heads[1], 5);
  const auto report = verify(folder_.path(), {.heads = offered});
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->intact()) << to_text(*report);
  EXPECT_GT(metrics.total("meridian_trail_records_total"), 0u);
  Histogram syncs;
  metrics.merge_into(syncs, "meridian_trail_sync_seconds");
  EXPECT_GE(syncs.count(), 5u);
}

// In a process of its own, because it mounts a file system of one mebibyte that nobody else sees.
// Exit codes: 0 good, 77 no such file system can be had here, others say where it went wrong.
int fill_a_small_disk(const fs::path& folder) {
  if (::geteuid() != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 77;
  } else if (::unshare(CLONE_NEWNS) != 0) {
    return 77;
  }
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
  if (::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=1m") != 0) return 77;

  EpollLoop loop;
  Loop* const loops[] = {&loop};
  Metrics metrics;
  auto opened = Trail::open(
      {.folder = folder, .node = "n1", .segment_bytes = std::uint64_t{128} << 10}, loops, metrics);
  if (!opened) return 10;
  Trail& trail = **opened;
  // Another takes some of the room, and gives it back later.
  const fs::path filler = folder / "filler";
  std::ofstream(filler) << std::string(std::size_t{300} << 10, 'f');

  const KeyWrite write{.command = "SET", .key = "session:1"};
  Result<void> outcome;
  for (int i = 0; i < 1'000'000 && outcome; ++i) {
    outcome = trail.writer(0).append({}, write);
    if (i % 100 == 0) trail.seal_now();
  }
  if (outcome) return 11;
  if (outcome.error().code() != Errc::exhausted) return 12;
  if (!outcome.error().detail().contains("No space left")) return 13;
  // Other files cannot be written either, and the trail still verifies.
  const auto full = verify(folder, {});
  if (!full || !full->intact()) return 14;

  fs::remove(filler);
  trail.seal_now();
  if (!trail.writer(0).append({}, write)) return 15;
  if (!trail.close("over")) return 16;
  const auto after = verify(folder, {});
  return after && after->intact() ? 0 : 17;
}

TEST_F(TrailOnDisk, ADiskThatIsReallyFullRefusesRecords) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(fill_a_small_disk(folder_.path()));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no file system can be mounted here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace meridian::trail
