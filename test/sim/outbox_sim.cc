// The whole outbox against a model of the database and of the stream, while everything fails at
// random: statements whose answer is lost, feeds that break, streams that drop connections with
// messages under way, owners that die and others that take over. In the end the stream holds every
// committed row once, in an order that no reader of the database could contradict; and in exactly
// the order of the commits where the feed has never broken.

#include "base/hex.h"
#include "runtime/sim/sim_loop.h"
#include "streams/outbox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace meridian {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct Faults {
  double lost_answer = 0;  // Of a statement, done or not.
  double sink_break = 0;   // Of each acknowledgement.
  bool feed_breaks = false;
  bool owners_die = false;
};

// PostgreSQL as far as the outbox can tell: transactions, snapshots, one log.
class Database {
 public:
  struct Row {
    std::uint64_t id = 0;
    std::uint64_t transaction = 0;
  };
  struct Transaction {
    std::uint64_t id = 0;
    std::vector<std::uint64_t> rows;
    bool committed = false;  // In the log.
    bool visible = false;
    bool ended = false;
    std::uint64_t position = 0;
    Time visible_at{};
    Time last_write_at{};
  };

  explicit Database(SimLoop& loop) : loop_(loop), logged(loop) {}

  Transaction& begin() {
    auto transaction = std::make_shared<Transaction>();
    transaction->id = next_transaction_++;
    open_.insert(transaction->id);
    transactions.emplace(transaction->id, transaction);
    return *transaction;
  }
  void insert(Transaction& transaction) {
    transaction.rows.push_back(next_id_++);
    transaction.last_write_at = loop_.now();
    rows.emplace(transaction.rows.back(), transaction.id);
  }
  void log_commit(Transaction& transaction) {
    transaction.committed = true;
    transaction.position = ++log_end;
    log.push_back(transaction.id);
    logged.notify_all();
  }
  void end(Transaction& transaction) {
    open_.erase(transaction.id);
    transaction.ended = true;
    if (!transaction.committed) return;
    transaction.visible = true;
    transaction.visible_at = loop_.now();
  }
  bool visible(std::uint64_t row) const { return transactions.at(rows.at(row))->visible; }
  Snapshot snapshot() const { return Snapshot(next_transaction_, {open_.begin(), open_.end()}); }
  std::string snapshot_text() const {
    std::string text = std::to_string(oldest()) + ":" + std::to_string(next_transaction_) + ":";
    for (const std::uint64_t id : open_)
      text += (text.back() == ':' ? "" : ",") + std::to_string(id);
    return text;
  }
  std::uint64_t oldest() const { return open_.empty() ? next_transaction_ : *open_.begin(); }
  OutboxHorizon horizon() const {
    return {.id = next_id_ - 1, .next_transaction = next_transaction_};
  }

  std::map<std::uint64_t, std::shared_ptr<Transaction>> transactions;
  std::map<std::uint64_t, std::uint64_t> rows;  // To their transactions.
  std::vector<std::uint64_t> log;               // Committed transactions in order.
  std::uint64_t log_end = 0;
  std::uint64_t epoch = 0;
  OutboxMarks marks{.installation = "sim"};
  std::vector<OutboxBatch> batches;
  std::size_t exact_from = SIZE_MAX;  // Of the log: what was committed when the feed counted first.

 private:
  SimLoop& loop_;
  std::uint64_t next_transaction_ = 100;
  std::uint64_t next_id_ = 1;
  std::set<std::uint64_t> open_;

 public:
  Event logged;
};

// What one owner's session does there.
class ModelStore final : public OutboxStore {
 public:
  ModelStore(SimLoop& loop, Database& database, const Faults& faults, std::uint64_t epoch)
      : loop_(loop), database_(database), faults_(faults), epoch_(epoch) {}

