#pragma once
// The files of the trail: <trail>/<node>/<shard>-<number>.trail, each a segment of one shard.
//
//   segment header, 256 bytes          record, again and again
//     0  u64  magic, written last        0  u32  size of header, fields and padding, written last
//     8  u32  format version             4  u8   kind
//    12  u32  shard                      5       zeros
//    16  u64  number of the segment
//    24  u64  sequence of the first      8  u64  sequence in the shard, from 1
//             record                    16  i64  microseconds since 1970
//    32  i64  when it was begun         24  u64  visit, or zero
//    40  32   public key of the signer  32  16   request id, or zeros
//    72  u8   size of the node's name   48       fields (gate/trail/codec.h), zeros up to a
//    73  64   the node's name                    multiple of 8
//   137  55   zeros                  size  32    hash
//   192  32   hash before this segment
//   224  32   hash
//
// All numbers are little-endian. The hash of a record is the SHA-256 of the 32 bytes before it (the
// hash of what came before) and its `size` bytes; the hash of a segment header is that of its first
// 224 bytes. So all segments of a shard are one chain. A segment that still has room ends in zeros.

#include "base/ids.h"
#include "base/result.h"
#include "gate/trail/codec.h"
#include "gate/trail/digest.h"
#include "gate/trail/record.h"
#include "gate/trail/signing_key.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace meridian::trail {

inline constexpr std::uint64_t segment_magic = 0x4c4941525444524d;  // "MRDTRAIL"
inline constexpr std::uint32_t format_version = 1;
inline constexpr std::size_t segment_header_size = 256;
inline constexpr std::size_t node_name_size_max = 64;

inline constexpr std::size_t hash_size = std::tuple_size_v<Digest>;
inline constexpr std::size_t record_header_size = 48;
inline constexpr std::size_t record_alignment = 8;

// The largest kind is an invalidation of 24 entries, each two texts of 512 bytes: 24.7 KiB.
inline constexpr std::size_t record_size_max = std::size_t{32} * 1024;

// A record of this size takes so many bytes of a segment.
constexpr std::uint64_t stride(std::uint64_t record_size) noexcept {
  return record_size + hash_size;
}

// Which the size of every record is.
constexpr bool is_record_size(std::uint64_t size) noexcept {
  return size >= record_header_size && size <= record_size_max && size % record_alignment == 0;
}

struct SegmentHeader {
  std::uint32_t shard = 0;
  std::uint64_t number = 0;
  std::uint64_t first_sequence = 0;
  WallTime begun_at{};
  PublicKey key{};
  std::string node{};
  Digest previous_hash{};
  Digest hash{};  // Filled in by encode() and parse().
};

// Its bytes; header.hash becomes what they say. Requires a node name of at most 64 bytes.
std::array<std::uint8_t, segment_header_size> encode(SegmentHeader& header, Sha256& sha) noexcept;

// Empty: prepared, but not begun. Errors: invalid, with what is wrong.
Result<std::optional<SegmentHeader>> parse_segment_header(Bytes bytes, Sha256& sha);

struct RecordHeader {
  std::uint32_t size = 0;
  RecordKind kind{};
  std::uint64_t sequence = 0;
  WallTime time{};
  VisitId visit{};
  RequestId request{};
};

// Requires record_header_size bytes. Judges nothing.
RecordHeader parse_record_header(const std::uint8_t* bytes) noexcept;

// One record as it lies in a segment. The bytes belong to whoever read them.
struct RecordView {
  RecordHeader header{};
  std::uint64_t offset = 0;  // In the segment.
  Bytes linked{};            // The 32 bytes before it, its header, fields and padding.
  Bytes hash{};              // 32 bytes.

  Bytes fields() const noexcept { return linked.subspan(hash_size + record_header_size); }
  std::uint64_t end_offset() const noexcept { return offset + stride(header.size); }
};

// "3-00000012.trail"
std::string segment_name(std::uint32_t shard, std::uint64_t number);

struct SegmentPlace {
  std::uint32_t shard = 0;
  std::uint64_t number = 0;
  friend auto operator<=>(const SegmentPlace&, const SegmentPlace&) = default;
};

// Empty for every other file of the folder.
std::optional<SegmentPlace> parse_segment_name(std::string_view name) noexcept;

// A node's name is that of its folder: letters, digits, '.', '_' and '-', not '.' first, at most
// 64, and not that of the folder of keys.
inline constexpr std::string_view key_folder = "key";
bool is_node_name(std::string_view name) noexcept;

}  // namespace meridian::trail
