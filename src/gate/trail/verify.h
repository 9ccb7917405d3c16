#pragma once
// Verifies a trail from its files alone: that no byte of what was recorded has changed, that
// nothing is missing in between, and that signed heads say the same. Reading only, live or copied.
//
// Without more it trusts the public keys beside the trail, and cannot see that its newest records
// were cut off. Give it keys and heads that were kept elsewhere (HeadSink), and it sees both.

#include "base/ids.h"
#include "base/result.h"
#include "gate/trail/head.h"
#include "gate/trail/record.h"
#include "gate/trail/signing_key.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace meridian::trail {

enum class Fault : std::uint8_t {
  header_mismatch,  // A segment's header was changed, or is that of another segment.
  unknown_key,      // A segment is signed by a key that is not trusted.
  missing_segment,  // A whole segment is gone, and no retention record accounts for it.
  hash_mismatch,    // A record's bytes are not those that were hashed.
  sequence_gap,     // A record's sequence does not follow.
  malformed,        // Bytes where a record must be are none.
  bad_signature,    // A head is not signed by the segment's key.
  rewritten,        // A head says that the chain had another hash.
  altered_tail,     // There are bytes behind the last record that no writer left there.
  truncated,        // Records that are known to have been there are gone.
  unreadable,       // The file system does not give the file.
};
std::string_view to_string(Fault fault) noexcept;

struct Finding {
  Fault fault{};
  std::string file{};          // "3-00000012.trail"; empty where none is to blame.
  std::uint64_t sequence = 0;  // The record; zero: a segment's header or a whole segment.
  std::uint64_t offset = 0;    // In the file.
  std::optional<RecordKind> kind{};
  std::optional<WallTime> time{};
  std::string detail{};
};

struct ShardReport {
  // So many findings are kept; more are counted.
  static constexpr std::size_t findings_max = 16;

  std::string node{};
  std::uint32_t shard = 0;
  std::uint64_t segments_count = 0;
  std::uint64_t records_count = 0;
  std::uint64_t first_sequence = 0;
  std::uint64_t last_sequence = 0;
  Digest last_hash{};
  std::optional<SignedHead> last_head{};
  std::uint64_t unsealed_count = 0;  // Records after that, heads aside.
  std::vector<Finding> findings{};  // In the order of the chain: the first is the first bad record.
  std::uint64_t findings_left_out = 0;
  std::vector<std::string> notes{};  // What is worth knowing and no fault.
};

struct VerifySettings {
  std::string node{};               // Only this one. Empty: all.
  std::vector<PublicKey> keys{};    // Empty: those in <folder>/key.
  std::vector<SignedHead> heads{};  // Known ones: their chains must still hold them.
};

struct VerifyReport {
  std::vector<ShardReport> shards{};
  bool keys_trusted = false;  // False: there were none to compare with.

  bool intact() const noexcept;
};

// Errors: not_found (no such folder), invalid (a key), unavailable.
Result<VerifyReport> verify(const std::filesystem::path& folder, const VerifySettings& settings);

// For terminals, without escape sequences of a terminal.
std::string to_text(const VerifyReport& report);
// One JSON object.
std::string to_json(const VerifyReport& report);

}  // namespace meridian::trail
