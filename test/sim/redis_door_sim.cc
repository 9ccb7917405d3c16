// Through the redis door nobody reads before a login or after it is worth nothing, each reply
// answers its own request, no view is older than a commit acknowledged before it was asked for, and
// nothing is left behind: over seeds, with short tokens, revocations, links that break, a database
// that crashes, slow and torn clients. Each guard that is switched off is found by the same checks.

#include "runtime/log.h"
#include "sim/redis_client.h"
#include "sim/seeds.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace meridian::testing {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t clients_count = 8;
constexpr std::size_t writers_count = 2;

struct Faults {
  bool redis_breaks = true;
  bool database_breaks = true;
  bool revocations = true;
  double wire_break_share = 0.002;
  NodeMutations mutations{};
};

class DoorRun {
 public:
  DoorRun(std::uint64_t seed, const Faults& faults)
      : faults_(faults),
        node_(seed, faults.mutations),
        loop_(node_.loop),
        clients_world_{.node = node_,
                       .acknowledged = acknowledged_,
                       .findings = findings_,
                       .redis_faults = redis_faults_},
        scope_(loop_),
        disturbances_(loop_) {
    for (std::size_t i = 0; i < clients_count; ++i) {
      const bool guest = i % 4 == 3;
      rights_.push_back(std::make_unique<Rights>(
          Rights{.subject = (guest ? "guest:" : "worker:") + std::to_string(i),
                 .role = guest ? "guest" : "worker",
                 .revoked_at = {}}));
      clients_.push_back(
          std::make_unique<RedisClient>(clients_world_, i, *rights_.back(), some_wire()));
    }
  }

