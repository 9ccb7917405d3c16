#include "gate/trail/format.h"

#include "base/assert.h"
#include "base/number.h"

#include <algorithm>
#include <fmt/format.h>

namespace meridian::trail {
namespace {

constexpr std::size_t version_at = 8;
constexpr std::size_t shard_at = 12;
constexpr std::size_t number_at = 16;
constexpr std::size_t first_sequence_at = 24;
constexpr std::size_t begun_at_at = 32;
constexpr std::size_t key_at = 40;
constexpr std::size_t node_size_at = 72;
constexpr std::size_t node_at = 73;
constexpr std::size_t previous_hash_at = 192;
constexpr std::size_t hash_at = 224;
static_assert(hash_at + hash_size == segment_header_size);

constexpr std::string_view segment_suffix = ".trail";

}  // namespace

std::array<std::uint8_t, segment_header_size> encode(SegmentHeader& header, Sha256& sha) noexcept {
  MERIDIAN_ASSERT(header.node.size() <= node_name_size_max);
  std::array<std::uint8_t, segment_header_size> bytes{};
  std::uint8_t* const at = bytes.data();
  store(at, segment_magic);
  store(at + version_at, format_version);
  store(at + shard_at, header.shard);
  store(at + number_at, header.number);
  store(at + first_sequence_at, header.first_sequence);
  store(at + begun_at_at, std::int64_t{header.begun_at.time_since_epoch().count()});
  std::ranges::copy(header.key, at + key_at);
  at[node_size_at] = static_cast<std::uint8_t>(header.node.size());
  std::ranges::copy(header.node, at + node_at);
  std::ranges::copy(header.previous_hash, at + previous_hash_at);
  header.hash = sha.digest(Bytes(bytes).first(hash_at));
  std::ranges::copy(header.hash, at + hash_at);
  return bytes;
}

Result<std::optional<SegmentHeader>> parse_segment_header(Bytes bytes, Sha256& sha) {
  const auto zero = [](std::uint8_t byte) { return byte == 0; };
  // The file was created, and its process killed before it had its size.
  if (bytes.empty()) return std::optional<SegmentHeader>();
  if (bytes.size() < segment_header_size) {
    return fail(Errc::invalid,
                fmt::format("the file has {} bytes and ends within the segment header of {}",
                            bytes.size(),
                            segment_header_size));
  }
  const std::uint8_t* const at = bytes.data();
  const auto magic = load<std::uint64_t>(at);
  if (magic == 0) return std::optional<SegmentHeader>();
  if (magic != segment_magic) return fail(Errc::invalid, "the segment header has no magic number");
  Digest hash;
  std::copy_n(at + hash_at, hash_size, hash.begin());
  if (sha.digest(bytes.first(hash_at)) != hash) {
    return fail(Errc::invalid, "the hash of the segment header does not match its bytes");
  }
  if (const auto version = load<std::uint32_t>(at + version_at); version != format_version) {
    return fail(
        Errc::invalid,
        fmt::format("the segment has format {}; this program reads {}", version, format_version));
  }
  SegmentHeader header;
  const std::size_t node_size = at[node_size_at];
  if (node_size > node_name_size_max ||
      !std::all_of(at + node_at + node_size, at + previous_hash_at, zero)) {
    return fail(Errc::invalid, "the segment header has bytes where it must have none");
  }
  header.shard = load<std::uint32_t>(at + shard_at);
  header.number = load<std::uint64_t>(at + number_at);
  header.first_sequence = load<std::uint64_t>(at + first_sequence_at);
  if (header.number == 0 || header.first_sequence == 0) {
    return fail(Errc::invalid, "the segment header counts segments or records from zero");
  }
  header.begun_at = to_wall_time(load<std::uint64_t>(at + begun_at_at));
  std::copy_n(at + key_at, header.key.size(), header.key.begin());
  header.node.assign(reinterpret_cast<const char*>(at + node_at), node_size);
  std::copy_n(at + previous_hash_at, hash_size, header.previous_hash.begin());
  header.hash = hash;
  return header;
}

RecordHeader parse_record_header(const std::uint8_t* bytes) noexcept {
  RecordHeader header;
  header.size = load<std::uint32_t>(bytes);
  header.kind = static_cast<RecordKind>(bytes[4]);
  header.sequence = load<std::uint64_t>(bytes + 8);
  header.time = to_wall_time(load<std::uint64_t>(bytes + 16));
  header.visit = VisitId(load<std::uint64_t>(bytes + 24));
  header.request = RequestId(load<std::array<std::uint8_t, 16>>(bytes + 32));
  return header;
}

std::string segment_name(std::uint32_t shard, std::uint64_t number) {
  return fmt::format("{}-{:08}{}", shard, number, segment_suffix);
}

std::optional<SegmentPlace> parse_segment_name(std::string_view name) noexcept {
  const std::string_view all = name;
  if (!name.ends_with(segment_suffix)) return std::nullopt;
  name.remove_suffix(segment_suffix.size());
  const std::size_t dash = name.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto shard = parse_number<std::uint32_t>(name.substr(0, dash));
  const auto number = parse_number<std::uint64_t>(name.substr(dash + 1));
  if (!shard || !number) return std::nullopt;
  // One place has one name, so that no second file can claim it.
  if (segment_name(*shard, *number) != all) return std::nullopt;
  return SegmentPlace{.shard = *shard, .number = *number};
}

bool is_node_name(std::string_view name) noexcept {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= node_name_size_max && name.front() != '.' &&
         name != key_folder && std::ranges::all_of(name, fits);
}

}  // namespace meridian::trail
