#pragma once
// The records of the trail: what each kind says about one thing that happened.
//
// A field has a number, which files carry, and a name, which exports show. Numbers are never used
// again for something else: readers skip numbers and kinds that they do not know. A field of value
// zero, empty or false is not written, so a missing one reads as that.
//
// No token, password, parameter of a statement or value of a row is ever put into a record.

#include "base/ids.h"
#include "base/time.h"
#include "gate/trail/digest.h"
#include "gate/trail/signing_key.h"
#include "gate/trail/value.h"

#include <cstdint>
#include <string_view>

namespace meridian::trail {

// Values are part of the file format.
enum class RecordKind : std::uint8_t {
  node_started = 1,
  node_stopped = 2,
  visit_opened = 3,
  admitted = 4,
  refused = 5,
  visit_ended = 6,
  statement = 7,
  statement_shape = 8,
  statement_outcomes = 9,
  key_reads = 10,
  key_write = 11,
  denied = 12,
  invalidation = 13,
  administration = 14,
  security = 15,
  retention = 16,
  head = 17,
  interruption = 18,
  subscription = 19,
  publications = 20,
  ingest_batch = 21,
  outbox_publication = 22,
};
inline constexpr std::uint8_t record_kind_last = 22;

// "visit_opened"; "unknown" for a kind of a later version.
std::string_view to_string(RecordKind kind) noexcept;

// How the run of the node before this one ended on this shard.
enum class PreviousEnd : std::uint8_t {
  none = 0,     // There was none.
  stopped = 1,  // In order.
  killed = 2,   // The process died. Every record that was acknowledged is there.
  torn = 3,     // The machine died: what had not reached the disk was cut off (bytes_cut).
  damaged = 4,  // A record that was signed as durable is not what it was: left as it lies.
};
std::string_view to_string(PreviousEnd end) noexcept;

// The first record of a run on each shard.
struct NodeStarted {
  static constexpr RecordKind kind = RecordKind::node_started;
  Text version{};
  std::uint32_t shards_count = 0;
  PreviousEnd previous_end = PreviousEnd::none;
  std::uint64_t bytes_cut = 0;
  Text detail{};

  void fields(this auto& self, auto&& field) {
    field(1, "version", self.version);
    field(2, "shards_count", self.shards_count);
    field(3, "previous_end", self.previous_end);
    field(4, "bytes_cut", self.bytes_cut);
    field(5, "detail", self.detail);
  }
};

// The last one, before its head, when the node stops in order.
struct NodeStopped {
  static constexpr RecordKind kind = RecordKind::node_stopped;
  Text reason{};

  void fields(this auto& self, auto&& field) { field(1, "reason", self.reason); }
};

// A connection attempt, before anything is known about the client.
struct VisitOpened {
  static constexpr RecordKind kind = RecordKind::visit_opened;
  Text door{};
  Text address{};
  std::uint16_t port = 0;
  Text transport{};  // "tcp", "tls", "unix".

  void fields(this auto& self, auto&& field) {
    field(1, "door", self.door);
    field(2, "address", self.address);
    field(3, "port", self.port);
    field(4, "transport", self.transport);
  }
};

struct Admitted {
  static constexpr RecordKind kind = RecordKind::admitted;
  Text issuer{};
  Text subject{};
  Text role{};
  Text token_id{};  // The token's jti, or a hash of it. Never the token.
  Text binding{};   // Which binding gave the role.
  WallTime expiry{};

  void fields(this auto& self, auto&& field) {
    field(1, "issuer", self.issuer);
    field(2, "subject", self.subject);
    field(3, "role", self.role);
    field(4, "token_id", self.token_id);
    field(5, "binding", self.binding);
    field(6, "expiry", self.expiry);
  }
};

// A login that failed. Issuer and subject are empty where the token was not even readable.
struct Refused {
  static constexpr RecordKind kind = RecordKind::refused;
  Text door{};
  Text address{};
  Text rule{};
  Text detail{};
  Text issuer{};
  Text subject{};

  void fields(this auto& self, auto&& field) {
    field(1, "door", self.door);
    field(2, "address", self.address);
    field(3, "rule", self.rule);
    field(4, "detail", self.detail);
    field(5, "issuer", self.issuer);
    field(6, "subject", self.subject);
  }
};

struct VisitEnded {
  static constexpr RecordKind kind = RecordKind::visit_ended;
  Text reason{};
  std::uint64_t statements_count = 0;
  std::uint64_t commands_count = 0;
  std::uint64_t reads_count = 0;
  std::uint64_t writes_count = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  Duration duration{};

