#include "gate/trail/chain.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <vector>

namespace meridian::trail {
namespace {

constexpr std::size_t chunk_size = std::size_t{1} << 20;

// A file made to look like records everywhere must not cost more than this to be judged.
constexpr std::uint32_t candidates_max = 10'000;

// The largest record with what must lie around it.
constexpr std::size_t overlap_size = hash_size + record_size_max + hash_size;

class TailScan {
 public:
  TailScan(const SegmentHeader& segment, std::uint64_t expected_sequence, Sha256& sha)
      : segment_(segment), expected_sequence_(expected_sequence), sha_(sha) {}

  // `bytes` lie from `begin` on in the file; those before `from` were looked at. Gives where to go
  // on.
  std::uint64_t scan(Bytes bytes, std::uint64_t begin, std::uint64_t from, bool last) {
    std::uint64_t at = from;
    for (; at + record_alignment <= begin + bytes.size(); at += record_alignment) {
      const std::uint8_t* const word = bytes.data() + (at - begin);
      if (load<std::uint64_t>(word) == 0) continue;
      tail_.size = at + record_alignment;  // From the file's beginning, until finish().
      if (!last && begin + bytes.size() - at < overlap_size) return at;
      look_at(bytes, begin, at);
    }
    for (; last && at < begin + bytes.size(); ++at) {
      if (bytes[at - begin] != 0) tail_.size = at + 1;
    }
    return at;
  }

  SegmentTail finish(std::uint64_t offset, std::uint64_t file_size) {
    tail_.reaches_end = tail_.size > offset && tail_.size + hash_size > file_size;
    tail_.size = tail_.size > offset ? tail_.size - offset : 0;
    return tail_;
  }

 private:
  void look_at(Bytes bytes, std::uint64_t begin, std::uint64_t at) {
    const std::uint64_t left = begin + bytes.size() - at;
    if (left < record_header_size + hash_size || at - begin < hash_size) return;
    const std::uint8_t* const place = bytes.data() + (at - begin);
    RecordView record;
    record.header = parse_record_header(place);
    const RecordHeader& header = record.header;
    if (!is_record_size(header.size) || stride(header.size) > left) return;
    if (header.sequence <= expected_sequence_) return;
    if (candidates_ == candidates_max) return;
    record.offset = at;
    record.linked = Bytes(place - hash_size, hash_size + header.size);
    record.hash = Bytes(place + header.size, hash_size);
    if (!hash_holds(record, sha_)) {
      ++candidates_;
      return;
    }
    tail_.records_follow = true;
    if (header.kind != RecordKind::head) return;
    if (const auto head = read_head(record, segment_)) {
      tail_.synced_sequence = std::max(tail_.synced_sequence, head->synced_sequence);
    }
  }

  const SegmentHeader& segment_;
  std::uint64_t expected_sequence_;
  Sha256& sha_;
  SegmentTail tail_;
  std::uint32_t candidates_ = 0;
};

}  // namespace

bool hash_holds(const RecordView& record, Sha256& sha) noexcept {
  const Digest hash = sha.digest(record.linked);
  return std::ranges::equal(hash, record.hash);
}

Result<SignedHead> read_head(const RecordView& record, const SegmentHeader& segment) {
  MERIDIAN_TRY(const Head fields, decode<Head>(record.fields()));
  SignedHead head = to_signed_head(fields, segment.node, segment.shard, segment.key);
  if (!head.signature_holds()) {
    return fail(Errc::invalid,
                fmt::format("the signature of the head over record {} is not by key {}",
                            head.sequence,
                            short_name(segment.key)));
  }
  return head;
}

bool SegmentTail::like_unfinished_append() const noexcept {
  return !records_follow && !reaches_end && size <= stride(record_size_max);
}

Result<SegmentTail> scan_tail(const SegmentReader& reader,
                              const SegmentHeader& segment,
                              std::uint64_t offset,
                              std::uint64_t expected_sequence,
                              Sha256& sha) {
  TailScan scan(segment, expected_sequence, sha);
  // A finished segment has no tail at all.
  MERIDIAN_TRY(const std::uint64_t file_size, reader.file_size());
  if (file_size <= offset) return SegmentTail();
  std::vector<std::uint8_t> chunk(
      std::clamp<std::uint64_t>(file_size, 2 * overlap_size, chunk_size));
  std::uint64_t from = offset;
  for (;;) {
    const std::uint64_t begin = from - hash_size;
    MERIDIAN_TRY(const std::size_t size, reader.read_at(begin, chunk));
    const bool last = size < chunk.size();
    from = scan.scan(Bytes(chunk).first(size), begin, from, last);
    if (last) return scan.finish(offset, begin + size);
  }
}

}  // namespace meridian::trail
