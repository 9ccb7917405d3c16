// No read that begins after a commit was acknowledged returns older data, and at rest every kept
// value equals the database: over seeds, with broken feeds, crashes, lazy commits and schema
// changes. Each part of the protocol that is switched off is found by the same checker.

#include "cache/commit_wait.h"
#include "cache/invalidator.h"
#include "cache/keeper.h"
#include "cache/view_reader.h"
#include "runtime/log.h"
#include "runtime/sim/sim_loop.h"
#include "sim/seeds.h"
#include "timeline/sim/sim_database.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace meridian {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t groups_count = 6;
constexpr std::size_t rows_count =
    2;  // Of a group: two rows make one value, so that two writers share a key.
constexpr std::size_t writers_count = 4;
constexpr std::size_t readers_count = 6;

struct Faults {
  bool commit_wait = true;
  CoherenceMutations mutations{};
  double lazy_share = 0.1;
  double disturbance_share =
      0.02;  // Of the writes, so many are followed by a broken feed or worse.
};

struct Outcome {
  std::uint64_t reads = 0;
  std::uint64_t hits = 0;
  std::uint64_t stale = 0;
  std::uint64_t poisoned = 0;
  std::uint64_t digest = 0;
};

std::string group_name(std::size_t group) {
  return std::to_string(group);
}

// One value of the view "g:{group}": the versions of its rows, "3,7".
std::string group_value(const SimDatabase::Tables& tables, const std::string& group) {
  const auto table = tables.find("pairs");
  std::string value;
  for (std::size_t row = 0; row < rows_count; ++row) {
    std::string version = "0";
    if (table != tables.end()) {
      const auto found = table->second.find({group, std::to_string(row)});
      if (found != table->second.end()) version = found->second;
    }
    value += (row == 0 ? "" : ",") + version;
  }
  return value;
}

std::array<std::uint64_t, rows_count> parse_value(std::string_view text) {
  std::array<std::uint64_t, rows_count> versions{};
  const std::size_t comma = text.find(',');
  versions[0] = std::strtoull(std::string(text.substr(0, comma)).c_str(), nullptr, 10);
  versions[1] = std::strtoull(std::string(text.substr(comma + 1)).c_str(), nullptr, 10);
  return versions;
}

class GroupReader final : public Reader {
 public:
  explicit GroupReader(SimDatabase& database) : database_(database) {}

  Async<Result<ReadRows>> read(std::shared_ptr<const ReadQuery> /*query*/,
                               std::vector<std::string> parameters,
                               Deadline /*deadline*/) override {
    const BootId boot = database_.boot();
    auto text =
        co_await database_.read([group = parameters.at(0)](const SimDatabase::Tables& tables) {
          return group_value(tables, group);
        });
    if (!text) co_return std::unexpected(text.error());
    co_return ReadRows{.rows = Rows({"json"}, {*text}), .boot = boot};
  }

 private:
  SimDatabase& database_;
};

