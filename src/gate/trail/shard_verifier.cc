#include "gate/trail/shard_verifier.h"

#include "base/hex.h"
#include "gate/trail/codec.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace meridian::trail {
namespace {

// Hashes kept for heads to come: 128 MiB. A writer that seals has a head long before.
constexpr std::size_t history_max = std::size_t{4} << 20;

}  // namespace

ShardVerifier::ShardVerifier(std::filesystem::path folder,
                             std::string node,
                             std::uint32_t shard,
                             const std::vector<PublicKey>& keys,
                             const std::vector<const SignedHead*>& heads)
    : folder_(std::move(folder)), keys_(keys), heads_(heads) {
  report_.node = std::move(node);
  report_.shard = shard;
}

void ShardVerifier::run(const std::vector<std::uint64_t>& numbers) {
  first_number_ = numbers.front();
  std::uint64_t expected = numbers.front();
  const std::uint64_t last = last_begun(numbers);
  for (const std::uint64_t number : numbers) {
    // A segment that was made while the folder was listed may be left out of the list.
    std::error_code error;
    while (expected < number &&
           std::filesystem::exists(folder_ / segment_name(report_.shard, expected), error)) {
      verify_segment(expected, expected >= last);
      ++expected;
    }
    if (number != expected) {
      file_ = segment_name(report_.shard, expected);
      find(Fault::missing_segment,
           0,
           0,
           fmt::format("{} segments are missing before {}",
                       number - expected,
                       segment_name(report_.shard, number)));
    }
    expected = number + 1;
    verify_segment(number, number >= last);
  }
  report_.last_sequence = last_.sequence;
  report_.last_hash = last_.hash;
  const std::uint64_t sealed =
      report_.last_head ? report_.last_head->sequence : report_.first_sequence - 1;
  const std::uint64_t covered = sealed + head_records_.size();
  if (last_.sequence > covered) report_.unsealed_count = last_.sequence - covered;
  for (; heads_met_ < heads_.size(); ++heads_met_) {
    const SignedHead& head = *heads_[heads_met_];
    file_ = segment_name(report_.shard, head.segment);
    find(Fault::truncated,
         head.sequence,
         0,
         fmt::format("a head of {} over record {} is known, but the chain ends at record {}",
                     to_rfc3339(head.time),
                     head.sequence,
                     last_.sequence));
  }
}

// The segment that is, or was, being written. One more may be prepared.
std::uint64_t ShardVerifier::last_begun(const std::vector<std::uint64_t>& numbers) {
  for (auto number = numbers.rbegin(); number != numbers.rend(); ++number) {
    const auto reader = SegmentReader::open(folder_ / segment_name(report_.shard, *number));
    if (!reader) continue;
    const auto bytes = reader->read_header();
    if (!bytes) return *number;
    const auto header = parse_segment_header(*bytes, sha_);
    if (!header || *header) return *number;
  }
  return numbers.front();
}

void ShardVerifier::verify_segment(std::uint64_t number, bool last) {
  file_ = segment_name(report_.shard, number);
  auto reader = SegmentReader::open(folder_ / file_);
  const bool gone = !reader && reader.error().code() == Errc::not_found;
  if (gone && (last || !any_before_)) {
    // It was there a moment ago: retention took the first, or a node that starts the last, which
    // was only prepared. With known heads more would be missed.
    report_.notes.push_back(file_ + ": was removed while the trail was verified");
    if (!any_before_) first_number_ = number + 1;
    return;
  }
  if (!reader) {
    find(Fault::unreadable, 0, 0, reader.error().detail());
    return;
  }
  broken_before_ = std::exchange(broken_, false);
  const auto header = verify_header(*reader, number, last);
  if (!header) return;
  ++report_.segments_count;
  verify_records(*reader, *header, last);
  if (last && !broken_) unfinished_.emplace(file_, std::move(*reader), *header);
}

// The segment before was in use when it was read. The writer may have appended to it since, up to
// the beginning of this one.
void ShardVerifier::finish_before() {
  if (!unfinished_) return;
  auto [file, reader, header] = *std::exchange(unfinished_, std::nullopt);
  const bool broken = std::exchange(broken_, false);
  std::swap(file_, file);
  verify_records(reader, header, false);
  std::swap(file_, file);
  broken_before_ = broken_before_ || std::exchange(broken_, broken);
}

