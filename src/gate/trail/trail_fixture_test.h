#pragma once
// What tests of the trail share: a folder of their own, loops in virtual time, and a few records.

#include "gate/trail/trail.h"
#include "gate/trail/trail_reader.h"
#include "gate/trail/verify.h"
#include "runtime/scope.h"
#include "runtime/sim/sim_loop.h"
#include "test/temporary_folder.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace meridian::trail {

// In memory where there is such a place: these tests sync often, and none of them cuts the power.
inline std::filesystem::path quick_place() {
  const std::filesystem::path memory = "/dev/shm";
  const bool usable = ::access(memory.c_str(), W_OK | X_OK) == 0;
  return usable ? memory : std::filesystem::temp_directory_path();
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
}

inline RequestId request_id(std::uint8_t number) {
  std::array<std::uint8_t, 16> bytes{};
  bytes[0] = 0x01;
  bytes[15] = number;
  return RequestId(bytes);
}

// A node called "n1" with shards on two loops in virtual time.
class TrailTest : public ::testing::Test {
 protected:
  TrailSettings settings() const {
    return {.folder = folder_.path() / "trail",
            .node = "n1",
            .version = "1.0",
            .segment_bytes = std::uint64_t{128} << 10,
            .sync_interval = std::chrono::seconds(1),
            .retention = std::chrono::days(90),
            .segment_age_max = std::chrono::days(1),
            .head_sink = {},
            .disk = Disk::system()};
  }

  Result<std::unique_ptr<Trail>> try_open(TrailSettings settings, std::size_t shards_count = 2) {
    std::vector<Loop*> loops{&main_, &other_};
    loops.resize(shards_count, &other_);
    return Trail::open(std::move(settings), loops, metrics_);
  }
  std::unique_ptr<Trail> open(TrailSettings settings, std::size_t shards_count = 2) {
    auto trail = try_open(std::move(settings), shards_count);
    EXPECT_TRUE(trail) << trail.error().detail();
    return trail ? std::move(*trail) : nullptr;
  }
  std::unique_ptr<Trail> open() { return open(settings()); }

  std::filesystem::path node_folder() const { return folder_.path() / "trail" / "n1"; }
  std::filesystem::path segment(std::uint32_t shard, std::uint64_t number) const {
    return node_folder() / segment_name(shard, number);
  }

  // Both loops' clocks go on by this.
  void advance(Duration duration) {
    for (SimLoop* loop : {&main_, &other_}) {
      Scope scope(*loop);
      scope.spawn([](Loop& on, Duration time) -> Async<> { (void)co_await on.sleep(time); }(
                                                  *loop, duration));
      EXPECT_TRUE(loop->run(loop->now().time_since_epoch() + duration));
    }
  }

  VerifyReport verify_all(const VerifySettings& wanted = {}) const {
    auto report = verify(folder_.path() / "trail", wanted);
    EXPECT_TRUE(report) << report.error().detail();
    return report ? *report : VerifyReport{};
  }

  // What the reader gives, each as the caller wants to see it.
  std::vector<RecordKind> kinds(Filter filter = {}) const {
    std::vector<RecordKind> found;
    each_entry(std::move(filter),
               [&](const Entry& entry) { found.push_back(entry.record.header.kind); });
    return found;
  }
  void each_entry(Filter filter, const std::function<void(const Entry&)>& see) const {
    auto reader = TrailReader::open(folder_.path() / "trail", std::move(filter));
    ASSERT_TRUE(reader) << reader.error().detail();
    for (;;) {
      const auto entry = reader->next();
      ASSERT_TRUE(entry) << entry.error().detail();
      if (!*entry) break;
      see(**entry);
    }
    EXPECT_TRUE(reader->broken().empty()) << reader->broken().front();
  }

  // One visit that does a little of everything, on one shard.
  static void record_a_visit(TrailWriter& writer, VisitId visit, RequestId request) {
    const RecordContext context{.visit = visit, .request = request};
    EXPECT_TRUE(writer.append(
        {.visit = visit, .request = {}},
        VisitOpened{
            .door = "postgres", .address = "192.0.2.1", .port = 40'000, .transport = "tls"}));
    EXPECT_TRUE(writer.append({.visit = visit, .request = {}},
                              Admitted{.issuer = "https://issuer.example.com",
                                       .subject = "shop:checkout",
                                       .role = "checkout",
                                       .token_id = "t-1",
                                       .binding = "checkout[0]",
                                       .expiry = WallTime(std::chrono::hours(500'000))}));
    EXPECT_TRUE(writer.append(context,
                              Statement{.fingerprint = Fingerprint(0xfeedULL),
                                        .ordinal = 1,
                                        .text_size = 70,
                                        .proven_read_only = false,
                                        .extended_protocol = true,
                                        .copy = false},
                              "update orders set state = $1 where id = $2"));
    EXPECT_TRUE(writer.add_outcome({.visit = visit,
                                    .ordinal = 1,
                                    .duration = std::chrono::microseconds(1'250),
                                    .rows_count = 1,
                                    .sqlstate = {}}));
    EXPECT_TRUE(writer.append(context, KeyWrite{.command = "SET", .key = "session:1"}));
    EXPECT_TRUE(writer.append(
        context,
        Denied{.door = "redis", .action = "write", .resource = "secret:1", .rule = "redis.write"}));
    EXPECT_TRUE(writer.append({.visit = visit, .request = {}},
                              VisitEnded{.reason = "client left",
                                         .statements_count = 1,
                                         .commands_count = 2,
                                         .reads_count = 0,
                                         .writes_count = 1,
                                         .bytes_in = 300,
                                         .bytes_out = 400,
                                         .duration = std::chrono::milliseconds(12)}));
  }

  TemporaryFolder folder_{quick_place()};
  Metrics metrics_;
  SimLoop main_{1};
  SimLoop other_{2};
};

}  // namespace meridian::trail
