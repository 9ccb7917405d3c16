#include "gate/trail/shard.h"

#include "base/assert.h"
#include "runtime/log.h"

#include <algorithm>

namespace meridian::trail {

Result<Recovered> Shard::open() {
  MERIDIAN_TRY(Recovered recovered, recover_shard(settings_.folder, number_));
  kept_.assign(recovered.segments.begin(), recovered.segments.end());
  next_number_ = recovered.next_number;
  synced_sequence_.store(recovered.last.sequence, std::memory_order_relaxed);
  MERIDIAN_CHECK(prepare_spare());
  return recovered;
}

Error Shard::why_not() const {
  const std::lock_guard lock(cause_mutex_);
  if (cause_) return *cause_;
  return Error(Errc::unavailable,
               "the next segment of shard " + std::to_string(number_) + " is not ready yet");
}

void Shard::set_cause(std::optional<Error> error) {
  const std::lock_guard lock(cause_mutex_);
  cause_ = std::move(error);
}

void Shard::fail_for_good(const Error& error) {
  if (failed_.load(std::memory_order_relaxed)) return;
  set_cause(
      Error(Errc::unavailable,
            error.detail() +
                ": what was recorded last may not reach the disk, so this shard takes no more; "
                "check the disk and restart the node"));
  failed_.store(true, std::memory_order_release);
  log_error("trail", "a shard has failed", {{"shard", number_}, {"cause", error.detail()}});
}

Result<void> Shard::prepare_spare() {
  // One is made only when the one before the active segment is finished: after a loss of power,
  // then, at most two segments can lack something (gate/trail/recovery.h).
  const bool spare_waits = segments_.size() > 1;
  if (spare_waits) return {};
  MERIDIAN_TRY(auto segment,
               MappedSegment::prepare(settings_.folder / segment_name(number_, next_number_),
                                      next_number_,
                                      settings_.segment_bytes,
                                      settings_.disk));
  ++next_number_;
  segment->warm(settings_.warm_bytes);
  segments_.push_back(std::move(segment));
  spare_.store(segments_.back().get(), std::memory_order_release);
  return {};
}

void Shard::finish_left() {
  const MappedSegment* const active = active_.load(std::memory_order_acquire);
  MERIDIAN_ASSERT(active != nullptr);
  while (segments_.front().get() != active) {
    MappedSegment& left = *segments_.front();
    if (auto finished = left.finish(settings_.disk); !finished) {
      fail_for_good(finished.error());
      return;
    }
    kept_.push_back({.number = left.number(), .begun_at = left.begun_at()});
    segments_.pop_front();
  }
}

void Shard::prepare() {
  if (failed()) return;
  finish_left();
  if (failed()) return;
  RecordHeader header;
  Digest hash;
  std::uint64_t end = segment_header_size;
  segments_.front()->newest(header, hash, end);
  segments_.front()->warm(end + settings_.warm_bytes);
  auto prepared = prepare_spare();
  if (prepared) {
    set_cause(std::nullopt);
  } else {
    set_cause(Error(prepared.error().code(),
                    prepared.error().detail() + ": make room, or move the trail elsewhere"));
  }
}

std::optional<SignedHead> Shard::seal(WallTime now) {
  if (failed()) return std::nullopt;
  finish_left();
  if (failed()) return std::nullopt;
  MappedSegment& active = *segments_.front();
  RecordHeader newest;
  SignedHead head;
  std::uint64_t end = 0;
  if (!active.newest(newest, head.hash, end)) return std::nullopt;
  if (auto synced = active.sync(end, settings_.disk); !synced) {
    fail_for_good(synced.error());
    return std::nullopt;
  }
  synced_sequence_.store(newest.sequence, std::memory_order_release);
  // The head that was signed last is no news.
  const bool only_the_head =
      newest.kind == RecordKind::head && newest.sequence == sealed_sequence_ + 1;
  if (newest.sequence == sealed_sequence_ || only_the_head) return std::nullopt;
  sealed_sequence_ = newest.sequence;
  head.node = settings_.node;
  head.shard = number_;
  head.segment = active.number();
  head.sequence = newest.sequence;
  head.synced_sequence = newest.sequence;
  head.time = now;
  sign(head, *settings_.key);
  return head;
}

Result<void> Shard::close() {
  if (failed()) return std::unexpected(why_not());
  finish_left();
  if (failed()) return std::unexpected(why_not());
  MappedSegment& active = *segments_.front();
  MERIDIAN_CHECK(active.finish(settings_.disk));
  kept_.push_back({.number = active.number(), .begun_at = active.begun_at()});
  if (segments_.size() > 1) {
    MERIDIAN_CHECK(segments_.back()->discard());
  }
  segments_.clear();
  return sync_folder(settings_.folder);
}

std::optional<WallTime> Shard::active_since() const noexcept {
  const MappedSegment* const active = active_.load(std::memory_order_acquire);
  RecordHeader header;
  Digest hash;
  std::uint64_t end = 0;
  if (!active || !active->newest(header, hash, end)) return std::nullopt;
  return active->begun_at();
}

std::uint64_t Shard::last_before(WallTime time) const noexcept {
  // The records of a segment are older than the beginning of the one after it.
  const WallTime active_begun = segments_.empty() ? WallTime::max() : segments_.front()->begun_at();
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    const WallTime ended = i + 1 < kept_.size() ? kept_[i + 1].begun_at : active_begun;
    if (ended >= time) break;
    last = kept_[i].number;
  }
  return last;
}

std::uint64_t Shard::first_number() const noexcept {
  if (!kept_.empty()) return kept_.front().number;
  return segments_.empty() ? next_number_ : segments_.front()->number();
}

Result<void> Shard::remove_through(std::uint64_t number) {
  while (!kept_.empty() && kept_.front().number <= number) {
    const std::filesystem::path path =
        settings_.folder / segment_name(number_, kept_.front().number);
    MERIDIAN_CHECK(remove_file(path));
    MERIDIAN_CHECK(remove_file(path.string() + ".torn"));
    kept_.pop_front();
  }
  return sync_folder(settings_.folder);
}

}  // namespace meridian::trail
