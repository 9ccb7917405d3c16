#pragma once
// A node with a redis door and all that is behind it, in virtual time: gate, cache, a simulated
// database and a simulated Redis.
//
// Its one view is "g:{group}", two rows of the table "pairs"; a value is text such as "g:3=7,9", so
// that it says which key it belongs to and how old it is.

#include "cache/commit_wait.h"
#include "cache/invalidator.h"
#include "cache/keeper.h"
#include "cache/view_reader.h"
#include "doors/door_host.h"
#include "doors/redis/door.h"
#include "gate/trail/trail_fixture_test.h"
#include "redis/sim_redis_connector.h"
#include "runtime/sim/sim_stream.h"
#include "test/identity/gate_world.h"
#include "timeline/sim/sim_database.h"

#include <array>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace meridian::testing {

inline constexpr std::size_t groups_count = 6;
inline constexpr std::size_t rows_count = 2;  // Of a group.

// What a test switches off to see that its checks find it.
struct NodeMutations {
  CoherenceMutations coherence{};
  bool no_commit_wait = false;
  bool ignores_revocations = false;
  bool ignores_expiry = false;
  bool repeats_replies = false;  // Of Redis, now and then.
};

// The versions of a group's rows, as its value says them: "g:3=7,9".
inline std::string group_value(const SimDatabase::Tables& tables, const std::string& group) {
  const auto table = tables.find("pairs");
  std::string value = "g:" + group + "=";
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
    const std::string size = std::to_string(text->size());
    co_return ReadRows{.rows = Rows({"json", "text", "size"}, {*text, *text, size}), .boot = boot};
  }

 private:
  SimDatabase& database_;
};

// Reads from another stream, and now and then the same bytes twice: a Redis that is out of step.
class RepeatingStream final : public Stream {
 public:
  RepeatingStream(SimRandom& random, std::unique_ptr<Stream> below)
      : random_(random), below_(std::move(below)) {}

  Transfer try_read(std::span<char> into) override {
    if (!again_.empty()) {
      std::copy(again_.begin(), again_.end(), into.begin());
      return {.status = Transfer::Status::done, .size = std::exchange(again_, {}).size()};
    }
    const Transfer transfer = below_->try_read(into);
    if (transfer.size > 0 && ++reads_ > 4 && random_.chance(0.1)) {
      again_.assign(into.data(), transfer.size);
    }
    return transfer;
  }
  Transfer try_write(std::string_view bytes) override { return below_->try_write(bytes); }
  void shutdown_write() noexcept override { below_->shutdown_write(); }
  void close() noexcept override { below_->close(); }
  const Peer& peer() const noexcept override { return below_->peer(); }
  std::string failure() const override { return below_->failure(); }

 protected:
  bool watch(IoWait& wait, Interest interest) override {
    if (interest == Interest::read && !again_.empty()) return false;
    return watch_in(*below_, wait, interest);
  }

 private:
  SimRandom& random_;
  std::unique_ptr<Stream> below_;
  std::string again_;
  int reads_ = 0;
};

// Writes to another stream, and counts how often something left while writes that may be part of it
// were not on the trail.
class WatchedStream final : public Stream {
 public:
  WatchedStream(const trail::TrailWriter& trail, int& too_early, std::unique_ptr<Stream> below)
      : trail_(trail), too_early_(too_early), below_(std::move(below)) {}

  Transfer try_read(std::span<char> into) override { return below_->try_read(into); }
  Transfer try_write(std::string_view bytes) override {
    if (trail_.gathers_writes()) ++too_early_;
    return below_->try_write(bytes);
  }
  void shutdown_write() noexcept override { below_->shutdown_write(); }
  void close() noexcept override { below_->close(); }
  const Peer& peer() const noexcept override { return below_->peer(); }
  std::string failure() const override { return below_->failure(); }

 protected:
  bool watch(IoWait& wait, Interest interest) override { return watch_in(*below_, wait, interest); }

 private:
  const trail::TrailWriter& trail_;
  int& too_early_;
  std::unique_ptr<Stream> below_;
};

class NodeConnector final : public redis::RedisConnector {
 public:
  NodeConnector(SimLoop& loop, SimRedis& redis, SimWireOptions wire, bool repeats)
      : loop_(loop),
        below_(loop, redis, {.user = "default", .password = Secret(std::string("secret"))}, wire),
        repeats_(repeats) {}