std::optional<SegmentHeader> ShardVerifier::verify_header(const SegmentReader& reader,
                                                          std::uint64_t number,
                                                          bool last) {
  const auto bytes = reader.read_header();
  if (!bytes) {
    find(Fault::unreadable, 0, 0, bytes.error().detail());
    return std::nullopt;
  }
  auto parsed = parse_segment_header(*bytes, sha_);
  if (parsed && !*parsed) {
    // Prepared, and not begun: then it is the last, and empty. Or it was begun a moment ago.
    const auto tail = scan_tail(reader, {}, segment_header_size, 0, sha_);
    if (last && tail && tail->size == 0) return std::nullopt;
    const auto again = reader.read_header();
    if (again) parsed = parse_segment_header(*again, sha_);
    if (parsed && !*parsed) {
      find(Fault::header_mismatch, 0, 0, "the header has no magic number, but records follow it");
      return std::nullopt;
    }
  }
  if (!parsed) {
    find(Fault::header_mismatch, 0, 0, parsed.error().detail());
    // The records still link to one another; their heads are held against the key before.
    if (bytes->size() < segment_header_size) return std::nullopt;
    SegmentHeader guess;
    guess.node = report_.node;
    guess.shard = report_.shard;
    guess.key = key_;
    return guess;
  }
  SegmentHeader& header = **parsed;
  if (header.shard != report_.shard || header.number != number || header.node != report_.node) {
    find(Fault::header_mismatch,
         0,
         0,
         fmt::format("the header is that of segment {} of node {:?}",
                     segment_name(header.shard, header.number),
                     header.node));
  }
  if (!keys_.empty() && std::ranges::find(keys_, header.key) == keys_.end()) {
    find(Fault::unknown_key,
         0,
         0,
         fmt::format("the segment names key {}, which is not trusted", short_name(header.key)));
  }
  finish_before();
  key_ = header.key;
  verify_link(header);
  return std::move(header);
}

// That the segment continues the chain where the one before it ended.
void ShardVerifier::verify_link(const SegmentHeader& header) {
  const ChainPlace from{.sequence = header.first_sequence - 1, .hash = header.previous_hash};
  if (!any_before_) {
    report_.first_sequence = header.first_sequence;
    if (header.number == 1 && from != ChainPlace()) {
      find(Fault::header_mismatch, 0, 0, "the first segment says that others came before it");
    }
  } else if (from != last_ && !broken_before_) {
    find(from.sequence > last_.sequence ? Fault::truncated : Fault::header_mismatch,
         0,
         0,
         fmt::format("the segment continues from record {} with hash {}, but the chain before it "
                     "ends at record {} with hash {}",
                     from.sequence,
                     to_hex(from.hash),
                     last_.sequence,
                     to_hex(last_.hash)));
  }
  if (!any_before_ || from != last_) {
    history_.clear();
    remember(from.sequence, from.hash);
  }
  any_before_ = true;
  last_ = {.sequence = from.sequence, .hash = header.hash};
}

void ShardVerifier::verify_records(SegmentReader& reader, const SegmentHeader& header, bool last) {
  for (;;) {
    const auto record = reader.next();
    if (!record) {
      const bool bytes = record.error().code() == Errc::invalid;
      find(bytes ? Fault::malformed : Fault::unreadable,
           last_.sequence + 1,
           reader.offset(),
           record.error().detail());
      return;
    }
    if (*record) {
      verify_record(**record, header);
    } else if (!verify_tail(reader, header, last)) {
      return;
    }
  }
}

bool ShardVerifier::verify_tail(SegmentReader& reader, const SegmentHeader& header, bool last) {
  const std::uint64_t expected = last_.sequence + 1;
  const auto tail = scan_tail(reader, header, reader.offset(), expected, sha_);
  if (!tail) {
    find(Fault::unreadable, expected, reader.offset(), tail.error().detail());
    return false;
  }
  if (tail->size == 0) return false;
  // What looked like a tail may be records that were appended since.
  std::uint32_t size = 0;
  const auto read =
      reader.read_at(reader.offset(), {reinterpret_cast<std::uint8_t*>(&size), sizeof(size)});
  if (read && size != 0) return true;
  if (last && tail->like_unfinished_append()) {
    report_.notes.push_back(
        fmt::format("{}: {} bytes behind record {} are an append that did not finish",
                    file_,
                    tail->size,
                    last_.sequence));
    return false;
  }
  find(Fault::altered_tail,
       expected,
       reader.offset(),
       fmt::format("the size of a record is zero, but {} bytes follow{}",
                   tail->size,
                   tail->records_follow ? ", whole records among them" : ""));
  return false;
}

void ShardVerifier::verify_record(const RecordView& record, const SegmentHeader& header) {
  const std::uint64_t expected = last_.sequence + 1;
  last_.sequence = expected;
  if (report_.records_count == 0 && report_.first_sequence == 0) report_.first_sequence = expected;
  ++report_.records_count;
  if (!hash_holds(record, sha_)) {
    find(Fault::hash_mismatch, record, "the record's hash does not match its bytes");
  } else if (record.header.sequence != expected) {
    last_.sequence = record.header.sequence;
    find(Fault::sequence_gap, record, fmt::format("record {} was expected here", expected));
  } else {
    verify_fields(record);
    if (record.header.kind == RecordKind::head) {
      head_records_.push_back(expected);
      verify_head(record, header);
    }
  }
  std::ranges::copy(record.hash, last_.hash.begin());
  remember(last_.sequence, record.hash);
  verify_known_heads(record);
}