  void fields(this auto& self, auto&& field) {
    field(1, "reason", self.reason);
    field(2, "statements_count", self.statements_count);
    field(3, "commands_count", self.commands_count);
    field(4, "reads_count", self.reads_count);
    field(5, "writes_count", self.writes_count);
    field(6, "bytes_in", self.bytes_in);
    field(7, "bytes_out", self.bytes_out);
    field(8, "duration", self.duration);
  }
};

// A statement that is about to be forwarded. What came of it follows in statement_outcomes.
struct Statement {
  static constexpr RecordKind kind = RecordKind::statement;
  Fingerprint fingerprint{};
  std::uint32_t ordinal = 0;    // Of the statement in its visit, from 1.
  std::uint64_t text_size = 0;  // Bytes of the text that the client sent.
  bool proven_read_only = false;
  bool extended_protocol = false;
  bool copy = false;

  void fields(this auto& self, auto&& field) {
    field(1, "fingerprint", self.fingerprint);
    field(2, "ordinal", self.ordinal);
    field(3, "text_size", self.text_size);
    field(4, "proven_read_only", self.proven_read_only);
    field(5, "extended_protocol", self.extended_protocol);
    field(6, "copy", self.copy);
  }
};

// What a fingerprint stands for: in each segment once, before the first statement that has it.
struct StatementShape {
  static constexpr RecordKind kind = RecordKind::statement_shape;
  Fingerprint fingerprint{};
  ShapeText text{};  // Without literals.

  void fields(this auto& self, auto&& field) {
    field(1, "fingerprint", self.fingerprint);
    field(2, "text", self.text);
  }
};

struct StatementOutcome {
  VisitId visit{};
  std::uint32_t ordinal = 0;
  Duration duration{};
  std::uint64_t rows_count = 0;
  Sqlstate sqlstate{};

  void fields(this auto& self, auto&& field) {
    field(1, "visit", self.visit);
    field(2, "ordinal", self.ordinal);
    field(3, "duration", self.duration);
    field(4, "rows_count", self.rows_count);
    field(5, "sqlstate", self.sqlstate);
  }
};

// What came of several statements, of any visits of the shard.
struct StatementOutcomes {
  static constexpr RecordKind kind = RecordKind::statement_outcomes;
  BoundedList<StatementOutcome, 64> outcomes{};

  void fields(this auto& self, auto&& field) { field(1, "outcomes", self.outcomes); }
};

struct KeyCount {
  Text key{};
  std::uint64_t reads_count = 0;

  void fields(this auto& self, auto&& field) {
    field(1, "key", self.key);
    field(2, "reads_count", self.reads_count);
  }
};

// Reads of one view, or of plain keys under one pattern, by one visit in one interval.
struct KeyReads {
  static constexpr RecordKind kind = RecordKind::key_reads;
  Text view{};  // Or the permitted pattern, for keys that are no view.
  std::uint64_t reads_count = 0;
  std::uint64_t hits_count = 0;
  std::uint64_t misses_count = 0;
  BoundedList<KeyCount, 8> keys{};      // The first distinct ones.
  std::uint64_t other_reads_count = 0;  // Of keys that had no place in the list.
  Duration interval{};                  // Which ends at the record's time.

  void fields(this auto& self, auto&& field) {
    field(1, "view", self.view);
    field(2, "reads_count", self.reads_count);
    field(3, "hits_count", self.hits_count);
    field(4, "misses_count", self.misses_count);
    field(5, "keys", self.keys);
    field(6, "other_reads_count", self.other_reads_count);
    field(7, "interval", self.interval);
  }
};

struct WrittenKey {
  Text command{};
  Text key{};

  void fields(this auto& self, auto&& field) {
    field(1, "command", self.command);
    field(2, "key", self.key);
  }
};

// What one visit is about to write, in its order: requests that reach Redis together are one
// record. TrailWriter::add_write() writes it.
struct KeyWrite {
  static constexpr RecordKind kind = RecordKind::key_write;
  Text command{};  // The first, whose fields are numbered as those of a WrittenKey.
  Text key{};
  BoundedList<WrittenKey, 30> further{};

  void fields(this auto& self, auto&& field) {
    field(1, "command", self.command);
    field(2, "key", self.key);
    field(further_number, "further", self.further);
  }
  static constexpr unsigned further_number = 3;

  void for_each(auto&& use) const {
    use(WrittenKey{.command = command, .key = key});
    for (const WrittenKey& each : further) {
      use(each);
    }
  }
};

// An action of an admitted principal that its role does not allow.
struct Denied {
  static constexpr RecordKind kind = RecordKind::denied;
  Text door{};
  Text action{};
  Text resource{};
  Text rule{};

