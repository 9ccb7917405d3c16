// What it costs a loop to append to the trail, while it is synced and signed beside it.
//
//   trail_append [FOLDER [SECONDS]]      the folder is made and must not be there
//
// One line for each kind of record: nanoseconds, bytes on the disk, and how long a batch of a
// hundred takes at most and in all but one of a thousand. Then how fast it all verifies.

#include "gate/trail/key_read_tally.h"
#include "gate/trail/trail.h"
#include "gate/trail/verify.h"
#include "runtime/epoll_loop.h"
#include "runtime/scope.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::trail {
namespace {

constexpr int batch_size = 100;

struct Measurement {
  std::string_view name;
  std::function<Result<void>(TrailWriter&, std::uint32_t)> append;
};

constexpr RecordContext context{.visit = VisitId(42),
                                .request = RequestId({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})};

const std::vector<Measurement>& measurements() {
  static const std::vector<Measurement> all{
      {"statement",
       [](TrailWriter& writer, std::uint32_t i) {
         return writer.append(context,
                              Statement{.fingerprint = Fingerprint(0x1234567890abcdef + i % 20),
                                        .ordinal = i,
                                        .text_size = 120,
                                        .proven_read_only = true,
                                        .extended_protocol = true,
                                        .copy = false},
                              "select name, price from products where id = $1");
       }},
      {"statement_outcome",
       [](TrailWriter& writer, std::uint32_t i) {
         return writer.add_outcome({.visit = VisitId(42),
                                    .ordinal = i,
                                    .duration = std::chrono::microseconds(321),
                                    .rows_count = 1,
                                    .sqlstate = {}});
       }},
      {"key_write, alone",
       [](TrailWriter& writer, std::uint32_t) {
         const auto added = writer.add_write(context, "SET", "session:0123456789abcdef");
         writer.flush_writes();
         return added;
       }},
      {"key_write, of 16",
       [](TrailWriter& writer, std::uint32_t i) {
         const auto added = writer.add_write(context, "SET", "session:0123456789abcdef");
         if (i % 16 == 0) writer.flush_writes();
         return added;
       }},
      {"key_read, counted",
       [](TrailWriter& writer, std::uint32_t i) -> Result<void> {
         static KeyReadTally tally(writer, context);  // There is one writer.
         static constexpr std::string_view keys[]{"order:10000", "order:10007", "order:10011"};
         MERIDIAN_CHECK(tally.read("order", keys[i % std::size(keys)], KeyRead::hit));
         if (i % 1'000 == 0) return tally.flush();
         return {};
       }},
      {"denied", [](TrailWriter& writer, std::uint32_t) {
         return writer.append(context,
                              Denied{.door = "redis",
                                     .action = "write",
                                     .resource = "order:12345",
                                     .rule = "roles.storefront.redis.write"});
       }}};
  return all;
}

Async<> measure(Trail& trail, Metrics& metrics, Loop& loop, Scope& sealing, double seconds) {
  TrailWriter& writer = trail.writer(0);
  std::printf("%-20s %10s %8s %12s %12s\n", "record", "ns", "bytes", "p99.9 us/100", "max us/100");
  for (const Measurement& each : measurements()) {
    std::vector<double> batches;
    const std::uint64_t bytes_before =
        metrics.total("meridian_trail_bytes_total", {{"shard", "0"}});
    const Time end =
        loop.now() + std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
    std::uint32_t count = 0;
    while (loop.now() < end) {
      const Time begun = loop.now();
      int appended = 0;
      while (appended < batch_size && each.append(writer, count + 1)) {
        ++appended;
        ++count;
      }
      writer.flush_writes();
      if (appended < batch_size) {
        // Faster than segments can be prepared, and than any client is.
        (void)co_await loop.sleep(std::chrono::milliseconds(1));
        continue;
      }
      batches.push_back(static_cast<double>((loop.now() - begun).count()));
      (void)co_await loop.yield();
    }
    const std::uint64_t bytes =
        metrics.total("meridian_trail_bytes_total", {{"shard", "0"}}) - bytes_before;
    std::ranges::sort(batches);
    std::printf("%-20s %10.0f %8.0f %12.0f %12.0f\n",
                std::string(each.name).c_str(),
                batches[batches.size() / 2] / batch_size,
                static_cast<double>(bytes) / count,
                batches[batches.size() * 999 / 1'000] / 1e3,
                batches.back() / 1e3);
  }
  sealing.cancel();
  co_await sealing.join();
  static_cast<EpollLoop&>(loop).stop();
}

int run(int count, char** arguments) {
  const std::filesystem::path folder =
      count > 1 ? std::filesystem::path(arguments[1])
                : std::filesystem::temp_directory_path() / "meridian-trail-bench";
  const double seconds = count > 2 ? std::atof(arguments[2]) : 2.0;
  if (std::filesystem::exists(folder)) {
    std::fprintf(stderr, "%s is there already\n", folder.c_str());
    return 2;
  }
  EpollLoop loop;
  Metrics metrics;
  Loop* loops[] = {&loop};
  auto trail = Trail::open({.folder = folder, .node = "bench"}, loops, metrics);
  if (!trail) {
    std::fprintf(stderr, "%s\n", trail.error().detail().c_str());
    return 1;
  }
  Scope scope(loop);
  Scope sealing(loop);
  sealing.spawn((*trail)->run());
  scope.spawn(measure(**trail, metrics, loop, sealing, seconds));
  loop.run();
  const auto closed = (*trail)->close("measured");
  const Time begun = loop.now();
  const auto report = verify(folder, {});
  const double verified = std::chrono::duration<double>(loop.now() - begun).count();
  if (report && report->intact() && report->shards.size() == 1) {
    const auto records = static_cast<double>(report->shards[0].records_count);
    std::printf(
        "verified %.0f records, %.1f million a second\n", records, records / verified / 1e6);
  } else {
    std::printf("the trail does not verify\n");
    return 1;
  }
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  return closed ? 0 : 1;
}

}  // namespace
}  // namespace meridian::trail

int main(int count, char** arguments) {
  return meridian::trail::run(count, arguments);
}
