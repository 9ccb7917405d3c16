#pragma once
// Verifies one shard, segment by segment. A part of verify().

#include "base/result.h"
#include "gate/trail/chain.h"
#include "gate/trail/segment_reader.h"
#include "gate/trail/verify.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace meridian::trail {

class ShardVerifier {
 public:
  // `keys` that are trusted; empty: any. Known heads of this shard, by sequence. All outlive it.
  ShardVerifier(std::filesystem::path folder,
                std::string node,
                std::uint32_t shard,
                const std::vector<PublicKey>& keys,
                const std::vector<const SignedHead*>& heads);

  // `numbers` of the segments that are there, in order; not empty.
  void run(const std::vector<std::uint64_t>& numbers);

  // Valid after run(). Of a shard that retention took segments from, the newest of those.
  const std::map<std::uint32_t, std::uint64_t>& removed_through() const noexcept {
    return removed_through_;
  }

  // Compares the first segment with what retention records account for.
  void account_for_missing(std::uint64_t removed_through);

  ShardReport take_report() { return std::move(report_); }

 private:
  std::uint64_t last_begun(const std::vector<std::uint64_t>& numbers);
  void verify_segment(std::uint64_t number, bool last);
  // Empty: there is nothing more to verify in the segment.
  std::optional<SegmentHeader> verify_header(const SegmentReader& reader,
                                             std::uint64_t number,
                                             bool last);
  void finish_before();
  void verify_link(const SegmentHeader& header);
  void verify_records(SegmentReader& reader, const SegmentHeader& header, bool last);
  // True when the writer has appended meanwhile, so that there are records to verify.
  bool verify_tail(SegmentReader& reader, const SegmentHeader& header, bool last);
  void verify_record(const RecordView& record, const SegmentHeader& header);
  void verify_fields(const RecordView& record);
  void verify_head(const RecordView& record, const SegmentHeader& header);
  void verify_known_heads(const RecordView& record);
  void remember(std::uint64_t sequence, Bytes hash);
  void forget_through(std::uint64_t sequence);

  void find(Fault fault, std::uint64_t sequence, std::uint64_t offset, std::string detail);
  void find(Fault fault, const RecordView& record, std::string detail);
  void add(Finding finding);

  std::filesystem::path folder_;
  const std::vector<PublicKey>& keys_;
  const std::vector<const SignedHead*>& heads_;
  std::size_t heads_met_ = 0;

  Sha256 sha_;
  ShardReport report_;
  std::map<std::uint32_t, std::uint64_t> removed_through_;
  std::uint64_t first_number_ = 0;

  struct Unfinished {
    std::string file;
    SegmentReader reader;
    SegmentHeader header;
  };
  std::optional<Unfinished> unfinished_;  // Read to its end while it was in use.

  std::string file_;         // The segment that is being verified.
  bool any_before_ = false;  // Whether last_ means something.
  ChainPlace last_;
  bool broken_before_ = false;  // The segment before had findings, so its end says nothing.
  bool broken_ = false;
  PublicKey key_{};  // Of the newest header that could be read; zeros: none could.

  // Hashes of the records from history_first_ on, for the heads to come.
  std::vector<Digest> history_;
  std::uint64_t history_first_ = 0;
  std::uint64_t sealed_through_ = 0;
  std::vector<std::uint64_t> head_records_;  // Sequences of those after sealed_through_.
};

}  // namespace meridian::trail