  // From now on; `too_early` counts what was sent before it was on the trail.
  void watch(const trail::TrailWriter& trail, int& too_early) noexcept {
    trail_ = &trail;
    too_early_ = &too_early;
  }

  void set_down(bool down) noexcept { below_.set_down(down); }

  Async<Result<std::unique_ptr<Stream>>> connect(Deadline deadline) override {
    auto stream = co_await below_.connect(deadline);
    if (stream && trail_) {
      stream = std::make_unique<WatchedStream>(*trail_, *too_early_, std::move(*stream));
    }
    if (!stream || !repeats_) co_return stream;
    co_return std::unique_ptr<Stream>(
        std::make_unique<RepeatingStream>(loop_.random(), std::move(*stream)));
  }
  Async<Result<redis::RedisLogin>> login(Deadline deadline) override {
    return below_.login(deadline);
  }

 private:
  SimLoop& loop_;
  SimRedisConnector below_;
  bool repeats_;
  const trail::TrailWriter* trail_ = nullptr;
  int* too_early_ = nullptr;
};

class RedisDoorNode final : public InvalidationListener {
 public:
  explicit RedisDoorNode(std::uint64_t seed,
                         NodeMutations mutations = {},
                         VisitLimits visit_limits = {},
                         SimWireOptions redis_wire = {.delay_min = std::chrono::microseconds(5),
                                                      .delay_max = std::chrono::microseconds(200),
                                                      .piece_size_max = 400})
      : world(seed, gate_config()),
        loop(world.loop),
        database(loop, {}),
        coherence(4'096, mutations.coherence),
        store(reclaimer_, 64 * 40 * 1'000),
        flights(coherence),
        sim_redis(loop, {.password = "secret", .command_reply = {}}),
        connector(loop, sim_redis, redis_wire, mutations.repeats_replies),
        registry(loop, world.revocations.published(), visit_limits),
        commit_wait(
            loop, coherence, database, world.metrics, {.enabled = !mutations.no_commit_wait}),
        links(loop, connector, world.metrics, {.exclusive_max = 6, .exclusive_idle_max = 2}),
        mutations_(mutations),
        source_(database),
        invalidator_(coherence, *this, world.metrics),
        keeper_(loop, coherence, database, world.metrics),
        views_(loop, ViewCache{coherence, store, flights}, source_, world.metrics),
        view_set_(make_views()),
        commands_(known_commands()),
        trail_(open_trail()),
        door_(make_redis_door({.loop = loop,
                               .gate = world.gate,
                               .registry = registry,
                               .trail = trail_->writer(0),
                               .views = views_,
                               .links = links,
                               .view_set = view_set_,
                               .commands = commands_,
                               .tls = nullptr,
                               .metrics = world.metrics})),
        host(loop, trail_->writer(0), world.metrics, 0),
        scope_(loop) {
    connector.watch(trail_->writer(0), sent_too_early);
    world.set_roles(roles());
    coherence.add_watch(commit_wait);
    register_views();
  }
  ~RedisDoorNode() override { trail_->abandon(); }

  static GateConfig gate_config() {
    GateConfig config;
    config.clock_skew = Duration::zero();  // So that a token ends when it says so.
    config.login = {.failures_per_minute = 1e6, .failures_burst = 1e6};
    return config;
  }

  // For subjects that are called like it: "worker:7".
  static RoleConfig make_role(const std::string& name) {
    RoleConfig role;
    role.name = name;
    role.bindings.push_back(
        {.issuer = "corp", .subject = name + ":*", .claims = {}, .review_by = {}});
    role.redis.emplace();
    return role;
  }
  // "worker" reads and writes keys and reads views; "guest" reads views alone, "outsider"
  // neither.
  static std::vector<RoleConfig> roles() {
    RoleConfig worker = make_role("worker");
    worker.redis->read = {"g:*", "k:*", "ch:*"};
    worker.redis->write = {"k:*", "ch:*"};
    worker.redis->forget = {"g:*"};
    RoleConfig guest = make_role("guest");
    guest.redis->read = {"g:*"};
    RoleConfig outsider = make_role("outsider");
    outsider.redis->write = {"*"};
    return {worker, guest, outsider};
  }

  void start() {
    if (!mutations_.ignores_revocations)
      world.revocations.watch(loop, [this] { registry.check_revocations(); });
    if (!mutations_.ignores_expiry) registry.start();
    links.start();
    keeper_.start();
    database.start_feed(invalidator_);
  }

  // A client's end of a new connection, through the redis door unless another is given.
  std::unique_ptr<SimStream> connect(SimWireOptions wire,
                                     std::optional<Peer> peer = std::nullopt,
                                     Door* door = nullptr) {
    auto [ours, theirs] = SimStream::make_pair(loop, wire);
    if (peer) theirs->set_peer(*std::move(peer));
    host.admit(
        door ? *door : *door_, std::move(theirs), {.let_in = {}, .left = [this] { ++left_count; }});
    ++connected_count;
    return std::move(ours);
  }

  trail::TrailWriter& trail() noexcept { return trail_->writer(0); }

  // In the order of a node that stops.
  Async<> stop() {
    co_await host.drain(std::chrono::seconds(1));
    co_await registry.close();
    co_await views_.close();
    co_await commit_wait.close();
    co_await links.close();
    co_await keeper_.close();
    co_await sim_redis.stop();
    co_await scope_.join();
    co_await database.close();
    stopped = true;
  }

  // How many visits through this door the roles are counted to have.
  std::uint32_t role_visits() const {
    std::uint32_t count = 0;
    for (const auto& role : world.policy.get()->roles())
      count += role->redis_visits->value();
    return count;
  }

  GateWorld world;
  SimLoop& loop;
  SimDatabase database;
  Coherence coherence;

 private:
  Reclaimer reclaimer_;

 public:
  Store store;
  FlightBoard flights;
  SimRedis sim_redis;
  NodeConnector connector;
  VisitRegistry registry;
  CommitWait commit_wait;
  redis::LinkPool links;

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

  // What redis-server 7.0.15 says of its commands; read once a process.
  static std::shared_ptr<const resp::CommandTable> known_commands() {
    static const auto table = [] {
      std::ifstream file(MERIDIAN_REDIS_DATA "/command_reply_7.0.15.resp", std::ios::binary);
      const std::string reply{std::istreambuf_iterator<char>(file), {}};
      auto parsed = resp::CommandTable::parse(reply);
      MERIDIAN_ASSERT(parsed);
      return std::make_shared<const resp::CommandTable>(*std::move(parsed));
    }();
    return table;
  }

  std::unique_ptr<meridian::trail::Trail> open_trail() {
    std::array<Loop*, 1> loops{&loop};
    auto trail = trail::Trail::open({.folder = folder_.path() / "trail",
                                     .node = "n1",
                                     .version = "1.0",
                                     .segment_bytes = std::uint64_t{1} << 20,
                                     .head_sink = {},
                                     .disk = trail::Disk::system()},
                                    loops,
                                    world.metrics);
    MERIDIAN_ASSERT(trail);
    return *std::move(trail);
  }

  // The simulated feed numbers its relations from 1 on.
  void register_views() {
    invalidator_.set_views(view_set_.get(), {{.id = 1, .schema = "public", .table = "pairs"}});
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
    scope_.spawn([](RedisDoorNode& node) -> Async<> {
      (void)co_await node.loop.sleep(std::chrono::milliseconds(1));
      node.register_views();
    }(*this));
  }
  void feed_lost() override {}
  void feed_resumed(Position /*position*/) override { keeper_.transaction_delivered(); }

  NodeMutations mutations_;
  GroupReader source_;
  Invalidator invalidator_;
  Keeper keeper_;
  ViewReader views_;
  Published<ViewSet> view_set_;
  Published<resp::CommandTable> commands_;
  TemporaryFolder folder_{trail::quick_place()};
  std::unique_ptr<trail::Trail> trail_;
  std::unique_ptr<Door> door_;

 public:
  DoorHost host;
  std::uint64_t connected_count = 0;
  std::uint64_t left_count = 0;
  int sent_too_early = 0;  // What left for Redis before its record was on the trail.
  bool stopped = false;

 private:
  Scope scope_;
};

}  // namespace meridian::testing
