// The half of the outbox that gives rows their numbers (streams/outbox.h).

#include "runtime/log.h"
#include "streams/outbox.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace meridian {
namespace {

constexpr Duration statement_timeout = std::chrono::seconds(10);
constexpr Duration pause_min = std::chrono::milliseconds(20);
constexpr Duration pause_max = std::chrono::seconds(1);
// From the log to visibility, unless a standby is waited for.
constexpr Duration moments = std::chrono::milliseconds(100);
constexpr Duration settle_every = std::chrono::seconds(1);
// All rows of a long outage are numbered by one statement.
constexpr Duration backlog_timeout = std::chrono::minutes(30);
constexpr Duration feed_timeout = std::chrono::seconds(10);
constexpr Duration poll_max = std::chrono::milliseconds(250);
constexpr std::size_t recent_max = 64;
constexpr std::uint64_t any_id = std::numeric_limits<std::int64_t>::max();

}  // namespace

void Outbox::numbered(std::uint64_t count) {
  numbered_ += count;
  status_.numbered = numbered_;
  numbered_total_.add(count);
  if (count > 0) numbered_event_.notify_all();
}

// So many of the transactions that the feed told of have their numbers.
void Outbox::pass(std::uint64_t count) {
  if (std::exchange(passed_count_, count) != count) passed_event_.notify_all();
}

Async<Result<void>> Outbox::number() {
  // Until the stream has been asked nobody knows which numbers are free.
  if (!opened_) {
    MERIDIAN_CO_CHECK(to_result(co_await opened_event_.wait(), "the stream"));
  }
  MERIDIAN_CO_TRY(const OutboxMarks marks, co_await store_.marks(loop_.after(statement_timeout)));
  numbered_ = marks.numbered;
  settled_id_ = marks.settled_id;
  status_.numbered = numbered_;
  numbered_event_.notify_all();
  for (;;) {
    status_.by_feed = commits_.live() && commits_.beginning() == beginning_done_;
    if (!commits_.live()) {
      MERIDIAN_CO_CHECK(co_await number_from_table());
      continue;
    }
    if (commits_.beginning() != beginning_done_) {
      MERIDIAN_CO_TRY(const bool done, co_await number_before_feed());
      if (!done) continue;
    }
    const std::uint64_t beginning = beginning_done_;
    if (!commits_.empty()) {
      const Time told_at = commits_.first_told_at();
      std::vector<IdRun> runs = commits_.take(options_.batch_rows_max);
      const std::uint64_t taken_count = commits_.taken_count();
      MERIDIAN_CO_CHECK(co_await number_batch(std::move(runs)));
      pass(taken_count);
      numbering_.observe(loop_.now() - told_at);
      continue;
    }
    pass(commits_.taken_count());
    if (left_out_) {
      MERIDIAN_CO_CHECK(co_await number_left_out());
      if (!commits_.live() || commits_.beginning() != beginning || !commits_.empty()) continue;
    }
    if (co_await commits_.changed(loop_.after(settle_every)) == Wake::cancelled) {
      co_return fail(Errc::cancelled);
    }
  }
}

// While there is no feed. What one look shows is numbered before what a later one shows, and what
// it shows together in an order that cause and effect allow.
Async<Result<void>> Outbox::number_from_table() {
  auto seen = co_await store_.snapshot(loop_.after(statement_timeout));
  if (!seen) {
    if (seen.error().code() == Errc::cancelled || seen.error().code() == Errc::conflict) {
      co_return std::unexpected(seen.error());
    }
    status_.problem = "the database: " + seen.error().detail();
    if (co_await loop_.sleep(pause_max / 4) != Wake::ready) co_return fail(Errc::cancelled);
    co_return Result<void>();
  }
  // An answer that is lost leaves open what has a number: everything begins anew.
  MERIDIAN_CO_TRY(
      const std::uint64_t added,
      co_await store_.number_backlog(seen->text, {}, any_id, loop_.after(backlog_timeout)));
  polled_ = seen->snapshot;
  numbered(added);
  if (horizon_ && seen->oldest >= horizon_->next_transaction) {
    auto marked = co_await store_.mark_settled(horizon_->id, loop_.after(statement_timeout));
    if (marked) {
      settled_id_ = horizon_->id;
      settled_.push_back({.id = horizon_->id, .numbered = numbered_});
    }
    horizon_.reset();
  }
  if (!horizon_ && loop_.now() >= settle_at_) {
    settle_at_ = loop_.now() + settle_every;
    auto horizon = co_await store_.horizon(loop_.after(statement_timeout));
    if (horizon && horizon->id > settled_id_) horizon_ = *horizon;
  }
  if (commits_.live()) {
    if (co_await loop_.sleep(std::chrono::milliseconds(1)) != Wake::ready) {
      co_return fail(Errc::cancelled);
    }
    co_return Result<void>();
  }
  poll_pause_ = added > 0 ? pause_min : std::min<Duration>(poll_pause_ * 2, poll_max);
  if (co_await commits_.changed(loop_.after(poll_pause_)) == Wake::cancelled) {
    co_return fail(Errc::cancelled);
  }
  co_return Result<void>();
}

