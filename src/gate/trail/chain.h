#pragma once
// Judges whether records follow from one another, and what lies behind the last that does.

#include "base/result.h"
#include "gate/trail/format.h"
#include "gate/trail/head.h"
#include "gate/trail/segment_reader.h"

#include <cstdint>
#include <optional>
#include <string>

namespace meridian::trail {

// A place in the chain: this record is the last so far, and has this hash. For the head of a
// segment the hash is the header's.
struct ChainPlace {
  std::uint64_t sequence = 0;
  Digest hash{};
  friend bool operator==(const ChainPlace&, const ChainPlace&) = default;
};

// True when the record's hash is that of its bytes and of the 32 bytes before it.
bool hash_holds(const RecordView& record, Sha256& sha) noexcept;

// The head that a record carries, if its signature is by this key and for this place. A record that
// claims to be a head and is not gives an error that says why.
Result<SignedHead> read_head(const RecordView& record, const SegmentHeader& segment);

// What lies in a segment from an offset on that is the end of its chain.
struct SegmentTail {
  std::uint64_t size = 0;  // Up to the last 8 bytes that are not all zero.

  // Further on lie records whose hashes hold: something happened to what lies before them.
  bool records_follow = false;

  // The newest record that was durable according to a signed head among those.
  std::uint64_t synced_sequence = 0;

  // The file ends with it, or so soon after it that no append can have stopped there: a writer
  // leaves at least 32 bytes of a segment unused, and a segment that was closed has no room at all.
  bool reaches_end = false;

  // What a process that was killed while it appended can have left behind.
  bool like_unfinished_append() const noexcept;
};

// `expected_sequence` is that of the record that would begin at the offset. Errors: unavailable.
Result<SegmentTail> scan_tail(const SegmentReader& reader,
                              const SegmentHeader& segment,
                              std::uint64_t offset,
                              std::uint64_t expected_sequence,
                              Sha256& sha);

}  // namespace meridian::trail
