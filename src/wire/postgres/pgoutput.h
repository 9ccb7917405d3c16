#pragma once
// pgoutput, the messages of PostgreSQL's logical decoding, in protocol version 2: with streaming of
// transactions in progress and with logical messages (protocol documentation, "Logical Replication
// Message Formats"). The decoder reads; what the changes mean is the feed's business.
//
// Results are views of the bytes they were parsed from.

#include "base/result.h"
#include "base/time.h"
#include "wire/postgres/bytes.h"
#include "wire/postgres/lsn.h"

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

namespace meridian::postgres {

// A top-level or sub-transaction id as it travels: 32 bits, compared modulo 2^32.
using TransactionId = std::uint32_t;

struct Begin {
  Lsn final_lsn;  // Of the commit to come.
  WallTime committed_at;
  TransactionId xid = 0;
};

struct Commit {
  Lsn commit_lsn;
  Lsn end_lsn;
  WallTime committed_at;
};

struct Origin {
  Lsn commit_lsn;
  std::string_view name;
};

// How a table identifies the rows that it changes.
enum class ReplicaIdentity : char { primary_key = 'd', nothing = 'n', full = 'f', index = 'i' };

struct RelationColumn {
  bool key = false;  // Part of the replica identity.
  std::string_view name;
  std::uint32_t type = 0;  // OID.
  std::int32_t type_modifier = 0;
};

struct Relation {
  std::uint32_t id = 0;  // OID; changes name their table by it.
  std::string_view schema;
  std::string_view name;
  ReplicaIdentity identity = ReplicaIdentity::primary_key;
  std::vector<RelationColumn> columns;
};

struct Type {
  std::uint32_t id = 0;
  std::string_view schema;
  std::string_view name;
};

struct TupleColumn {
  enum class Kind : char {
    null = 'n',
    unchanged = 'u',  // A large value that was not touched, so it was not sent.
    text = 't',
    binary = 'b',  // Only when the feed asked for it, which ours does not.
  };
  Kind kind = Kind::null;
  std::string_view bytes;  // Of text and binary.
};

// The columns of one row, in the order of its Relation. Checked from end to end when made.
class Tuple {
 public:
  Tuple() = default;
  explicit Tuple(BodyReader& reader) noexcept;

  std::size_t size() const noexcept { return count_; }

  class Iterator {
   public:
    using value_type = TupleColumn;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;

    Iterator() = default;
    explicit Iterator(const char* at) noexcept : at_(at) {}

    TupleColumn operator*() const noexcept;
    Iterator& operator++() noexcept;
    Iterator operator++(int) noexcept {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    const char* at_ = nullptr;
  };
  Iterator begin() const noexcept { return Iterator(raw_.data()); }
  Iterator end() const noexcept { return Iterator(raw_.data() + raw_.size()); }

 private:
  std::string_view raw_;
  std::size_t count_ = 0;
};

// What is known of the row before the change.
struct OldTuple {
  enum class Kind : char { key = 'K', whole = 'O' };
  Kind kind = Kind::key;  // `key`: columns outside of the replica identity are null.
  Tuple tuple;
};

struct Insert {
  std::uint32_t relation = 0;
  Tuple row;
};

struct Update {
  std::uint32_t relation = 0;
  std::optional<OldTuple> before;  // Absent when the replica identity did not change.
  Tuple row;
};

struct Delete {
  std::uint32_t relation = 0;
  OldTuple before;
};

struct Truncate {
  bool cascade = false;
  bool restart_identity = false;
  BigEndianArray<std::uint32_t> relations;
};

// What pg_logical_emit_message() wrote.
struct LogicalMessage {
  bool transactional = false;
  Lsn lsn;
  std::string_view prefix;
  std::string_view content;
};

// A part of a transaction that has not committed yet; the messages up to StreamStop belong to it.
struct StreamStart {
  TransactionId xid = 0;
  bool first_segment = false;
};
struct StreamStop {};

struct StreamCommit {
  TransactionId xid = 0;
  Lsn commit_lsn;
  Lsn end_lsn;
  WallTime committed_at;
};

struct StreamAbort {
  TransactionId xid = 0;
  TransactionId subtransaction = 0;  // The same as xid when the whole transaction is aborted.
};

struct Change {
  // Inside a stream block, the (sub)transaction that a Relation, Type, Insert, Update, Delete,
  // Truncate or LogicalMessage belongs to.
  std::optional<TransactionId> xid;
  std::variant<Begin,
               Commit,
               Origin,
               Relation,
               Type,
               Insert,
               Update,
               Delete,
               Truncate,
               LogicalMessage,
               StreamStart,
               StreamStop,
               StreamCommit,
               StreamAbort>
      message;
};

inline constexpr std::size_t relation_columns_max = 1664;  // MaxTupleAttributeNumber.

class PgoutputDecoder {
 public:
  // `data` is one message: XLogData::data. Errors: invalid, for a message that is malformed, of
  // unknown type, or out of place (a block inside a block, a commit inside one). The feed is then
  // not to be believed any more and must start over.
  Result<Change> decode(std::string_view data);

  bool inside_stream_block() const noexcept { return streaming_; }

 private:
  bool streaming_ = false;
};

}  // namespace meridian::postgres
