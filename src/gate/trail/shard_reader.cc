#include "gate/trail/shard_reader.h"

#include "gate/trail/recovery.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace meridian::trail {
namespace {

constexpr std::size_t broken_max = 100;  // Lines about what could not be read.

}  // namespace

Result<std::optional<RecordView>> ShardReader::next() {
  for (;;) {
    auto record = read_open();
    if (!record || *record) return record;
    MERIDIAN_TRY(const bool more, find_following());
    if (!more) return std::optional<RecordView>();
    // The writer may have appended here between the last look and the beginning of that segment.
    record = read_open();
    if (!record || *record) return record;
    open_ = std::exchange(following_, std::nullopt);
    number_ = following_number_;
  }
}

Result<std::optional<RecordView>> ShardReader::read_open() {
  if (!open_) return std::optional<RecordView>();
  auto record = open_->next();
  if (!record && record.error().code() == Errc::invalid) {
    note(number_, fmt::format("at byte {}: {}", open_->offset(), record.error().detail()));
    open_.reset();
    return std::optional<RecordView>();
  }
  return record;
}

// Opens the segment after the open one, if it was begun.
Result<bool> ShardReader::find_following() {
  if (following_) return true;
  if (number_ == 0 && listed_.empty()) {
    MERIDIAN_TRY(const auto shards, list_segments(folder_));
    const auto found = std::ranges::find(shards, shard_, &ShardSegments::shard);
    if (found != shards.end()) listed_.assign(found->numbers.begin(), found->numbers.end());
  }
  while (!listed_.empty()) {
    MERIDIAN_TRY(const bool begun, try_segment(listed_.front()));
    if (begun) {
      listed_.pop_front();
      return true;
    }
    // What was prepared and is the last may be begun yet; everything else was noted.
    if (listed_.size() == 1) return false;
    listed_.pop_front();
  }
  return number_ == 0 ? false : try_segment(number_ + 1);
}

Result<bool> ShardReader::try_segment(std::uint64_t number) {
  Sha256 sha;
  auto reader = SegmentReader::open(folder_ / segment_name(shard_, number));
  if (!reader) {
    // Not there yet, or removed because of its age.
    if (reader.error().code() == Errc::not_found) return false;
    return std::unexpected(reader.error());
  }
  MERIDIAN_TRY(const auto bytes, reader->read_header());
  const auto header = parse_segment_header(bytes, sha);
  if (!header) note(number, header.error().detail());
  if (!header || !*header) return false;
  following_ = std::move(*reader);
  following_number_ = number;
  return true;
}

void ShardReader::note(std::uint64_t number, std::string_view what) {
  std::string line = fmt::format("{}: {}", segment_name(shard_, number), what);
  // Asked again at every poll, it says the same again.
  if (broken_.size() == broken_max || std::ranges::find(broken_, line) != broken_.end()) return;
  broken_.push_back(std::move(line));
}

}  // namespace meridian::trail