  void fields(this auto& self, auto&& field) {
    field(1, "door", self.door);
    field(2, "action", self.action);
    field(3, "resource", self.resource);
    field(4, "rule", self.rule);
  }
};

struct Invalidated {
  Text view{};
  Text key{};  // Empty: the whole view.

  void fields(this auto& self, auto&& field) {
    field(1, "view", self.view);
    field(2, "key", self.key);
  }
};

// Cached values that a commit made old. The request id is that of the transaction that wrote.
struct Invalidation {
  static constexpr RecordKind kind = RecordKind::invalidation;
  Lsn position{};
  std::uint64_t transaction_id = 0;
  BoundedList<Invalidated, 24> entries{};
  std::uint64_t entries_count = 0;  // All of them, those that the list has no place for included.

  void fields(this auto& self, auto&& field) {
    field(1, "position", self.position);
    field(2, "transaction_id", self.transaction_id);
    field(3, "entries", self.entries);
    field(4, "entries_count", self.entries_count);
  }
};

struct Administration {
  static constexpr RecordKind kind = RecordKind::administration;
  Text who{};
  Text action{};
  Text detail{};

  void fields(this auto& self, auto&& field) {
    field(1, "who", self.who);
    field(2, "action", self.action);
    field(3, "detail", self.detail);
  }
};

// Something that should never happen, such as a byte without an owner.
struct Security {
  static constexpr RecordKind kind = RecordKind::security;
  Text event{};
  Text detail{};

  void fields(this auto& self, auto&& field) {
    field(1, "event", self.event);
    field(2, "detail", self.detail);
  }
};

struct ShardRetention {
  std::uint32_t of_shard = 0;
  std::uint64_t removed_through = 0;  // The number of the newest segment that was removed.

  void fields(this auto& self, auto&& field) {
    field(1, "of_shard", self.of_shard);
    field(2, "removed_through", self.removed_through);
  }
};

// Written to shard 0 before old segments are removed. Names all shards that ever lost segments, so
// that the newest retention record alone accounts for all that is missing.
struct Retention {
  static constexpr RecordKind kind = RecordKind::retention;
  BoundedList<ShardRetention, 256> shards{};
  WallTime older_than{};

  void fields(this auto& self, auto&& field) {
    field(1, "shards", self.shards);
    field(2, "older_than", self.older_than);
  }
};

// A signature over the chain so far (gate/trail/head.h).
struct Head {
  static constexpr RecordKind kind = RecordKind::head;
  std::uint64_t sealed_segment = 0;
  std::uint64_t sealed_sequence = 0;
  std::uint64_t synced_sequence = 0;
  WallTime sealed_at{};
  Digest hash{};
  Signature signature{};

  void fields(this auto& self, auto&& field) {
    field(1, "sealed_segment", self.sealed_segment);
    field(2, "sealed_sequence", self.sealed_sequence);
    field(3, "synced_sequence", self.synced_sequence);
    field(4, "sealed_at", self.sealed_at);
    field(5, "hash", self.hash);
    field(6, "signature", self.signature);
  }
};

// The first record after a time in which the trail could take none: that many were refused, and
// what they were about did not happen.
struct Interruption {
  static constexpr RecordKind kind = RecordKind::interruption;
  std::uint64_t refused_count = 0;
  WallTime since{};
  Text cause{};

  void fields(this auto& self, auto&& field) {
    field(1, "refused_count", self.refused_count);
    field(2, "since", self.since);
    field(3, "cause", self.cause);
  }
};

// A subscription that is about to be made.
struct Subscription {
  static constexpr RecordKind kind = RecordKind::subscription;
  Text pattern{};
  Text queue{};
  Text rule{};

  void fields(this auto& self, auto&& field) {
    field(1, "pattern", self.pattern);
    field(2, "queue", self.queue);
    field(3, "rule", self.rule);
  }
};

struct SubjectCount {
  Text key{};
  std::uint64_t messages_count = 0;

  void fields(this auto& self, auto&& field) {
    field(1, "key", self.key);
    field(2, "messages_count", self.messages_count);
  }
};

// Messages that one visit published under one rule in one interval.
struct Publications {
  static constexpr RecordKind kind = RecordKind::publications;
  static constexpr std::size_t requests_size_max = ShapeText::size_max;
  Text rule{};
  std::uint64_t messages_count = 0;
  std::uint64_t bytes = 0;                  // Of headers and payloads as they were sent on.
  BoundedList<SubjectCount, 8> subjects{};  // The first distinct ones.
  std::uint64_t other_messages_count = 0;   // Of subjects that had no place in the list.
  Duration interval{};                      // Which ends at the record's time.
  // That messages brought with them, in hex with spaces between. The others are the visit's.
  ShapeText requests{};

