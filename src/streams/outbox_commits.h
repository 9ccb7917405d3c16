#pragma once
// What the feed tells of the outbox: rows by their ids, transactions in the order of their commits.
//
// Feed and outbox are on one loop. Bounded: when more runs of ids wait than runs_max, all of them
// are forgotten, and the table says what they were.

#include "runtime/event.h"
#include "streams/outbox_plan.h"
#include "streams/outbox_rows.h"
#include "timeline/feed.h"

#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

namespace meridian {

class OutboxCommits final : public FeedConsumer {
 public:
  static constexpr std::size_t runs_max_default = 1'000'000;

  explicit OutboxCommits(Loop& loop,
                         std::size_t runs_max = runs_max_default,
                         std::size_t rows_size_max = OutboxRows::size_max_default)
      : loop_(loop), runs_max_(runs_max), rows_(rows_size_max), changed_(loop) {}

  // True while every commit is told of.
  bool live() const noexcept { return live_; }

  // Counts the times from which on commits are told of anew; what was committed before has to be
  // read from the table.
  std::uint64_t beginning() const noexcept { return beginning_; }

  // Every commit up to here was told of.
  Position position() const noexcept { return position_; }

  // Transactions that wait. Their ids are good modulo 2^32.
  bool empty() const noexcept { return queue_.empty(); }
  std::vector<TransactionId> waiting() const;

  // Transactions that were told of so far, and those of them that wait no longer.
  std::uint64_t told_count() const noexcept { return told_count_; }
  std::uint64_t taken_count() const noexcept { return told_count_ - queue_.size(); }

  // When the first of them was told of. Requires that there is one.
  Time first_told_at() const noexcept { return queue_.front().told_at; }

  // Takes transactions that the snapshot sees off the queue: they were numbered from the table.
  void forget_seen(const Snapshot& snapshot);

  // Takes rows in their order, as many as fit.
  std::vector<IdRun> take(std::uint64_t rows_max);

  // The rows themselves, also of those that were taken, as far as they were kept.
  OutboxRows& rows() noexcept { return rows_; }

  // Waits until a commit, a beginning or an end of life was told of. The deadline is kept to 10 ms.
  Event::Wait changed(Deadline deadline) { return changed_.wait(deadline); }
  void wake() noexcept { changed_.notify_all(); }

  void lost() override;
  void resumed(BootId boot, Position position, const Snapshot& snapshot) override;
  void changed(TransactionId transaction, const ChangedRow& row) override;
  void truncated(TransactionId, std::span<const Relation* const>) override {}
  void message(TransactionId, std::string_view, std::string_view) override {}
  void aborted(TransactionId transaction) override;
  void committed(TransactionId transaction, Position end, WallTime at) override;
  void advanced(Position position) override;

 private:
  struct Committed {
    TransactionId transaction = 0;
    std::vector<IdRun> runs;
    Time told_at{};
  };
  void forget_all() noexcept;
  void begin_anew();

  Loop& loop_;
  std::size_t runs_max_;
  OutboxRows rows_;
  std::unordered_map<TransactionId, std::vector<IdRun>> open_;
  std::deque<Committed> queue_;
  std::uint64_t told_count_ = 0;
  std::size_t runs_count_ = 0;              // Of both.
  std::optional<TransactionId> forgotten_;  // Under way, and its first rows did not fit.
  Position position_;
  std::uint64_t beginning_ = 0;
  bool live_ = false;
  Event changed_;
};

}  // namespace meridian