void ShardVerifier::verify_fields(const RecordView& record) {
  with_record_of(record.header.kind, [&](auto empty) {
    using Record = decltype(empty);
    const auto fields = decode<Record>(record.fields());
    if (!fields) {
      find(Fault::malformed, record, fields.error().detail());
      return;
    }
    if constexpr (std::same_as<Record, Retention>) {
      for (const ShardRetention& shard : fields->shards) {
        std::uint64_t& through = removed_through_[shard.of_shard];
        through = std::max(through, shard.removed_through);
      }
    }
  });
}

void ShardVerifier::verify_head(const RecordView& record, const SegmentHeader& header) {
  if (header.key == PublicKey()) return;  // Its header could not be read, which was found.
  auto head = read_head(record, header);
  if (!head) {
    find(Fault::bad_signature, record, head.error().detail());
    return;
  }
  const std::uint64_t sealed = head->sequence;
  if (history_.empty()) return;
  const std::uint64_t newest = history_first_ + history_.size() - 1;
  if (sealed > newest) {
    find(Fault::rewritten,
         record,
         fmt::format("it is a head over record {}, which is none", sealed));
    return;
  }
  // One over a record that was removed, or that an older head covers, says nothing new.
  if (sealed < history_first_) return;
  if (history_[sealed - history_first_] != head->hash) {
    find(Fault::rewritten,
         record,
         fmt::format("it was signed when record {} had another hash: records were written anew "
                     "after record {}",
                     sealed,
                     sealed_through_));
    return;
  }
  // A head that was signed earlier may follow: the end of a segment is signed by its writer.
  forget_through(sealed_through_);
  if (sealed < sealed_through_) return;
  sealed_through_ = sealed;
  std::erase_if(head_records_, [&](std::uint64_t sequence) { return sequence <= sealed; });
  report_.last_head = std::move(*head);
}

void ShardVerifier::verify_known_heads(const RecordView& record) {
  while (heads_met_ < heads_.size()) {
    const SignedHead& head = *heads_[heads_met_];
    if (head.sequence > last_.sequence) return;
    ++heads_met_;
    if (head.sequence < report_.first_sequence) continue;  // Retention removed it.
    if (head.sequence < last_.sequence) {
      find(Fault::truncated,
           record,
           fmt::format("a head over record {} is known, but the record is gone", head.sequence));
    } else if (head.hash != last_.hash) {
      find(Fault::rewritten,
           record,
           fmt::format("a head of {} is known that gives it another hash", to_rfc3339(head.time)));
    }
  }
}

void ShardVerifier::account_for_missing(std::uint64_t removed_through) {
  if (first_number_ - 1 <= removed_through) return;
  file_ = segment_name(report_.shard, first_number_ - 1);
  Finding finding{.fault = Fault::missing_segment,
                  .file = file_,
                  .sequence = 0,
                  .offset = 0,
                  .kind = std::nullopt,
                  .time = std::nullopt,
                  .detail = fmt::format("segments up to {} are missing, and retention records "
                                        "account for those up to {}",
                                        first_number_ - 1,
                                        removed_through)};
  report_.findings.insert(report_.findings.begin(), std::move(finding));
}

void ShardVerifier::remember(std::uint64_t sequence, Bytes hash) {
  if (history_.size() == history_max) {
    report_.notes.push_back(
        fmt::format("{}: no head for {} records before record {}", file_, history_max, sequence));
    history_.clear();
  }
  if (history_.empty() || sequence != history_first_ + history_.size()) {
    history_.clear();
    history_first_ = sequence;
  }
  Digest& last = history_.emplace_back();
  std::ranges::copy(hash, last.begin());
}

void ShardVerifier::forget_through(std::uint64_t sequence) {
  if (sequence < history_first_) return;
  const std::size_t count = std::min<std::uint64_t>(sequence + 1 - history_first_, history_.size());
  history_.erase(history_.begin(), history_.begin() + static_cast<std::ptrdiff_t>(count));
  history_first_ += count;
}

void ShardVerifier::find(Fault fault,
                         std::uint64_t sequence,
                         std::uint64_t offset,
                         std::string detail) {
  add({.fault = fault,
       .file = file_,
       .sequence = sequence,
       .offset = offset,
       .kind = std::nullopt,
       .time = std::nullopt,
       .detail = std::move(detail)});
}

// The place in the chain names the record; its own sequence may be what was changed.
void ShardVerifier::find(Fault fault, const RecordView& record, std::string detail) {
  add({.fault = fault,
       .file = file_,
       .sequence = last_.sequence,
       .offset = record.offset,
       .kind = record.header.kind,
       .time = record.header.time,
       .detail = std::move(detail)});
}

void ShardVerifier::add(Finding finding) {
  broken_ = true;
  if (report_.findings.size() < ShardReport::findings_max) {
    report_.findings.push_back(std::move(finding));
  } else {
    ++report_.findings_left_out;
  }
}

}  // namespace meridian::trail