// The whole node without its doors.
class World final : public InvalidationListener {
 public:
  World(std::uint64_t seed, Faults faults)
      : loop_(seed),
        faults_(faults),
        database_(loop_, {}),
        coherence_(4'096, faults.mutations),
        store_(reclaimer_, 64 * 40 * 1'000),
        flights_(coherence_),
        source_(database_),
        invalidator_(coherence_, *this, metrics_),
        keeper_(loop_, coherence_, database_, metrics_),
        commit_wait_(loop_, coherence_, database_, metrics_, {.enabled = faults.commit_wait}),
        views_(make_views()),
        scope_(loop_) {
    coherence_.add_watch(commit_wait_);
    register_views();
    for (std::size_t i = 0; i < 2; ++i) {
      readers_.push_back(std::make_unique<ViewReader>(
          loop_, ViewCache{coherence_, store_, flights_}, source_, metrics_));
    }
  }

  Outcome run() {
    keeper_.start();
    database_.start_feed(invalidator_);
    scope_.spawn(drive());
    EXPECT_TRUE(loop_.run(seconds(3'600))) << "the run did not come to rest";
    outcome_.digest = loop_.digest();
    return outcome_;
  }

 private:
  static std::shared_ptr<const ViewSet> make_views() {
    auto view = std::make_shared<View>();
    view->name = "g";
    view->pattern = *KeyPattern::parse("g:{group}");
    view->dependencies.push_back(
        {.schema = "public",
         .table = "pairs",
         .equalities = {{.column = "k0", .part = 0, .type = PartType::integer}},
         .reason = {}});
    return std::make_shared<ViewSet>(std::vector<std::shared_ptr<const View>>{view}, 1, 0);
  }

  // The simulated feed numbers its relations from 1 on.
  void register_views() {
    invalidator_.set_views(views_, {{.id = 1, .schema = "public", .table = "pairs"}});
  }

  Async<> drive() {
    Scope writers(loop_);
    Scope readers(loop_);
    for (std::size_t i = 0; i < writers_count; ++i)
      writers.spawn(write());
    for (std::size_t i = 0; i < readers_count; ++i)
      readers.spawn(read(*readers_[i % 2]));
    co_await writers.join();
    done_ = true;
    co_await readers.join();
    co_await rest();
    for (const auto& reader : readers_)
      co_await reader->close();
    co_await commit_wait_.close();
    co_await keeper_.close();
    co_await database_.close();
  }

  Async<> write() {
    SimRandom& random = loop_.random();
    for (int i = 0; i < 60; ++i) {
      const std::size_t group = random.below(groups_count);
      const std::size_t row = random.below(rows_count);
      const std::uint64_t version = ++next_version_;
      std::uint64_t& latest = latest_[group][row];
      // Versions of a row go up in the order of their commits, as with a row lock.
      if (busy_[group][row]) continue;
      busy_[group][row] = true;
      const bool lazy = random.chance(faults_.lazy_share);
      latest = version;
      std::vector<SimWrite> writes;
      writes.push_back({.table = "pairs",
                        .key = {group_name(group), std::to_string(row)},
                        .value = std::to_string(version)});
      const std::uint64_t boot = database_.boot();
      auto written = co_await database_.write(std::move(writes), lazy);
      if (written && commit_wait_.needed()) (void)co_await commit_wait_.wait(lazy);
      // A lazy commit may be lost with the server; then its acknowledgement was worth nothing.
      if (written && boot == database_.boot()) acknowledged_[group][row] = version;
      if (written && lazy) lazy_[group][row] = true;
      busy_[group][row] = false;
      if (random.chance(faults_.disturbance_share)) disturb();
      (void)co_await loop_.sleep(microseconds(random.below(400)));
    }
  }

  void disturb() {
    switch (loop_.random().below(3)) {
      case 0:
        database_.break_feed();
        break;
      case 1:
        database_.crash();
        forget_lazy_acknowledgements();
        break;
      default:
        scope_.spawn([](SimDatabase& database) -> Async<> {
          (void)co_await database.change_schema();
        }(database_));
    }
  }

  // After a crash the floor of a row with lazy commits is what the database recovered.
  void forget_lazy_acknowledgements() {
    for (std::size_t group = 0; group < groups_count; ++group) {
      const auto recovered = parse_value(group_value(database_.visible(), group_name(group)));
      for (std::size_t row = 0; row < rows_count; ++row) {
        if (lazy_[group][row]) {
          acknowledged_[group][row] = std::min(acknowledged_[group][row], recovered[row]);
        }
        lazy_[group][row] = false;
      }
    }
  }

  Async<> read(ViewReader& reader) {
    SimRandom& random = loop_.random();
    while (!done_) {
      const std::size_t group = random.below(groups_count);
      const std::string text = "g:" + group_name(group);
      const auto key = views_->find(text);
      const auto floor = acknowledged_[group];
      const std::uint64_t boot = database_.boot();
      std::string value;
      ++outcome_.reads;
      if (const Entry* const entry = reader.hit(*key)) {
        ++outcome_.hits;
        value = entry->json();
      } else {
        const auto passenger = reader.board(*key);
        (void)co_await passenger->landed.wait(loop_.after(seconds(10)));
        if (passenger->result && *passenger->result) value = (**passenger->result)->json;
      }
      // A crash between the two moments may have taken lazy commits with it.
      if (!value.empty() && boot == database_.boot()) {
        const auto seen = parse_value(value);
        for (std::size_t row = 0; row < rows_count; ++row) {
          if (seen[row] < floor[row]) ++outcome_.stale;
        }
      }
      (void)co_await loop_.sleep(microseconds(random.below(150)));
    }
  }

  // At rest: the feed has delivered everything, and what is kept is what the database has.
  Async<> rest() {
    auto last = co_await database_.flushed(Deadline::never());
    while (last && (coherence_.applied() < last->value || !coherence_.serving())) {
      (void)co_await loop_.sleep(milliseconds(10));
      last = co_await database_.flushed(Deadline::never());
    }
    (void)co_await loop_.sleep(seconds(10));
    store_.for_each([&](const Entry& entry) {
      if (!coherence_.valid(entry.stamp())) return;
      const std::string group(entry.key().substr(2));
      if (entry.json() != group_value(database_.visible(), group)) ++outcome_.poisoned;
    });
  }

  void voided(TransactionId /*transaction*/,
              Position /*end*/,
              RequestId /*request*/,
              std::span<const VoidedKey> /*keys*/,
              std::size_t /*voided_count*/) override {
    keeper_.transaction_delivered();
  }
  void schema_changed(Position /*end*/, bool /*matters*/) override {
    // Looking up the views again takes a while.
    scope_.spawn([](World& world) -> Async<> {
      (void)co_await world.loop_.sleep(milliseconds(1));
      world.register_views();
    }(*this));
  }
  void feed_lost() override {}
  void feed_resumed(Position /*position*/) override { keeper_.transaction_delivered(); }

  SimLoop loop_;
  Faults faults_;
  Metrics metrics_;
  SimDatabase database_;
  Coherence coherence_;
  Reclaimer reclaimer_;
  Store store_;
  FlightBoard flights_;
  GroupReader source_;
  Invalidator invalidator_;
  Keeper keeper_;
  CommitWait commit_wait_;
  std::shared_ptr<const ViewSet> views_;
  std::vector<std::unique_ptr<ViewReader>> readers_;
  Scope scope_;
  bool done_ = false;
  std::uint64_t next_version_ = 0;
  using PerRow = std::array<std::array<std::uint64_t, rows_count>, groups_count>;
  PerRow latest_{};
  PerRow acknowledged_{};
  std::array<std::array<bool, rows_count>, groups_count> busy_{};
  std::array<std::array<bool, rows_count>, groups_count> lazy_{};
  Outcome outcome_;
};

Outcome total(std::uint64_t seeds, Faults faults, bool until_found = false) {
  set_log_level(LogLevel::error);  // Broken feeds are the rule here.
  Outcome sum;
  const std::uint64_t first = testing::first_seed();
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    const Outcome one = World(seed, faults).run();
    if (one.stale + one.poisoned != 0 && sum.stale + sum.poisoned == 0) {
      std::printf("first finding: seed %llu\n", static_cast<unsigned long long>(seed));
    }
    sum.reads += one.reads;
    sum.hits += one.hits;
    sum.stale += one.stale;
    sum.poisoned += one.poisoned;
    if (until_found && sum.stale != 0) break;
  }
  std::printf("%llu seeds: %llu checked reads, %llu hits, %llu stale, %llu poisoned\n",
              static_cast<unsigned long long>(seeds),
              static_cast<unsigned long long>(sum.reads),
              static_cast<unsigned long long>(sum.hits),
              static_cast<unsigned long long>(sum.stale),
              static_cast<unsigned long long>(sum.poisoned));
  return sum;
}

TEST(CoherenceSim, NothingIsStaleAndNothingIsPoisoned) {
  const Outcome outcome = total(testing::seeds_count(), {});
  EXPECT_EQ(outcome.stale, 0U);
  EXPECT_EQ(outcome.poisoned, 0U);
  // The cache has to have been of use, or the test proves nothing.
  EXPECT_GT(outcome.hits * 10, outcome.reads);
}

TEST(CoherenceSim, OneSeedIsOneRun) {
  EXPECT_EQ(World(42, {}).run().digest, World(42, {}).run().digest);
}

// Each of these must be found, or the checker is blind.
constexpr std::uint64_t mutation_seeds = 200;

Outcome found(Faults faults) {
  return total(mutation_seeds, faults, true);
}

TEST(CoherenceSim, FindsThatCommitsDoNotWait) {
  EXPECT_GT(found({.commit_wait = false}).stale, 0U);
}

TEST(CoherenceSim, FindsThatThereIsNoFence) {
  const Outcome outcome = found({.mutations = {.no_fence = true}});
  EXPECT_GT(outcome.stale + outcome.poisoned, 0U);
}

TEST(CoherenceSim, FindsThatOnlyTheLastTransactionIsRemembered) {
  const Outcome outcome = found({.mutations = {.last_pending_only = true}});
  EXPECT_GT(outcome.stale + outcome.poisoned, 0U);
}

TEST(CoherenceSim, FindsThatEveryFlightMayBeJoined) {
  EXPECT_GT(found({.mutations = {.naive_join = true}}).stale, 0U);
}

TEST(CoherenceSim, FindsThatFillsSurviveInvalidation) {
  const Outcome outcome = found({.mutations = {.no_token = true}});
  EXPECT_GT(outcome.stale + outcome.poisoned, 0U);
}

}  // namespace
}  // namespace meridian
