// Kills a process that appends to a trail from two loops, again and again, and looks at what it
// left.
//
//   trail_crash [--kills N] [--seed S] [--folder F]
//
// After each kill: the trail verifies, live and dead, against every head that was offered; every
// record that was acknowledged is there with what was put into it; none is torn. Prints what it did
// and a result line last; exits 1 on any finding, and then leaves the folder.

#include "gate/trail/trail.h"
#include "gate/trail/trail_reader.h"
#include "gate/trail/verify.h"
#include "runtime/epoll_loop.h"
#include "runtime/scope.h"

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <random>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace meridian::trail {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t shards_count = 2;
constexpr int runs_on_one_folder = 10;  // Then a new one, so that looking at it stays quick.

// Written by the process that is killed, in memory that outlives it.
struct Acknowledged {
  std::array<std::atomic<std::uint64_t>, shards_count> counters;
};

// A head as it goes through the pipe, whole or not at all (PIPE_BUF).
struct PipedHead {
  std::uint32_t shard;
  std::uint64_t segment, sequence, synced_sequence;
  std::int64_t time;
  Digest hash;
  PublicKey key;
  Signature signature;
};
static_assert(sizeof(PipedHead) < 4'096);

void pipe_head(int fd, const SignedHead& head) {
  const PipedHead piped{.shard = head.shard,
                        .segment = head.segment,
                        .sequence = head.sequence,
                        .synced_sequence = head.synced_sequence,
                        .time = head.time.time_since_epoch().count(),
                        .hash = head.hash,
                        .key = head.key,
                        .signature = head.signature};
  // A full pipe drops heads: the rest are as good a witness.
  (void)!::write(fd, &piped, sizeof(piped));
}

// What the record with this counter says, so that its content can be compared.
std::string key_of(std::uint32_t shard, std::uint64_t run, std::uint64_t counter) {
  return fmt::format("{}:{}:{}:{}", shard, run, counter, std::string(counter % 97, 'k'));
}

// Appends for ever, in bursts of different sizes.
Async<> append_for_ever(TrailWriter& writer,
                        std::uint64_t run,
                        std::atomic<std::uint64_t>& acknowledged) {
  Loop& loop = writer.loop();
  std::uint64_t counter = 0;
  const auto acknowledge = [&] {
    writer.flush_writes();
    acknowledged.store(counter, std::memory_order_release);
  };
  for (;;) {
    const std::uint64_t burst = 1 + loop.random().next() % 400;
    for (std::uint64_t i = 0; i < burst; ++i) {
      const RecordContext context{.visit = VisitId(run)};
      const std::string key = key_of(writer.shard(), run, counter + 1);
      const bool taken = writer.add_write(context, "SET", key).has_value();
      if (taken) ++counter;
      if (!taken || loop.random().next() % 24 == 0) acknowledge();
      if (!taken) {
        // The next segment is not ready: nothing was recorded, so nothing is claimed.
        (void)co_await loop.sleep(std::chrono::milliseconds(1));
        continue;
      }
      if (counter % 50 != 0) continue;
      const Statement statement{.fingerprint = Fingerprint(1 + counter % 5'000),
                                .ordinal = static_cast<std::uint32_t>(counter),
                                .text_size = 1};
      (void)writer.append(context, statement, "select $1");
      (void)writer.add_outcome({.visit = VisitId(run), .ordinal = statement.ordinal});
    }
    acknowledge();
    (void)co_await loop.sleep(std::chrono::microseconds(loop.random().next() % 2'000));
  }
}

[[noreturn]] void run_until_killed(const fs::path& folder,
                                   std::uint64_t run,
                                   Acknowledged& acknowledged,
                                   int pipe) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // It appends for ever.
  EpollLoop main_loop;
  EpollLoop other_loop;
  Metrics metrics;
  const std::array<Loop*, shards_count> loops{&main_loop, &other_loop};
  auto trail = Trail::open({.folder = folder,
                            .node = "n1",
                            .version = "crash",
                            .segment_bytes = std::uint64_t{512} << 10,
                            .sync_interval = std::chrono::milliseconds(10),
                            .head_sink = [&](const SignedHead& head) { pipe_head(pipe, head); }},
                           loops,
                           metrics);
  if (!trail) {
    std::fprintf(stderr, "%s\n", trail.error().detail().c_str());
    ::_exit(3);
  }
  std::thread other([&] {
    Scope scope(other_loop);
    scope.spawn(append_for_ever((*trail)->writer(1), run, acknowledged.counters[1]));
    other_loop.run();
  });
  Scope scope(main_loop);
  scope.spawn((*trail)->run());
  scope.spawn(append_for_ever((*trail)->writer(0), run, acknowledged.counters[0]));
  main_loop.run();
  ::_exit(4);  // Nobody stops the loops.
}

class CrashTest {
 public:
  CrashTest(fs::path folder, std::uint64_t seed) : folder_(std::move(folder)), random_(seed) {
    void* const memory = ::mmap(
        nullptr, sizeof(Acknowledged), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    acknowledged_ = static_cast<Acknowledged*>(memory);
  }

  // False after a finding, which is printed.
  bool kill_once() {
    ++kills_;
    if (run_++ % runs_on_one_folder == 0) begin_folder();
    for (auto& counter : acknowledged_->counters) {
      counter.store(0);
    }
    std::array<int, 2> pipe;
    if (::pipe2(pipe.data(), O_NONBLOCK | O_CLOEXEC) != 0) return found("no pipe");
    const pid_t child = ::fork();
    if (child == 0) run_until_killed(folder_, run_, *acknowledged_, pipe[1]);
    ::close(pipe[1]);
    if (child < 0) return found("cannot fork");
    wait_a_little();
    // Now and then it is read while it is written.
    const bool live = random_() % 4 == 0 ? verify_now("alive") : true;
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    collect_heads(pipe[0]);
    ::close(pipe[0]);
    if (!WIFSIGNALED(status)) return found("the process ended by itself");
    return live && verify_now("dead") && compare();
  }

  void print_result(bool clean) const {
    std::printf(
        "%d kills, %llu records acknowledged and found, %llu found beyond them, %llu heads, "
        "%s\n",
        kills_,
        static_cast<unsigned long long>(acknowledged_count_),
        static_cast<unsigned long long>(beyond_count_),
        static_cast<unsigned long long>(heads_count_),
        clean ? "0 missing, 0 torn" : "FAILED");
  }

 private:
  void begin_folder() {
    std::error_code error;
    fs::remove_all(folder_, error);
    heads_.clear();
  }

  void wait_a_little() {
    // Sometimes before it has begun at all.
    const auto time = random_() % 10 == 0 ? random_() % 3'000 : random_() % 60'000;
    if (time > 3'000) {
      for (int i = 0; i < 5'000 && acknowledged_->counters[0].load() == 0; ++i) {
        ::usleep(1'000);
      }
    }
    ::usleep(static_cast<useconds_t>(time));
  }

  void collect_heads(int pipe) {
    PipedHead piped;
    while (::read(pipe, &piped, sizeof(piped)) == sizeof(piped)) {
      heads_.push_back({.node = "n1",
                        .shard = piped.shard,
                        .segment = piped.segment,
                        .sequence = piped.sequence,
                        .synced_sequence = piped.synced_sequence,
                        .time = WallTime(std::chrono::microseconds(piped.time)),
                        .hash = piped.hash,
                        .key = piped.key,
                        .signature = piped.signature});
      ++heads_count_;
      if (!heads_.back().signature_holds()) found("a head is not signed by its key");
    }
  }

  bool verify_now(std::string_view when) {
    std::error_code error;
    if (!fs::exists(folder_, error)) return true;  // Killed before it made anything.
    const auto report = verify(folder_, {.heads = heads_});
    if (!report) return found(fmt::format("{}: {}", when, report.error().detail()));
    if (!report->intact()) return found(fmt::format("{}:\n{}", when, to_text(*report)));
    return true;
  }

  // Every acknowledged record of this run is there, in order, with its content.
  bool compare() {
    std::error_code error;
    if (!fs::exists(folder_, error)) return true;
    auto reader =
        TrailReader::open(folder_, {.visit = VisitId(run_), .kinds = {RecordKind::key_write}});
    if (!reader) return found(reader.error().detail());
    std::array<std::uint64_t, shards_count> counters{};
    for (;;) {
      const auto entry = reader->next();
      if (!entry) return found(entry.error().detail());
      if (!*entry) break;
      std::uint64_t& counter = counters[(*entry)->shard];
      const auto write = decode<KeyWrite>((*entry)->record.fields());
      bool same = write.has_value();
      if (same) {
        write->for_each([&](const WrittenKey& each) {
          same = same && each.key.bytes == key_of((*entry)->shard, run_, ++counter);
        });
      }
      if (!same) {
        return found(fmt::format("record {} of shard {} has another content",
                                 (*entry)->record.header.sequence,
                                 (*entry)->shard));
      }
    }
    for (std::size_t shard = 0; shard < shards_count; ++shard) {
      const std::uint64_t claimed = acknowledged_->counters[shard].load();
      if (counters[shard] < claimed) {
        return found(fmt::format("shard {}: {} records were acknowledged and {} are there",
                                 shard,
                                 claimed,
                                 counters[shard]));
      }
      acknowledged_count_ += claimed;
      beyond_count_ += counters[shard] - claimed;
    }
    return true;
  }

  bool found(const std::string& what) {
    std::printf("kill %d: %s\n", kills_, what.c_str());
    return false;
  }

  fs::path folder_;
  std::mt19937_64 random_;
  Acknowledged* acknowledged_ = nullptr;
  std::vector<SignedHead> heads_;
  std::uint64_t run_ = 0;
  int kills_ = 0;
  std::uint64_t acknowledged_count_ = 0;
  std::uint64_t beyond_count_ = 0;
  std::uint64_t heads_count_ = 0;
};

int run(int count, char** arguments) {
  int kills = 20;
  std::uint64_t seed = 1;
  fs::path folder = fs::temp_directory_path() / fmt::format("trail-crash-{}", ::getpid());
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string_view name = arguments[i];
    if (name == "--kills") kills = std::atoi(arguments[i + 1]);
    if (name == "--seed") seed = std::strtoull(arguments[i + 1], nullptr, 10);
    if (name == "--folder") folder = arguments[i + 1];
  }
  std::printf("seed %llu, folder %s\n", static_cast<unsigned long long>(seed), folder.c_str());
  std::fflush(stdout);
  CrashTest test(folder, seed);
  bool clean = true;
  for (int i = 0; clean && i < kills; ++i) {
    clean = test.kill_once();
    std::fflush(stdout);
  }
  test.print_result(clean);
  std::error_code error;
  if (clean) fs::remove_all(folder, error);
  return clean ? 0 : 1;
}

}  // namespace
}  // namespace meridian::trail

int main(int count, char** arguments) {
  return meridian::trail::run(count, arguments);
}