  Findings run() {
    node_.start();
    scope_.spawn(drive());
    while (!node_.stopped && loop_.now() < Time(seconds(1'000)))
      (void)loop_.run(loop_.now().time_since_epoch() + seconds(10));
    EXPECT_TRUE(node_.stopped) << "the run did not come to rest";
    check_for_leaks();
    return findings_;
  }
  std::uint64_t digest() const { return loop_.digest(); }

 private:
  // Each client has a wire of its own kind.
  SimWireOptions some_wire() {
    SimRandom& random = loop_.random();
    SimWireOptions wire{.delay_min = microseconds(5), .delay_max = microseconds(150)};
    if (random.chance(0.5)) wire.piece_size_max = 1 + random.below(40);
    if (random.chance(0.25)) wire.buffered_max = 2'048;
    if (random.chance(0.25)) wire.break_share = faults_.wire_break_share;
    return wire;
  }

  Async<> drive() {
    Scope clients(loop_);
    Scope writers(loop_);
    for (const auto& client : clients_)
      clients.spawn(client->run(2, 14));
    for (std::size_t i = 0; i < writers_count; ++i)
      writers.spawn(write());
    disturbances_.spawn(disturb());
    co_await clients.join();
    done_ = true;
    co_await writers.join();
    co_await disturbances_.close();
    node_.connector.set_down(false);
    clients_world_.stopping = true;
    co_await node_.stop();
  }

  // Most clients have left by then; the others rest for seconds.
  int pace() const { return loop_.now() < Time(milliseconds(120)) ? 1 : 60; }

  // Versions of a row go up in the order of their commits, as with a row lock.
  Async<> write() {
    SimRandom& random = loop_.random();
    while (!done_) {
      const std::size_t group = random.below(groups_count);
      const std::size_t row = random.below(rows_count);
      if (!busy_[group][row]) {
        busy_[group][row] = true;
        const std::uint64_t version = ++next_version_;
        std::vector<SimWrite> writes;
        writes.push_back({.table = "pairs",
                          .key = {std::to_string(group), std::to_string(row)},
                          .value = std::to_string(version)});
        auto written = co_await node_.database.write(std::move(writes), false);
        if (written && node_.commit_wait.needed()) (void)co_await node_.commit_wait.wait(false);
        if (written) acknowledged_[group][row] = version;
        busy_[group][row] = false;
      }
      (void)co_await loop_.sleep(microseconds(random.below(1'500)) * pace());
    }
  }

  Async<> disturb() {
    SimRandom& random = loop_.random();
    while (co_await loop_.sleep(milliseconds(3 + random.below(25)) * pace()) == Wake::ready) {
      const std::uint64_t choice = random.below(10);
      if (choice < 3 && faults_.redis_breaks) {
        ++redis_faults_;
        node_.sim_redis.break_connections();
        node_.connector.set_down(true);
        const bool slept = co_await loop_.sleep(microseconds(random.below(20'000))) == Wake::ready;
        node_.connector.set_down(false);
        ++redis_faults_;
        if (!slept) co_return;
      } else if (choice < 5 && faults_.database_breaks) {
        node_.database.break_feed();
      } else if (choice < 6 && faults_.database_breaks) {
        node_.database.crash();
      } else if (choice < 7 && faults_.revocations) {
        revoke(*rights_[random.below(clients_count)]);
      }
    }
  }

  void revoke(Rights& rights) {
    if (rights.revoked_at) return;
    const WallTime now = loop_.wall_now();
    Revocation revocation;
    revocation.id = revocation.subject = rights.subject;
    revocation.created_at = now;
    revocation.expires_at = now + std::chrono::hours(24);
    revocation.until = revocation.expires_at;
    auto added = node_.world.revocations.add(std::move(revocation), now);
    ASSERT_TRUE(added) << added.error().detail();
    rights.revoked_at = loop_.now();
  }

  void check_for_leaks() {
    const auto expect_none = [&](std::uint64_t count, const std::string& what) {
      if (count == 0) return;
      findings_.note(findings_.leaked, std::to_string(count) + " " + what + " are left");
    };
    const Metrics& metrics = node_.world.metrics;
    expect_none(node_.host.visits_count(), "visits");
    expect_none(node_.registry.count(), "places in the registry");
    expect_none(node_.role_visits(), "places of roles");
    expect_none(node_.connected_count - node_.left_count, "connections that nobody told of");
    expect_none(metrics.total("meridian_visits"), "visits in the metrics");
    expect_none(metrics.total("meridian_redis_links"), "links");
    expect_none(node_.sim_redis.connections_count(), "connections to Redis");
    expect_none(node_.flights.count(), "flights");
    EXPECT_EQ(node_.sent_too_early, 0) << "sends to Redis came before their records";
  }

  Faults faults_;
  Findings findings_;
  Floors acknowledged_{};
  std::uint64_t redis_faults_ = 0;
  RedisDoorNode node_;
  SimLoop& loop_;
  ClientWorld clients_world_;
  std::vector<std::unique_ptr<Rights>> rights_;
  std::vector<std::unique_ptr<RedisClient>> clients_;
  Scope scope_;
  Scope disturbances_;
  bool done_ = false;
  std::uint64_t next_version_ = 0;
  std::array<std::array<bool, rows_count>, groups_count> busy_{};
};

Findings total(std::uint64_t seeds, const Faults& faults, bool until_found = false) {
  set_log_level(LogLevel::error);  // What goes wrong here is meant to.
  Findings sum;
  const std::uint64_t first = first_seed();
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    const Findings one = DoorRun(seed, faults).run();
    if (one.wrong() != 0 && sum.wrong() == 0) {
      std::printf("first finding: seed %llu: %s\n",
                  static_cast<unsigned long long>(seed),
                  one.first.c_str());
    }
    sum.add(one);
    if (until_found && sum.wrong() != 0) break;
  }
  std::printf(
      "%llu replies: %llu views, %llu keys, %llu transactions, %llu messages, %llu refusals, "
      "%llu losses, %llu cut off; stale %llu, misplaced %llu, unwarranted %llu, missing %llu, "
      "unexplained %llu, leaked %llu\n",
      static_cast<unsigned long long>(sum.replies),
      static_cast<unsigned long long>(sum.view_values),
      static_cast<unsigned long long>(sum.key_values),
      static_cast<unsigned long long>(sum.transactions),
      static_cast<unsigned long long>(sum.pushes),
      static_cast<unsigned long long>(sum.refusals),
      static_cast<unsigned long long>(sum.link_losses),
      static_cast<unsigned long long>(sum.cut_off),
      static_cast<unsigned long long>(sum.stale),
      static_cast<unsigned long long>(sum.misplaced),
      static_cast<unsigned long long>(sum.unwarranted),
      static_cast<unsigned long long>(sum.missing),
      static_cast<unsigned long long>(sum.unexplained),
      static_cast<unsigned long long>(sum.leaked));
  return sum;
}

TEST(RedisDoorSim, EveryReplyIsRightAndNobodyIsToldMoreThanHeMay) {
  const Findings findings = total(seeds_count(), {});
  EXPECT_EQ(findings.wrong(), 0U) << findings.first;
  // All of it has to have happened, or the test proves nothing.
  EXPECT_GT(findings.view_values, 0U);
  EXPECT_GT(findings.key_values, 0U);
  EXPECT_GT(findings.transactions, 0U);
  EXPECT_GT(findings.pushes, 0U);
  EXPECT_GT(findings.link_losses, 0U);
  EXPECT_GT(findings.cut_off, 0U);
}

TEST(RedisDoorSim, WithoutFaultsNothingIsLost) {
  const Findings findings = total(50,
                                  {.redis_breaks = false,
                                   .database_breaks = false,
                                   .revocations = false,
                                   .wire_break_share = 0});
  EXPECT_EQ(findings.wrong(), 0U) << findings.first;
  EXPECT_EQ(findings.link_losses, 0U);
}

TEST(RedisDoorSim, OneSeedIsOneRun) {
  const auto digest = [] {
    DoorRun run(42, {});
    (void)run.run();
    return run.digest();
  };
  EXPECT_EQ(digest(), digest());
}

// Each of these must be found, or the checks are blind.
constexpr std::uint64_t mutation_seeds = 200;

Findings found(NodeMutations mutations) {
  Faults faults;
  faults.mutations = mutations;
  return total(mutation_seeds, faults, true);
}

TEST(RedisDoorSim, FindsThatThereIsNoFence) {
  EXPECT_GT(found({.coherence = {.no_fence = true}}).stale, 0U);
}

TEST(RedisDoorSim, FindsThatCommitsDoNotWait) {
  EXPECT_GT(found({.no_commit_wait = true}).stale, 0U);
}

TEST(RedisDoorSim, FindsThatFillsSurviveInvalidation) {
  EXPECT_GT(found({.coherence = {.no_token = true}}).stale, 0U);
}

TEST(RedisDoorSim, FindsThatRevocationsAreNotHeardOf) {
  EXPECT_GT(found({.ignores_revocations = true}).unwarranted, 0U);
}

TEST(RedisDoorSim, FindsThatTokensDoNotExpire) {
  EXPECT_GT(found({.ignores_expiry = true}).unwarranted, 0U);
}

TEST(RedisDoorSim, FindsThatRedisIsOutOfStep) {
  EXPECT_GT(found({.repeats_replies = true}).misplaced, 0U);
}

}  // namespace
}  // namespace meridian::testing