// The feed tells of every commit from a place on; what was committed before that is in the table.
// A transaction that both know of is the feed's. False: the feed began anew meanwhile.
Async<Result<bool>> Outbox::number_before_feed() {
  const std::uint64_t beginning = commits_.beginning();
  if (suspects_beginning_ != beginning) {
    // A transaction that has ended is above all that ran, so the snapshot names them.
    MERIDIAN_CO_CHECK(co_await store_.horizon(loop_.after(statement_timeout)));
  }
  MERIDIAN_CO_TRY(const OutboxSnapshot seen,
                  co_await store_.snapshot(loop_.after(statement_timeout)));
  MERIDIAN_CO_TRY(const bool suspects, co_await any_suspects(seen.snapshot));
  if (suspects) {
    MERIDIAN_CO_CHECK(co_await number_from_table());
    co_return false;
  }
  MERIDIAN_CO_TRY(const Position covered,
                  co_await store_.covering_position(loop_.after(statement_timeout)));
  const Deadline deadline = loop_.after(feed_timeout);
  while (commits_.position() < covered) {
    if (!commits_.live() || commits_.beginning() != beginning) co_return false;
    const Wake wake = co_await commits_.changed(deadline);
    if (wake == Wake::cancelled) co_return fail(Errc::cancelled);
    if (wake == Wake::timeout) {
      co_return fail(Errc::timeout, "the feed did not come to a position that was committed");
    }
  }
  if (polled_) commits_.forget_seen(*polled_);
  MERIDIAN_CO_TRY(const std::uint64_t added,
                  co_await store_.number_backlog(
                      seen.text, commits_.waiting(), any_id, loop_.after(backlog_timeout)));
  numbered(added);
  if (!commits_.live() || commits_.beginning() != beginning) {
    // What is told of now begins after this snapshot, or is in it: as after a look at the table.
    polled_ = seen.snapshot;
    co_return false;
  }
  polled_.reset();
  left_out_.reset();
  beginning_done_ = beginning;
  if (added > 0) {
    log_info("outbox", "numbered what was committed before the feed", {{"rows", added}});
  }
  co_return true;
}

// A commit is in the log before it can be seen, by moments, or for as long as it waits for a
// standby. One that the feed began after and nobody sees yet would be numbered too late: behind
// what was written by those who saw it.
Async<Result<bool>> Outbox::any_suspects(const Snapshot& seen) {
  if (suspects_beginning_ != commits_.beginning()) {
    suspects_beginning_ = commits_.beginning();
    suspects_ = seen.in_progress();
    suspects_until_ = loop_.now() + moments;
  }
  std::erase_if(suspects_, [&](std::uint64_t id) {
    return !std::ranges::binary_search(seen.in_progress(), id);
  });
  if (suspects_.empty()) co_return false;
  if (loop_.now() < suspects_until_) co_return true;
  co_return co_await store_.any_awaits_standby(suspects_, loop_.after(statement_timeout));
}

