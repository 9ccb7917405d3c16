#pragma once
// What the last run of a node left of one shard, and where its chain goes on.
//
// Only the last two segments can lack something: a segment is begun after all but the one before it
// are on the disk.
//
//   killed   The process died: records are whole, and one append may be unfinished. It is cut off.
//   torn     The machine died: what had not reached the disk may be missing anywhere. What follows
//            the first record that is not whole was never durable; it goes into <segment>.torn.
//   damaged  The same, but a signed head says that the record was durable, so a failing disk or a
//            person changed it. Everything stays as it lies, and the chain goes on in a new segment
//            from the last record that is whole; `verify` will name the one that is not.

#include "base/result.h"
#include "gate/trail/chain.h"
#include "gate/trail/record.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace meridian::trail {

struct KeptSegment {
  std::uint64_t number = 0;
  WallTime begun_at{};
};

struct Recovered {
  std::vector<KeptSegment> segments{};  // In order.
  std::uint64_t next_number = 1;
  ChainPlace last{};  // Where the next segment links to.
  PreviousEnd previous_end = PreviousEnd::none;
  std::uint64_t bytes_cut = 0;
  std::string detail{};  // For the log and the trail; empty when there is nothing to say.
};

// Requires that nobody else writes the shard. Errors: unavailable (the folder cannot be read or
// changed).
Result<Recovered> recover_shard(const std::filesystem::path& folder, std::uint32_t shard);

// The numbers of the segments of each shard that has any.
struct ShardSegments {
  std::uint32_t shard = 0;
  std::vector<std::uint64_t> numbers{};  // In order.
};
Result<std::vector<ShardSegments>> list_segments(const std::filesystem::path& folder);

}  // namespace meridian::trail
