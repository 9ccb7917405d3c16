#include "timeline/sim/sim_database.h"

#include <algorithm>

namespace meridian {

SimDatabase::SimDatabase(SimLoop& loop, SimDatabaseOptions options)
    : loop_(loop), options_(options), log_grew_(loop), scope_(loop) {}

SimDatabase::~SimDatabase() = default;

Async<> SimDatabase::close() {
  co_await scope_.close();
}

Duration SimDatabase::some(Duration most) {
  if (most == Duration::zero()) return most;
  const auto time = Duration(
      static_cast<std::int64_t>(loop_.random().below(static_cast<std::uint64_t>(most.count()))));
  return loop_.random().chance(options_.slow_share) ? 10 * time : time;
}

Async<Result<void>> SimDatabase::write(std::vector<SimWrite> writes, bool lazy) {
  return commit(std::move(writes), lazy, false);
}

Async<Result<void>> SimDatabase::change_schema() {
  return commit({}, false, true);
}

Async<Result<void>> SimDatabase::commit(std::vector<SimWrite> writes,
                                        bool lazy,
                                        bool schema_change) {
  const std::uint64_t boot = boot_;
  const TransactionId transaction = next_transaction_++;
  in_progress_.insert(transaction);
  const auto crashed = [&] { return boot != boot_; };
  const auto lost = [] { return fail(Errc::outcome_unknown, "the server crashed"); };
  (void)co_await loop_.sleep(some(options_.answer_max));
  if (crashed()) co_return lost();

  Commit commit{.transaction = transaction, .writes = writes, .schema_change = schema_change};
  if (lazy) {
    // Visible and acknowledged first; the disk and the feed come later.
    make_visible(transaction, writes);
    lazy_.push_back(std::move(commit));
    scope_.spawn(flush_later(transaction, some(options_.lazy_flush_max)));
  } else {
    (void)co_await loop_.sleep(some(options_.flush_max));
    if (crashed()) co_return lost();
    flush(std::move(commit));
    (void)co_await loop_.sleep(some(options_.visible_max));
    if (crashed()) co_return lost();
    make_visible(transaction, writes);
  }
  (void)co_await loop_.sleep(some(options_.answer_max));
  if (crashed()) co_return lost();
  ++commits_count_;
  co_return Result<void>();
}

Async<> SimDatabase::flush_later(TransactionId transaction, Duration delay) {
  if (co_await loop_.sleep(delay) == Wake::cancelled) co_return;
  const auto waits = [&](const Commit& commit) { return commit.transaction == transaction; };
  if (std::ranges::any_of(lazy_, waits)) flush_lazy();
}

// The log is one: whatever is flushed takes with it what was written before.
void SimDatabase::flush_lazy() {
  for (Commit& commit : lazy_)
    append(std::move(commit));
  lazy_.clear();
}

void SimDatabase::flush(Commit commit) {
  flush_lazy();
  append(std::move(commit));
}

void SimDatabase::append(Commit commit) {
  const Time before = log_.empty() ? Time{} : log_.back().deliver_at;
  commit.deliver_at = std::max(before, loop_.now() + some(options_.delivery_max));
  log_.push_back(std::move(commit));
  log_grew_.notify_all();
}

void SimDatabase::make_visible(TransactionId transaction, const std::vector<SimWrite>& writes) {
  for (const SimWrite& write : writes) {
    if (write.value) {
      visible_[write.table][write.key] = *write.value;
    } else {
      visible_[write.table].erase(write.key);
    }
  }
  in_progress_.erase(transaction);
}

Async<Result<std::string>> SimDatabase::read(std::function<std::string(const Tables&)> query) {
  const std::uint64_t boot = boot_;
  (void)co_await loop_.sleep(some(options_.answer_max));
  std::string result = query(visible_);
  (void)co_await loop_.sleep(some(options_.answer_max));
  if (boot != boot_) co_return fail(Errc::unavailable, "the server crashed");
  co_return result;
}

Async<Result<OfBoot<Position>>> SimDatabase::flushed(Deadline /*deadline*/) {
  const std::uint64_t boot = boot_;
  (void)co_await loop_.sleep(some(options_.answer_max));
  const OfBoot<Position> answer{.value = {log_.size()}, .boot = boot_};
  (void)co_await loop_.sleep(some(options_.answer_max));
  if (boot != boot_) co_return fail(Errc::unavailable, "the server crashed");
  co_return answer;
}

Snapshot SimDatabase::snapshot_now() const {
  return {next_transaction_, std::vector<std::uint64_t>(in_progress_.begin(), in_progress_.end())};
}

Async<Result<OfBoot<Snapshot>>> SimDatabase::snapshot(Deadline /*deadline*/) {
  const std::uint64_t boot = boot_;
  (void)co_await loop_.sleep(some(options_.answer_max));
  OfBoot<Snapshot> answer{.value = snapshot_now(), .boot = boot_};
  (void)co_await loop_.sleep(some(options_.answer_max));
  if (boot != boot_) co_return fail(Errc::unavailable, "the server crashed");
  co_return answer;
}

Async<Result<BootId>> SimDatabase::nudge(Deadline /*deadline*/) {
  const BootId boot = boot_;
  if (loop_.random().chance(options_.nudge_failure_share))
    co_return fail(Errc::unavailable, "the connection broke");
  auto done = co_await commit({}, false, false);
  if (!done) co_return std::unexpected(done.error());
  co_return boot;
}

void SimDatabase::crash() {
  ++boot_;
  // What was flushed is recovered; what was only visible is gone.
  visible_.clear();
  for (const Commit& commit : log_)
    make_visible(commit.transaction, commit.writes);
  in_progress_.clear();
  lazy_.clear();
  break_feed();
}

void SimDatabase::start_feed(FeedConsumer& consumer) {
  consumer_ = &consumer;
  scope_.spawn(feed());
}

void SimDatabase::break_feed() {
  ++feed_epoch_;
  log_grew_.notify_all();
}

Async<> SimDatabase::feed() {
  for (;;) {
    const std::uint64_t epoch = feed_epoch_;
    consumer_->lost();
    if (co_await loop_.sleep(some(options_.answer_max)) == Wake::cancelled) co_return;
    std::size_t next = log_.size();
    if (co_await loop_.sleep(some(options_.answer_max)) == Wake::cancelled) co_return;
    const Snapshot snapshot = snapshot_now();
    if (co_await loop_.sleep(some(options_.answer_max)) == Wake::cancelled) co_return;
    if (epoch != feed_epoch_) continue;
    consumer_->resumed(boot_, Position{next}, snapshot);
    while (epoch == feed_epoch_) {
      if (next == log_.size()) {
        if (co_await log_grew_.wait() == Wake::cancelled) co_return;
        continue;
      }
      const Time due = log_[next].deliver_at;
      if (due > loop_.now()) {
        if (co_await loop_.sleep(due - loop_.now()) == Wake::cancelled) co_return;
        continue;
      }
      deliver(log_[next], Position{next + 1});
      ++next;
    }
  }
}

const Relation& SimDatabase::relation_of(const std::string& table, std::size_t key_size) {
  Relation& relation = relations_[table];
  if (relation.id == 0) {
    relation.id = static_cast<std::uint32_t>(relations_.size());
    relation.schema = "public";
    relation.table = table;
    for (std::size_t i = 0; i < key_size; ++i)
      relation.columns.push_back("k" + std::to_string(i));
    relation.columns.emplace_back("value");
  }
  return relation;
}

void SimDatabase::deliver(const Commit& commit, Position end) {
  for (const SimWrite& write : commit.writes) {
    std::vector<Cell> row;
    for (const std::string& part : write.key)
      row.push_back({.kind = Cell::Kind::text, .text = part});
    row.push_back(write.value ? Cell{.kind = Cell::Kind::text, .text = *write.value} : Cell{});
    const ChangedRow changed{.relation = relation_of(write.table, write.key.size()),
                             .before = write.value ? std::span<const Cell>() : row,
                             .after = write.value ? row : std::span<const Cell>()};
    consumer_->changed(commit.transaction, changed);
  }
  if (commit.schema_change) consumer_->message(commit.transaction, "meridian.ddl", "ALTER TABLE");
  consumer_->committed(commit.transaction, end, loop_.wall_now());
}

}  // namespace meridian