  void fields(this auto& self, auto&& field) {
    field(1, "rule", self.rule);
    field(2, "messages_count", self.messages_count);
    field(3, "bytes", self.bytes);
    field(4, "subjects", self.subjects);
    field(5, "other_messages_count", self.other_messages_count);
    field(6, "interval", self.interval);
    field(7, "requests", self.requests);
  }
};

// Messages of the outbox that are about to be sent, written by one request: number `first_number`
// and those after it.
struct OutboxPublication {
  static constexpr RecordKind kind = RecordKind::outbox_publication;
  Text stream{};
  Text subject{};  // Of the first.
  std::uint64_t first_number = 0;
  std::uint64_t messages_count = 0;
  std::uint64_t bytes = 0;              // Of headers and payloads.
  std::uint64_t expected_sequence = 0;  // Of the stream's message before the first.

  void fields(this auto& self, auto&& field) {
    field(1, "stream", self.stream);
    field(2, "subject", self.subject);
    field(3, "first_number", self.first_number);
    field(4, "messages_count", self.messages_count);
    field(5, "bytes", self.bytes);
    field(6, "expected_sequence", self.expected_sequence);
  }
};

// Messages of a stream whose effect is committed, before the stream is told. The record's request
// id is that of the transaction: of all its messages, or one of its own where they have several.
struct IngestBatch {
  static constexpr RecordKind kind = RecordKind::ingest_batch;
  static constexpr std::size_t requests_size_max = ShapeText::size_max;
  Text rule{};
  Text stream{};
  std::uint64_t epoch = 0;  // With the number: which row of the ledger.
  std::uint64_t number = 0;
  std::uint64_t first_sequence = 0;
  std::uint64_t last_sequence = 0;
  std::uint64_t rows_count = 0;
  std::uint64_t duplicates_count = 0;
  std::uint64_t dead_count = 0;
  ShapeText requests{};  // That published them, in hex with spaces between.
  Duration duration{};   // From the transaction's beginning to the record's time.
  Text cause{};          // "replay", "copy", "rollback", "retry"; empty: they arrived.

  void fields(this auto& self, auto&& field) {
    field(1, "rule", self.rule);
    field(2, "stream", self.stream);
    field(3, "epoch", self.epoch);
    field(4, "number", self.number);
    field(5, "first_sequence", self.first_sequence);
    field(6, "last_sequence", self.last_sequence);
    field(7, "rows_count", self.rows_count);
    field(8, "duplicates_count", self.duplicates_count);
    field(9, "dead_count", self.dead_count);
    field(10, "requests", self.requests);
    field(11, "duration", self.duration);
    field(12, "cause", self.cause);
  }
};

// Calls `use` with an empty record of this kind. False for a kind that is not known.
template <class Use>
bool with_record_of(RecordKind kind, Use&& use) {
  switch (kind) {
    case RecordKind::node_started:
      use(NodeStarted());
      return true;
    case RecordKind::node_stopped:
      use(NodeStopped());
      return true;
    case RecordKind::visit_opened:
      use(VisitOpened());
      return true;
    case RecordKind::admitted:
      use(Admitted());
      return true;
    case RecordKind::refused:
      use(Refused());
      return true;
    case RecordKind::visit_ended:
      use(VisitEnded());
      return true;
    case RecordKind::statement:
      use(Statement());
      return true;
    case RecordKind::statement_shape:
      use(StatementShape());
      return true;
    case RecordKind::statement_outcomes:
      use(StatementOutcomes());
      return true;
    case RecordKind::key_reads:
      use(KeyReads());
      return true;
    case RecordKind::key_write:
      use(KeyWrite());
      return true;
    case RecordKind::denied:
      use(Denied());
      return true;
    case RecordKind::invalidation:
      use(Invalidation());
      return true;
    case RecordKind::administration:
      use(Administration());
      return true;
    case RecordKind::security:
      use(Security());
      return true;
    case RecordKind::retention:
      use(Retention());
      return true;
    case RecordKind::head:
      use(Head());
      return true;
    case RecordKind::interruption:
      use(Interruption());
      return true;
    case RecordKind::subscription:
      use(Subscription());
      return true;
    case RecordKind::publications:
      use(Publications());
      return true;
    case RecordKind::outbox_publication:
      use(OutboxPublication());
      return true;
    case RecordKind::ingest_batch:
      use(IngestBatch());
      return true;
  }
  return false;
}

}  // namespace meridian::trail
