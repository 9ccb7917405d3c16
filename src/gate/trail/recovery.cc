#include "gate/trail/recovery.h"

#include "gate/trail/disk.h"
#include "gate/trail/segment_reader.h"
#include "runtime/file.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

namespace meridian::trail {
namespace {

namespace fs = std::filesystem;

// A segment as it was found.
struct Examined {
  std::uint64_t number = 0;
  fs::path path;
  std::optional<SegmentHeader> header;  // None: prepared, never begun.
  std::string broken;                   // What is wrong with the header or the first bad record.
  ChainPlace last;                      // Of the records that are whole.
  std::uint64_t end = segment_header_size;
  RecordKind last_kind{};  // Heads aside.
  std::uint64_t synced_sequence = 0;
  SegmentTail tail;

  bool header_broken() const noexcept { return !header && !broken.empty(); }
  bool whole() const noexcept { return broken.empty() && tail.like_unfinished_append(); }
  // The newest record that some head in it says was durable.
  std::uint64_t synced() const noexcept { return std::max(synced_sequence, tail.synced_sequence); }
};

Result<void> walk(SegmentReader& reader, Examined& found, Sha256& sha) {
  for (;;) {
    auto record = reader.next();
    if (!record && record.error().code() != Errc::invalid) {
      return std::unexpected(record.error());
    }
    if (!record) {
      found.broken = record.error().detail();
      return {};
    }
    if (!*record) return {};
    const RecordView& view = **record;
    if (!hash_holds(view, sha) || view.header.sequence != found.last.sequence + 1) {
      found.broken = "its hash or sequence does not follow from the record before it";
      return {};
    }
    found.last.sequence = view.header.sequence;
    std::ranges::copy(view.hash, found.last.hash.begin());
    found.end = view.end_offset();
    if (view.header.kind != RecordKind::head) {
      found.last_kind = view.header.kind;
    } else if (const auto head = read_head(view, *found.header)) {
      found.synced_sequence = std::max(found.synced_sequence, head->synced_sequence);
    }
  }
}

Result<Examined> examine(const fs::path& folder, std::uint32_t shard, std::uint64_t number) {
  Sha256 sha;
  Examined found;
  found.number = number;
  found.path = folder / segment_name(shard, number);
  MERIDIAN_TRY(SegmentReader reader, SegmentReader::open(found.path));
  MERIDIAN_TRY(const auto bytes, reader.read_header());
  auto header = parse_segment_header(bytes, sha);
  if (!header) {
    found.broken = header.error().detail();
    return found;
  }
  if (!*header) {
    // Nothing, or a header whose last word was not stored yet. Records say that it was begun.
    const SegmentHeader nobody;
    MERIDIAN_TRY(const auto tail, scan_tail(reader, nobody, segment_header_size, 0, sha));
    if (tail.size > 0) found.broken = "the magic number of its header was removed";
    return found;
  }
  found.header = std::move(**header);
  if (found.header->shard != shard || found.header->number != number) {
    found.broken = "its header is that of another segment";
    found.header.reset();
    return found;
  }
  found.last = {.sequence = found.header->first_sequence - 1, .hash = found.header->hash};
  MERIDIAN_CHECK(walk(reader, found, sha));
  MERIDIAN_TRY(found.tail,
               scan_tail(reader, *found.header, found.end, found.last.sequence + 1, sha));
  return found;
}

std::string describe(const Examined& segment) {
  const std::string name = segment.path.filename().string();
  if (segment.header_broken()) return fmt::format("{}: {}", name, segment.broken);
  return fmt::format("{}: record {} at byte {}: {}",
                     name,
                     segment.last.sequence + 1,
                     segment.end,
                     segment.broken.empty() ? "bytes that are no record" : segment.broken);
}

fs::path torn_path(const fs::path& segment) {
  return segment.string() + ".torn";
}

// Keeps what follows the last whole record in a file of its own.
Result<void> keep_tail(const Examined& segment) {
  MERIDIAN_TRY(const SegmentReader reader, SegmentReader::open(segment.path));
  std::string bytes(segment.tail.size, '\0');
  MERIDIAN_TRY(
      const std::size_t size,
      reader.read_at(segment.end,
                     std::span(reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size())));
  bytes.resize(size);
  return write_new(torn_path(segment.path), bytes, 0600);
}

Result<void> cut_tail(const Examined& segment) {
  const File file(::open(segment.path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.open()) return fail_errno("open", segment.path, errno);
  if (::ftruncate(file.fd(), static_cast<off_t>(segment.end)) != 0) {
    return fail_errno("truncate", segment.path, errno);
  }
  if (::fsync(file.fd()) != 0) return fail_errno("fsync", segment.path, errno);
  return {};
}

Result<void> set_aside(const fs::path& path) {
  const fs::path aside = torn_path(path);
  if (::rename(path.c_str(), aside.c_str()) != 0) return fail_errno("rename", path, errno);
  return sync_folder(path.parent_path());
}

class Recovery {
 public:
  Recovery(fs::path folder, std::uint32_t shard) : folder_(std::move(folder)), shard_(shard) {}

  Result<Recovered> run(std::vector<std::uint64_t> numbers) {
    MERIDIAN_TRY(const auto newest, drop_prepared(numbers));
    if (!newest) return result_;
    const Examined& last = *newest;
    result_.next_number = last.number + 1;
    std::optional<Examined> before;
    // A head that was durable when the last segment was written vouches for all segments before it.
    const bool vouched = last.header && last.synced() + 1 >= last.header->first_sequence &&
                         last.header->first_sequence > 1;
    if (!vouched && numbers.size() > 1) {
      MERIDIAN_TRY(before, examine(folder_, shard_, numbers[numbers.size() - 2]));
    }
    if (last.header_broken()) {
      damaged(last);
      if (before) result_.last = before->last;
    } else if (!before || follows(last, *before)) {
      MERIDIAN_CHECK(end_with(last));
      if (before && before->tail.size == 0) {
        MERIDIAN_CHECK(cut_tail(*before));
      }
    } else {
      MERIDIAN_CHECK(end_before(last, *before, numbers));
    }
    MERIDIAN_CHECK(note_segments(numbers));
    return result_;
  }

 private:
  static bool follows(const Examined& last, const Examined& before) {
    return before.header && last.header->first_sequence == before.last.sequence + 1 &&
           last.header->previous_hash == before.last.hash;
  }

  // Gives the newest segment that was begun. One that was only prepared is as if it had never been.
  Result<std::optional<Examined>> drop_prepared(std::vector<std::uint64_t>& numbers) {
    while (!numbers.empty()) {
      MERIDIAN_TRY(Examined last, examine(folder_, shard_, numbers.back()));
      if (last.header || last.header_broken()) return std::optional(std::move(last));
      MERIDIAN_CHECK(remove_file(last.path));
      numbers.pop_back();
    }
    return std::optional<Examined>();
  }

  void damaged(const Examined& segment) {
    result_.previous_end = PreviousEnd::damaged;
    result_.detail = describe(segment);
    result_.last = segment.last;
  }

  // The usual case: only the end of the last segment is in question.
  Result<void> end_with(const Examined& last) {
    if (!last.whole() && last.synced() > last.last.sequence) {
      damaged(last);
      return {};
    }
    result_.last = last.last;
    result_.bytes_cut = last.tail.size;
    if (!last.whole()) {
      result_.previous_end = PreviousEnd::torn;
      result_.detail = describe(last);
      MERIDIAN_CHECK(keep_tail(last));
    } else {
      result_.previous_end = last.last_kind == RecordKind::node_stopped && last.tail.size == 0
                                 ? PreviousEnd::stopped
                                 : PreviousEnd::killed;
    }
    return cut_tail(last);
  }

  // The segment before the last one ends earlier than the last one says.
  Result<void> end_before(const Examined& last,
                          const Examined& before,
                          std::vector<std::uint64_t>& numbers) {
    const std::uint64_t synced = std::max(last.synced(), before.synced());
    if (!before.header || synced > before.last.sequence) {
      damaged(before);
      // What was recorded since is whole, so it stays a part of the chain.
      result_.last = last.last;
      return last.whole() ? cut_tail(last) : Result<void>();
    }
    result_.previous_end = PreviousEnd::torn;
    result_.last = before.last;
    result_.bytes_cut = before.tail.size + last.end + last.tail.size;
    result_.detail = describe(before) + "; the segment after it was set aside";
    MERIDIAN_CHECK(set_aside(last.path));
    if (before.tail.size > 0) {
      MERIDIAN_CHECK(keep_tail(before));
    }
    numbers.pop_back();
    result_.next_number = numbers.back() + 1;
    return cut_tail(before);
  }

  Result<void> note_segments(const std::vector<std::uint64_t>& numbers) {
    Sha256 sha;
    for (const std::uint64_t number : numbers) {
      MERIDIAN_TRY(const SegmentReader reader,
                   SegmentReader::open(folder_ / segment_name(shard_, number)));
      MERIDIAN_TRY(const auto bytes, reader.read_header());
      const auto header = parse_segment_header(bytes, sha);
      // One whose header is broken is kept as long as the one before it.
      const bool known = header && *header;
      const WallTime before =
          result_.segments.empty() ? WallTime() : result_.segments.back().begun_at;
      result_.segments.push_back(
          {.number = number, .begun_at = known ? (*header)->begun_at : before});
    }
    return {};
  }

  fs::path folder_;
  std::uint32_t shard_;
  Recovered result_;
};

}  // namespace

Result<std::vector<ShardSegments>> list_segments(const fs::path& folder) {
  MERIDIAN_TRY(const auto names, list_names(folder));
  std::vector<SegmentPlace> places;
  for (const std::string& name : names) {
    if (const auto place = parse_segment_name(name)) places.push_back(*place);
  }
  std::ranges::sort(places);
  std::vector<ShardSegments> shards;
  for (const SegmentPlace& place : places) {
    if (shards.empty() || shards.back().shard != place.shard) {
      shards.push_back({.shard = place.shard, .numbers = {}});
    }
    shards.back().numbers.push_back(place.number);
  }
  return shards;
}

Result<Recovered> recover_shard(const fs::path& folder, std::uint32_t shard) {
  MERIDIAN_TRY(auto shards, list_segments(folder));
  const auto found = std::ranges::find(shards, shard, &ShardSegments::shard);
  return Recovery(folder, shard)
      .run(found == shards.end() ? std::vector<std::uint64_t>() : std::move(found->numbers));
}

}  // namespace meridian::trail
