#include "streams/outbox_commits.h"

#include "base/number.h"
#include "runtime/log.h"

#include <algorithm>
#include <utility>

namespace meridian {

std::vector<TransactionId> OutboxCommits::waiting() const {
  std::vector<TransactionId> all;
  for (const Committed& committed : queue_)
    all.push_back(committed.transaction);
  return all;
}

void OutboxCommits::forget_seen(const Snapshot& snapshot) {
  std::erase_if(queue_, [&](const Committed& committed) {
    if (!snapshot.sees(committed.transaction)) return false;
    runs_count_ -= committed.runs.size();
    return true;
  });
  rows_.forget_seen(snapshot);
}

std::vector<IdRun> OutboxCommits::take(std::uint64_t rows_max) {
  std::vector<IdRun> taken;
  std::uint64_t room = rows_max;
  while (!queue_.empty() && room > 0) {
    std::vector<IdRun>& runs = queue_.front().runs;
    std::size_t used = 0;
    for (IdRun& run : runs) {
      const std::uint64_t count = std::min(run.count, room);
      if (count == 0) break;
      if (!taken.empty() && taken.back().first + taken.back().count == run.first) {
        taken.back().count += count;
      } else {
        taken.push_back({.first = run.first, .count = count});
      }
      room -= count;
      run.first += count;
      run.count -= count;
      if (run.count != 0) break;
      ++used;
    }
    runs_count_ -= used;
    if (used != runs.size()) {
      runs.erase(runs.begin(), runs.begin() + static_cast<std::ptrdiff_t>(used));
      break;
    }
    queue_.pop_front();
  }
  return taken;
}

void OutboxCommits::forget_all() noexcept {
  open_.clear();
  queue_.clear();
  rows_.clear();
  runs_count_ = 0;
}

void OutboxCommits::begin_anew() {
  forget_all();
  ++beginning_;
  changed_.notify_all();
}

void OutboxCommits::lost() {
  forget_all();
  forgotten_.reset();
  if (std::exchange(live_, false)) changed_.notify_all();
}

void OutboxCommits::resumed(BootId /*boot*/, Position position, const Snapshot& /*snapshot*/) {
  // Rows of transactions that end from here on may have come already.
  position_ = position;
  live_ = true;
  ++beginning_;
  changed_.notify_all();
}

void OutboxCommits::changed(TransactionId transaction, const ChangedRow& row) {
  if (row.after.empty() || transaction == forgotten_) return;
  const auto column = std::ranges::find(row.relation.columns, "id");
  const auto index = static_cast<std::size_t>(column - row.relation.columns.begin());
  if (index >= row.after.size()) return;
  const auto id = parse_number<std::uint64_t>(row.after[index].text);
  if (!id) return;
  std::vector<IdRun>& runs = open_[transaction];
  if (!runs.empty() && runs.back().first + runs.back().count == *id) {
    ++runs.back().count;
    return rows_.keep(transaction, *id, row);
  }
  if (runs_count_ >= runs_max_) {
    log_warning("outbox",
                "more commits wait for their numbers than are kept in memory; the table is read",
                {{"runs_max", runs_max_}});
    forgotten_ = transaction;
    begin_anew();
    return;
  }
  runs.push_back({.first = *id, .count = 1});
  ++runs_count_;
  rows_.keep(transaction, *id, row);
}

void OutboxCommits::aborted(TransactionId transaction) {
  if (transaction == forgotten_) forgotten_.reset();
  const auto found = open_.find(transaction);
  if (found == open_.end()) return;
  rows_.forget(transaction);
  runs_count_ -= found->second.size();
  open_.erase(found);
}

void OutboxCommits::committed(TransactionId transaction, Position end, WallTime /*at*/) {
  position_ = std::max(position_, end);
  if (transaction == forgotten_) {
    forgotten_.reset();
    return begin_anew();
  }
  const auto found = open_.find(transaction);
  if (found == open_.end()) return;
  ++told_count_;
  queue_.push_back(
      {.transaction = transaction, .runs = std::move(found->second), .told_at = loop_.now()});
  open_.erase(found);
  changed_.notify_all();
}

void OutboxCommits::advanced(Position position) {
  position_ = std::max(position_, position);
  changed_.notify_all();
}

}  // namespace meridian