Async<Result<void>> Outbox::number_batch(std::vector<IdRun> runs) {
  OutboxBatch batch{.first = numbered_ + 1, .runs = std::move(runs)};
  for (const IdRun& run : batch.runs)
    batch.count += run.count;
  Duration pause = pause_min;
  for (;;) {
    auto seen = co_await store_.number(batch, loop_.after(statement_timeout));
    if (seen) {
      seen_ = *std::move(seen);
      break;
    }
    const Errc code = seen.error().code();
    // The same call again is harmless, whatever became of this one.
    const bool again = code == Errc::unavailable || code == Errc::timeout ||
                       code == Errc::conflict || code == Errc::exhausted;
    if (!again) co_return std::unexpected(seen.error());
    status_.problem = "numbering: " + seen.error().detail();
    if (co_await loop_.sleep(pause) != Wake::ready) co_return fail(Errc::cancelled);
    pause = std::min<Duration>(pause * 2, pause_max);
  }
  if (recent_.size() >= recent_max) recent_.pop_front();
  const std::uint64_t count = batch.count;
  recent_.push_back(std::move(batch));
  numbered(count);
  co_return Result<void>();
}

// Numbers rows that the feed did not bring.
Async<Result<void>> Outbox::number_left_out() {
  const LeftOut left = *std::exchange(left_out_, std::nullopt);
  MERIDIAN_CO_TRY(const std::uint64_t added,
                  co_await store_.number_backlog(
                      left.seen, commits_.waiting(), left.id, loop_.after(backlog_timeout)));
  if (added == 0) co_return Result<void>();
  stragglers_total_.add(added);
  log_warning("outbox",
              "the table has rows that the feed did not bring; they are numbered now",
              {{"rows", added}});
  numbered(added);
  co_return Result<void>();
}

// Beside the numbering, which goes on meanwhile.
Async<> Outbox::keep_settled() {
  while (co_await loop_.sleep(settle_every) == Wake::ready) {
    if (!status_.by_feed || left_out_) continue;
    auto done = co_await settle();
    if (done) continue;
    if (done.error().code() == Errc::cancelled) co_return;
    if (done.error().code() == Errc::denied || done.error().code() == Errc::conflict) {
      co_return end(done.error());
    }
    log_info("outbox",
             "which rows have numbers is found out later",
             {{"reason", done.error().detail()}});
  }
}

// Finds out up to which id all rows have numbers, and whether the feed has left any out.
Async<Result<void>> Outbox::settle() {
  MERIDIAN_CO_TRY(const OutboxHorizon horizon,
                  co_await store_.horizon(loop_.after(statement_timeout)));
  if (horizon.id <= settled_id_) co_return Result<void>();
  OutboxSnapshot seen;
  for (;;) {
    MERIDIAN_CO_TRY(seen, co_await store_.snapshot(loop_.after(statement_timeout)));
    if (seen.oldest >= horizon.next_transaction) break;
    // Somebody still writes.
    MERIDIAN_CO_CHECK(to_result(co_await loop_.sleep(settle_every), "writers"));
  }
  MERIDIAN_CO_TRY(const Position covered,
                  co_await store_.covering_position(loop_.after(statement_timeout)));
  const Deadline deadline = loop_.after(feed_timeout);
  while (commits_.position() < covered) {
    if (!status_.by_feed) co_return Result<void>();
    MERIDIAN_CO_CHECK(to_result(co_await commits_.changed(deadline), "the feed"));
  }
  // What was told of until now has its number too.
  const std::uint64_t told_count = commits_.told_count();
  while (passed_count_ < told_count) {
    if (!status_.by_feed) co_return Result<void>();
    MERIDIAN_CO_CHECK(to_result(co_await passed_event_.wait(deadline), "numbers"));
  }
  MERIDIAN_CO_TRY(
      const bool all_have,
      co_await store_.all_have_numbers(settled_id_, horizon.id, loop_.after(backlog_timeout)));
  if (!all_have) {
    left_out_ = LeftOut{.id = horizon.id, .seen = std::move(seen.text)};
    commits_.wake();
    co_return Result<void>();
  }
  MERIDIAN_CO_CHECK(co_await store_.mark_settled(horizon.id, loop_.after(statement_timeout)));
  settled_id_ = std::max(settled_id_, horizon.id);
  settled_.push_back({.id = horizon.id, .numbered = numbered_});
  co_return Result<void>();
}

}  // namespace meridian