  Async<Result<OutboxMarks>> marks(Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(false));
    co_return database_.marks;
  }
  Async<Result<Snapshot>> number(OutboxBatch batch, Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(true));
    Snapshot seen = database_.snapshot();
    if (database_.marks.numbered == batch.first - 1) {
      database_.marks.numbered += batch.count;
      database_.batches.push_back(batch);
    } else {
      const auto same = std::ranges::find(database_.batches, batch);
      if (same == database_.batches.end()) co_return fail(Errc::denied, "given [MLEAS]");
    }
    MERIDIAN_CO_CHECK(co_await after());
    co_return seen;
  }
  Async<Result<std::uint64_t>> number_backlog(std::string snapshot,
                                              std::vector<TransactionId> excluded,
                                              std::uint64_t id_limit,
                                              Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(true));
    const Snapshot seen = *Snapshot::parse(snapshot);
    std::set<std::uint64_t> given;
    for (const OutboxBatch& batch : database_.batches) {
      for (const IdRun& run : batch.runs) {
        for (std::uint64_t i = 0; i < run.count; ++i)
          given.insert(run.first + i);
      }
    }
    std::map<std::uint64_t, std::vector<std::uint64_t>> found;  // By transaction.
    for (const auto& [id, transaction] : database_.rows) {
      if (id <= database_.marks.settled_id || id > id_limit || given.contains(id)) continue;
      const auto short_id = static_cast<TransactionId>(transaction);
      if (!database_.visible(id) || !seen.sees(short_id)) continue;
      if (std::ranges::find(excluded, short_id) != excluded.end()) continue;
      found[transaction].push_back(id);
    }
    std::vector<std::vector<std::uint64_t>> ordered;
    for (auto& [transaction, ids] : found)
      ordered.push_back(std::move(ids));
    std::ranges::sort(ordered, {}, [](const auto& ids) { return ids.back(); });
    OutboxBatch batch{.first = database_.marks.numbered + 1, .runs = {}};
    for (const auto& ids : ordered) {
      for (const std::uint64_t id : ids) {
        batch.runs.push_back({.first = id, .count = 1});
        ++batch.count;
      }
    }
    if (batch.count > 0) {
      database_.marks.numbered += batch.count;
      database_.batches.push_back(batch);
    }
    MERIDIAN_CO_CHECK(co_await after());
    co_return batch.count;
  }
  Async<Result<OutboxSnapshot>> snapshot(Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(false));
    OutboxSnapshot taken{.snapshot = database_.snapshot(),
                         .text = database_.snapshot_text(),
                         .oldest = database_.oldest()};
    co_await loop_.sleep(delay());
    co_return taken;
  }
  Async<Result<Position>> covering_position(Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(false));
    const Position position{++database_.log_end};
    database_.logged.notify_all();
    co_await loop_.sleep(delay());
    co_return position;
  }
  Async<Result<bool>> any_awaits_standby(std::vector<std::uint64_t> transactions,
                                         Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(false));
    co_return std::ranges::any_of(transactions, [&](std::uint64_t id) {
      const auto& transaction = *database_.transactions.at(id);
      return transaction.committed && !transaction.visible;
    });
  }
  Async<Result<bool>> all_have_numbers(std::uint64_t behind_id,
                                       std::uint64_t id_limit,
                                       Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(false));
    std::set<std::uint64_t> given;
    for (const OutboxBatch& batch : database_.batches) {
      for (const IdRun& run : batch.runs) {
        for (std::uint64_t i = 0; i < run.count; ++i)
          given.insert(run.first + i);
      }
    }
    bool all = true;
    for (const auto& [id, transaction] : database_.rows) {
      if (id <= behind_id || id > id_limit || !database_.visible(id)) continue;
      all = all && given.contains(id);
    }
    co_await loop_.sleep(delay());
    co_return all;
  }
  Async<Result<OutboxHorizon>> horizon(Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(false));
    co_return database_.horizon();
  }
  Async<Result<std::vector<OutboxBatch>>> batches(std::uint64_t number,
                                                  std::size_t count_max,
                                                  Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(false));
    std::vector<OutboxBatch> found;
    for (const OutboxBatch& batch : database_.batches) {
      if (batch.end() > number && found.size() < count_max) found.push_back(batch);
    }
    std::ranges::sort(found, {}, &OutboxBatch::first);
    co_return found;
  }
  Async<Result<std::vector<OutboxRow>>> rows(std::vector<IdRun> runs, Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(false));
    std::vector<OutboxRow> found;
    for (const IdRun& run : runs) {
      for (std::uint64_t id = run.first; id < run.first + run.count; ++id) {
        if (!database_.rows.contains(id) || !database_.visible(id)) continue;
        OutboxRow row;
        row.id = id;
        row.subject = "s";
        row.payload = std::to_string(id);
        found.push_back(std::move(row));
      }
    }
    co_await loop_.sleep(delay());
    co_return found;
  }
  Async<Result<std::string>> payload(std::uint64_t id, Deadline) override {
    co_return std::to_string(id);
  }
  Async<Result<void>> mark_published(std::uint64_t number,
                                     std::string created,
                                     std::uint64_t sequence,
                                     std::uint64_t done_id,
                                     Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(true));
    database_.marks.published = number;
    database_.marks.stream_created = created;
    database_.marks.stream_sequence = sequence;
    database_.marks.done_id = std::max(database_.marks.done_id, done_id);
    co_return co_await after();
  }
  Async<Result<void>> mark_settled(std::uint64_t id, Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(true));
    // The next owner looks only beyond: whatever is below has its number in the database by now.
    std::set<std::uint64_t> given;
    for (const OutboxBatch& batch : database_.batches) {
      for (const IdRun& run : batch.runs) {
        for (std::uint64_t i = 0; i < run.count; ++i)
          given.insert(run.first + i);
      }
    }
    for (const auto& [row, transaction] : database_.rows) {
      if (row > database_.marks.settled_id && row <= id && database_.visible(row)) {
        EXPECT_TRUE(given.contains(row)) << "row " << row << " is settled and has no number";
      }
    }
    database_.marks.settled_id = std::max(database_.marks.settled_id, id);
    co_return co_await after();
  }
  Async<Result<void>> adopt(OutboxMarks marks, Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(true));
    marks.settled_id = database_.marks.settled_id;
    database_.marks = marks;
    co_return co_await after();
  }
  Async<Result<void>> state_condition(std::string condition, Deadline) override {
    MERIDIAN_CO_CHECK(co_await before(true));
    database_.marks.condition = std::move(condition);
    co_return Result<void>();
  }
  Async<Result<void>> bury(std::uint64_t, std::uint64_t id, std::string error, Deadline) override {
    ADD_FAILURE() << "row " << id << " became a dead letter: " << error;
    co_return Result<void>();
  }
  Async<Result<OutboxBacklog>> backlog(Deadline) override { co_return OutboxBacklog(); }
  Async<Result<std::uint64_t>> trim(Duration, Deadline) override { co_return 0; }

 private:
  Duration delay() { return microseconds(50 + loop_.random().below(3'000)); }

  Async<Result<void>> before(bool fenced) {
    co_await loop_.sleep(delay());
    if (fenced && database_.epoch != epoch_) co_return fail(Errc::denied, "fenced [MLEAS]");
    if (loop_.random().chance(faults_.lost_answer / 2)) {
      co_return fail(Errc::unavailable, "the session broke before the statement");
    }
    co_return Result<void>();
  }
  Async<Result<void>> after() {
    co_await loop_.sleep(delay());
    if (loop_.random().chance(faults_.lost_answer / 2)) {
      co_return fail(Errc::unavailable, "the session broke after the statement");
    }
    co_return Result<void>();
  }

  SimLoop& loop_;
  Database& database_;
  const Faults& faults_;
  std::uint64_t epoch_;
};

struct Stream {
  std::vector<std::uint64_t> ids;  // Row ids as the payloads say, by sequence.
  std::vector<std::uint64_t> numbers;
};

// A connection to the stream; what is under way when it breaks may still arrive.
class ModelSink final : public OutboxSink {
 public:
  ModelSink(
      SimLoop& loop, const Database& database, Stream& stream, const Faults& faults, Scope& world)
      : loop_(loop), database_(database), stream_(stream), faults_(faults), world_(world) {}

  Async<Result<StreamTail>> open(Deadline) override {
    co_await loop_.sleep(milliseconds(1 + loop_.random().below(20)));
    wire_ = std::make_shared<Wire>(loop_);
    StreamTail tail{.created = "then", .last_sequence = stream_.ids.size()};
    tail.last_installation = "sim";
    if (!stream_.numbers.empty()) tail.last_number = stream_.numbers.back();
    world_.spawn(carry(wire_, loop_, stream_));
    co_await loop_.sleep(milliseconds(1 + loop_.random().below(5)));
    co_return tail;
  }
  bool covers(std::string_view) const noexcept override { return true; }
  std::uint64_t message_size_max() const noexcept override { return 1 << 20; }
  Result<void> publish(std::string_view,
                       std::string_view headers,
                       std::string_view payload) override {
    const auto value = [&](std::string_view name) {
      const std::size_t at = headers.find(name) + name.size();
      return std::stoull(std::string(headers.substr(at, headers.find('\r', at) - at)));
    };
    // Who hears of a row can see it.
    EXPECT_TRUE(database_.visible(std::stoull(std::string(payload))));
    wire_->sent.push_back({.number = value("Nats-Msg-Id: outbox.sim."),
                           .expected = value("Nats-Expected-Last-Sequence: "),
                           .id = std::stoull(std::string(payload))});
    wire_->changed.notify_all();
    return {};
  }
  Async<Result<std::vector<std::uint64_t>>> acknowledgements(Deadline deadline) override {
    const std::shared_ptr<Wire> wire = wire_;
    while (wire->acknowledged.empty()) {
      if (wire->rejected) co_return fail(Errc::conflict, "wrong last sequence [10071]");
      MERIDIAN_CO_CHECK(to_result(co_await wire->answered.wait(deadline), "an acknowledgement"));
    }
    if (loop_.random().chance(faults_.sink_break)) co_return fail(Errc::unavailable, "cut");
    co_return std::exchange(wire->acknowledged, {});
  }
  Async<> close() override {
    if (wire_) {
      wire_->closed = true;  // What was sent is still on its way.
      wire_->changed.notify_all();
    }
    co_return;
  }

 private:
  struct Message {
    std::uint64_t number = 0;
    std::uint64_t expected = 0;
    std::uint64_t id = 0;
  };
  struct Wire {
    explicit Wire(Loop& loop) : changed(loop), answered(loop) {}
    std::deque<Message> sent;
    std::vector<std::uint64_t> acknowledged;
    bool rejected = false;
    bool closed = false;
    Event changed;
    Event answered;
  };

  static Async<> carry(std::shared_ptr<Wire> wire, SimLoop& loop, Stream& stream) {
    for (;;) {
      if (wire->sent.empty()) {
        if (wire->closed) co_return;
        if (co_await wire->changed.wait() != Wake::ready) co_return;
        continue;
      }
      const Message message = wire->sent.front();
      if (loop.random().chance(0.2) &&
          co_await loop.sleep(microseconds(loop.random().below(2'000))) != Wake::ready) {
        co_return;
      }
      wire->sent.pop_front();
      if (wire->rejected || message.expected != stream.ids.size()) {
        wire->rejected = true;
      } else {
        stream.ids.push_back(message.id);
        stream.numbers.push_back(message.number);
        wire->acknowledged.push_back(stream.ids.size());
      }
      wire->answered.notify_all();
    }
  }

  SimLoop& loop_;
  const Database& database_;
  Stream& stream_;
  const Faults& faults_;
  Scope& world_;
  std::shared_ptr<Wire> wire_ = std::make_shared<Wire>(loop_);
};

// Tells the commits of the log from its end on, with some delay, also of what cannot be seen yet.
Async<> feed(SimLoop& loop, Database& database, OutboxCommits& commits, const Faults& faults) {
  const Relation relation{.id = 1,
                          .schema = "meridian",
                          .table = "outbox",
                          .columns = {"id", "created_at", "subject", "identity", "payload"}};
  for (;;) {
    commits.lost();
    if (co_await loop.sleep(milliseconds(1 + loop.random().below(40))) != Wake::ready) co_return;
    std::size_t told = database.log.size();
    std::uint64_t position = database.log_end;
    commits.resumed(1, Position{position}, database.snapshot());
    const Time until =
        faults.feed_breaks ? loop.now() + milliseconds(loop.random().below(500)) : Time::max();
    while (loop.now() < until) {
      if (loop.random().chance(0.3) &&
          co_await loop.sleep(microseconds(loop.random().below(5'000))) != Wake::ready) {
        co_return;
      }
      if (told < database.log.size()) {
        const auto& transaction = *database.transactions.at(database.log[told++]);
        const auto id = static_cast<TransactionId>(transaction.id);
        for (const std::uint64_t row : transaction.rows) {
          const std::string text = std::to_string(row);
          const std::string payload =
              "\\x" + to_hex({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
          const std::array cells{Cell{.kind = Cell::Kind::text, .text = text},
                                 Cell{.kind = Cell::Kind::text, .text = "2026-11-21 08:15:30.5+00"},
                                 Cell{.kind = Cell::Kind::text, .text = "s"},
                                 Cell{.kind = Cell::Kind::null, .text = {}},
                                 Cell{.kind = Cell::Kind::text, .text = payload}};
          commits.changed(id, {.relation = relation, .before = {}, .after = cells});
        }
        position = transaction.position;
        commits.committed(id, Position{position}, WallTime());
      } else if (position < database.log_end) {
        position = database.log_end;
        commits.advanced(Position{position});
      } else if (co_await database.logged.wait(Deadline::at(
                     std::min(until, loop.now() + milliseconds(50)))) == Wake::cancelled) {
        co_return;
      }
    }
  }
}

Async<> writer(SimLoop& loop, Database& database, int transactions_count) {
  const auto pause = [&](std::uint64_t most) -> Async<bool> {
    co_return co_await loop.sleep(microseconds(loop.random().below(most))) == Wake::ready;
  };
  for (int i = 0; i < transactions_count; ++i) {
    if (!co_await pause(20'000)) co_return;
    Database::Transaction& transaction = database.begin();
    const std::uint64_t count = 1 + loop.random().below(loop.random().chance(0.1) ? 40 : 4);
    for (std::uint64_t row = 0; row < count; ++row) {
      database.insert(transaction);
      if (loop.random().chance(0.3) && !co_await pause(3'000)) co_return;
    }
    if (loop.random().chance(0.2) && !co_await pause(50'000)) co_return;
    if (loop.random().chance(0.9)) {
      database.log_commit(transaction);
      // In the log, and not to be seen yet: for long where a standby is waited for.
      if (loop.random().chance(0.5) && !co_await pause(loop.random().chance(0.1) ? 50'000 : 500)) {
        co_return;
      }
    }
    database.end(transaction);
  }
}

class OutboxSim : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void run(Faults faults) {
    SimLoop loop(GetParam());
    Scope world(loop);
    Scope writers(loop);
    Database database(loop);
    Stream stream;
    Metrics metrics;
    bool writing = true;
    world.spawn([](SimLoop& on, Database& of, Scope& all, bool& going) -> Async<> {
      for (int i = 0; i < 6; ++i)
        all.spawn(writer(on, of, 60));
      co_await all.join();
      going = false;
    }(loop, database, writers, writing));
    world.spawn([](SimLoop& on,
                   Database& of,
                   Stream& into,
                   Metrics& counts,
                   const Faults& how,
                   Scope& in,
                   bool& going) -> Async<> {
      for (;;) {
        const bool dies = how.owners_die && going;
        Owner owner(on, of, into, counts, how, in);
        const bool done = co_await owner.live(
            dies ? milliseconds(on.random().below(400)) : Duration(seconds(60)), dies, going);
        if (done) break;
      }
      in.cancel();
    }(loop, database, stream, metrics, faults, world, writing));
    EXPECT_TRUE(loop.run(seconds(600))) << "it does not come to an end";
    check(database, stream, faults);
    // Rows that do not fit or cannot be seen yet are read from the table, and no others.
    const std::uint64_t read_back = metrics.total("meridian_outbox_read_back_total");
    EXPECT_GT(read_back, 0U);
    const bool quiet = faults.lost_answer == 0 && faults.sink_break == 0 && !faults.feed_breaks;
    if (quiet) EXPECT_LT(read_back, stream.ids.size());
    if (HasFailure()) std::cout << "seed " << GetParam() << "\n";
  }

 private:
  // One node's outbox with its feed, in one epoch.
  struct Owner {
    Owner(SimLoop& on, Database& of, Stream& into, Metrics& counts, const Faults& how, Scope& world)
        : loop(on),
          database(of),
          stream(into),
          faults(how),
          store(on, of, how, ++of.epoch),
          sink(on, of, into, how, world),
          commits(on, 200, 4'000),
          outbox(on,
                 store,
                 sink,
                 commits,
                 [](const OutboxPublication&) { return Result<void>(); },
                 counts,
                 {.batch_rows_max = 16, .in_flight_max = 32}),
          scope(on) {}

    // True when all is published.
    Async<bool> live(Duration life, bool dies, const bool& going) {
      bool ended = false;
      scope.spawn([](Outbox& of, bool& over) -> Async<> {
        (void)co_await of.serve();
        over = true;
      }(outbox, ended));
      scope.spawn(feed(loop, database, commits, faults));
      const Time until = loop.now() + life;
      bool done = false;
      while (loop.now() < until && !ended && !done) {
        co_await loop.sleep(milliseconds(5));
        if (outbox.status().by_feed) {
          database.exact_from = std::min(database.exact_from, database.log.size());
        }
        std::size_t committed = 0;
        for (const std::uint64_t id : database.log)
          committed += database.transactions.at(id)->rows.size();
        done = !going && stream.ids.size() == committed;
      }
      if (dies && !done && !ended && loop.random().chance(0.5)) {
        // As a killed process: nothing is said to anybody.
        database.epoch += 1;
      }
      co_await scope.close();
      co_return done || (!dies && !ended && !done && loop.now() >= until);
    }

    SimLoop& loop;
    Database& database;
    Stream& stream;
    const Faults& faults;
    ModelStore store;
    ModelSink sink;
    OutboxCommits commits;
    Outbox outbox;
    Scope scope;
  };

  static void check(const Database& database, const Stream& stream, const Faults& faults) {
    std::map<std::uint64_t, std::size_t> place;  // Row to sequence.
    for (std::size_t i = 0; i < stream.ids.size(); ++i) {
      EXPECT_TRUE(place.emplace(stream.ids[i], i).second)
          << "row " << stream.ids[i] << " is there twice";
      EXPECT_EQ(stream.numbers[i], i + 1);
    }
    std::vector<const Database::Transaction*> committed;
    for (const auto& [id, transaction] : database.transactions) {
      for (const std::uint64_t row : transaction->rows)
        EXPECT_EQ(place.contains(row), transaction->committed) << "row " << row;
      if (transaction->committed) committed.push_back(transaction.get());
    }
    if (HasFailure()) return;
    const auto first = [&](const Database::Transaction& of) { return place.at(of.rows.front()); };
    for (const Database::Transaction* const each : committed) {
      for (std::size_t i = 1; i < each->rows.size(); ++i)
        EXPECT_LT(place.at(each->rows[i - 1]), place.at(each->rows[i]));
      for (const Database::Transaction* const other : committed) {
        if (other->visible_at < each->last_write_at) {
          EXPECT_LT(place.at(other->rows.back()), place.at(each->rows.back()))
              << "transaction " << each->id << " could see " << other->id;
        }
      }
    }
    if (faults.feed_breaks || faults.owners_die || faults.lost_answer > 0) return;
    // From when the feed first lived on: exactly the log's order.
    std::vector<std::size_t> places;
    EXPECT_LT(database.exact_from, database.log.size() / 2);
    for (std::size_t i = database.exact_from; i < database.log.size(); ++i)
      places.push_back(first(*database.transactions.at(database.log[i])));
    EXPECT_TRUE(std::ranges::is_sorted(places));
  }
};

INSTANTIATE_TEST_SUITE_P(Seeds, OutboxSim, ::testing::Range<std::uint64_t>(1, 31));

TEST_P(OutboxSim, KeepsTheOrderOfTheCommits) {
  run({});
}
TEST_P(OutboxSim, SurvivesStreamsThatBreak) {
  run({.sink_break = 0.05});
}
TEST_P(OutboxSim, SurvivesFeedsThatBreak) {
  run({.feed_breaks = true});
}
TEST_P(OutboxSim, SurvivesLostAnswers) {
  run({.lost_answer = 0.02});
}
TEST_P(OutboxSim, SurvivesEverythingAtOnce) {
  run({.lost_answer = 0.02, .sink_break = 0.03, .feed_breaks = true, .owners_die = true});
}

}  // namespace
}  // namespace meridian
