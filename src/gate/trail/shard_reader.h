#pragma once
// Reads one shard from its oldest segment to its newest record, also while it is written.

#include "base/result.h"
#include "gate/trail/format.h"
#include "gate/trail/segment_reader.h"

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace meridian::trail {

class ShardReader {
 public:
  // `folder` is the node's.
  ShardReader(std::filesystem::path folder, std::uint32_t shard)
      : folder_(std::move(folder)), shard_(shard) {}

  std::uint32_t shard() const noexcept { return shard_; }

  // The next record; none at the end, where a later call may find more. The record is valid until
  // the next call. What is broken is left out, from there to the next segment, and noted. Errors:
  // unavailable.
  Result<std::optional<RecordView>> next();

  // Where the record that next() gave last lies.
  std::uint64_t segment() const noexcept { return number_; }

  // What could not be read so far, a line each.
  const std::vector<std::string>& broken() const noexcept { return broken_; }

 private:
  Result<std::optional<RecordView>> read_open();
  Result<bool> find_following();
  Result<bool> try_segment(std::uint64_t number);
  void note(std::uint64_t number, std::string_view what);

  std::filesystem::path folder_;
  std::uint32_t shard_;

  std::uint64_t number_ = 0;  // Of the open segment; zero before the first.
  std::optional<SegmentReader> open_;
  std::deque<std::uint64_t> listed_;  // Segments that were there when this began, still to come.

  std::uint64_t following_number_ = 0;
  std::optional<SegmentReader> following_;

  std::vector<std::string> broken_;
};

}  // namespace meridian::trail
