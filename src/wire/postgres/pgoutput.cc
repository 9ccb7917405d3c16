#include "wire/postgres/pgoutput.h"

#include "base/escape.h"
#include "wire/postgres/replication.h"

#include <algorithm>
#include <fmt/format.h>

namespace meridian::postgres {
namespace {

bool carries_bytes(char kind) noexcept {
  return kind == static_cast<char>(TupleColumn::Kind::text) ||
         kind == static_cast<char>(TupleColumn::Kind::binary);
}

bool carries_nothing(char kind) noexcept {
  return kind == static_cast<char>(TupleColumn::Kind::null) ||
         kind == static_cast<char>(TupleColumn::Kind::unchanged);
}

char read_letter(BodyReader& reader) noexcept {
  return static_cast<char>(reader.number<std::uint8_t>());
}

Lsn read_lsn(BodyReader& reader) noexcept {
  return Lsn{reader.number<std::uint64_t>()};
}

WallTime read_time(BodyReader& reader) noexcept {
  return from_postgres_time(reader.number<std::int64_t>());
}

void expect_letter(BodyReader& reader, char letter) noexcept {
  if (read_letter(reader) != letter) reader.fail("a row in it is not where it belongs");
}

OldTuple read_old_tuple(BodyReader& reader, char letter) noexcept {
  if (letter != static_cast<char>(OldTuple::Kind::key) &&
      letter != static_cast<char>(OldTuple::Kind::whole)) {
    reader.fail("its old row is neither a key nor whole");
  }
  return {.kind = static_cast<OldTuple::Kind>(letter), .tuple = Tuple(reader)};
}

Begin read_begin(BodyReader& reader) noexcept {
  Begin message;
  message.final_lsn = read_lsn(reader);
  message.committed_at = read_time(reader);
  message.xid = reader.number<TransactionId>();
  return message;
}

Commit read_commit(BodyReader& reader) noexcept {
  Commit message;
  (void)reader.number<std::uint8_t>();  // Flags: none are defined.
  message.commit_lsn = read_lsn(reader);
  message.end_lsn = read_lsn(reader);
  message.committed_at = read_time(reader);
  return message;
}

Origin read_origin(BodyReader& reader) noexcept {
  Origin message;
  message.commit_lsn = read_lsn(reader);
  message.name = reader.text();
  return message;
}

Relation read_relation(BodyReader& reader) {
  Relation message;
  message.id = reader.number<std::uint32_t>();
  message.schema = reader.text();
  message.name = reader.text();
  const char identity = read_letter(reader);
  if (identity != 'd' && identity != 'n' && identity != 'f' && identity != 'i')
    reader.fail("its replica identity is unknown");
  message.identity = static_cast<ReplicaIdentity>(identity);
  const auto count = reader.number<std::uint16_t>();
  if (count > relation_columns_max) reader.fail("it has more columns than a table can have");
  // The smallest column has 10 bytes, so the reservation is no larger than what was received.
  constexpr std::size_t column_bytes_min = 10;
  message.columns.reserve(std::min<std::size_t>(count, reader.rest().size() / column_bytes_min));
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
    RelationColumn column;
    column.key = (reader.number<std::uint8_t>() & 1) != 0;
    column.name = reader.text();
    column.type = reader.number<std::uint32_t>();
    column.type_modifier = reader.number<std::int32_t>();
    if (!reader.failed()) message.columns.push_back(column);
  }
  return message;
}

Type read_type(BodyReader& reader) noexcept {
  Type message;
  message.id = reader.number<std::uint32_t>();
  message.schema = reader.text();
  message.name = reader.text();
  return message;
}

Insert read_insert(BodyReader& reader) noexcept {
  Insert message;
  message.relation = reader.number<std::uint32_t>();
  expect_letter(reader, 'N');
  message.row = Tuple(reader);
  return message;
}

Update read_update(BodyReader& reader) noexcept {
  Update message;
  message.relation = reader.number<std::uint32_t>();
  char letter = read_letter(reader);
  if (letter != 'N') {
    message.before = read_old_tuple(reader, letter);
    letter = read_letter(reader);
  }
  if (letter != 'N') reader.fail("it lacks the new row");
  message.row = Tuple(reader);
  return message;
}

Delete read_delete(BodyReader& reader) noexcept {
  Delete message;
  message.relation = reader.number<std::uint32_t>();
  message.before = read_old_tuple(reader, read_letter(reader));
  return message;
}

Truncate read_truncate(BodyReader& reader) noexcept {
  constexpr std::uint8_t cascade_bit = 1;
  constexpr std::uint8_t restart_identity_bit = 2;
  Truncate message;
  const auto count = reader.number<std::uint32_t>();
  const auto options = reader.number<std::uint8_t>();
  message.cascade = (options & cascade_bit) != 0;
  message.restart_identity = (options & restart_identity_bit) != 0;
  message.relations = {reader, count};
  return message;
}

LogicalMessage read_logical_message(BodyReader& reader) noexcept {
  LogicalMessage message;
  message.transactional = (reader.number<std::uint8_t>() & 1) != 0;
  message.lsn = read_lsn(reader);
  message.prefix = reader.text();
  message.content = reader.bytes(reader.number<std::uint32_t>());
  return message;
}

StreamStart read_stream_start(BodyReader& reader) noexcept {
  StreamStart message;
  message.xid = reader.number<TransactionId>();
  message.first_segment = reader.number<std::uint8_t>() == 1;
  return message;
}

StreamCommit read_stream_commit(BodyReader& reader) noexcept {
  StreamCommit message;
  message.xid = reader.number<TransactionId>();
  const Commit commit = read_commit(reader);
  message.commit_lsn = commit.commit_lsn;
  message.end_lsn = commit.end_lsn;
  message.committed_at = commit.committed_at;
  return message;
}

StreamAbort read_stream_abort(BodyReader& reader) noexcept {
  StreamAbort message;
  message.xid = reader.number<TransactionId>();
  message.subtransaction = reader.number<TransactionId>();
  return message;
}

// A change of rows or the description of one: the messages that name their transaction when they
// stand inside a stream block. False for other types.
bool read_row_message(char type, BodyReader& reader, bool streaming, Change& change) {
  if (!std::string_view("RYIUDTM").contains(type)) return false;
  if (streaming) change.xid = reader.number<TransactionId>();
  switch (type) {
    case 'R':
      change.message = read_relation(reader);
      break;
    case 'Y':
      change.message = read_type(reader);
      break;
    case 'I':
      change.message = read_insert(reader);
      break;
    case 'U':
      change.message = read_update(reader);
      break;
    case 'D':
      change.message = read_delete(reader);
      break;
    case 'T':
      change.message = read_truncate(reader);
      break;
    default:
      change.message = read_logical_message(reader);
      break;
  }
  return true;
}

// The messages that begin and end transactions and blocks. Fails the reader for unknown types.
void read_boundary(char type, BodyReader& reader, Change& change) {
  switch (type) {
    case 'B':
      change.message = read_begin(reader);
      break;
    case 'C':
      change.message = read_commit(reader);
      break;
    case 'O':
      change.message = read_origin(reader);
      break;
    case 'S':
      change.message = read_stream_start(reader);
      break;
    case 'E':
      change.message = StreamStop{};
      break;
    case 'c':
      change.message = read_stream_commit(reader);
      break;
    case 'A':
      change.message = read_stream_abort(reader);
      break;
    default:
      reader.fail("its type is unknown in protocol version 2");
      break;
  }
}

}  // namespace

Tuple::Tuple(BodyReader& reader) noexcept {
  const auto count = reader.number<std::uint16_t>();
  if (count > relation_columns_max) reader.fail("a row in it has more columns than a table can");
  const char* const begin = reader.rest().data();
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
    const char kind = read_letter(reader);
    if (carries_bytes(kind)) {
      (void)reader.bytes(reader.number<std::uint32_t>());
    } else if (!carries_nothing(kind)) {
      reader.fail("a column in it is of an unknown kind");
    }
  }
  if (reader.failed() || count == 0) return;
  count_ = count;
  raw_ = {begin, reader.rest().data()};
}

TupleColumn Tuple::Iterator::operator*() const noexcept {
  TupleColumn column{.kind = static_cast<TupleColumn::Kind>(*at_), .bytes = {}};
  if (carries_bytes(*at_)) {
    const char* const bytes = at_ + 1 + sizeof(std::uint32_t);
    column.bytes = {bytes, load_big_endian<std::uint32_t>(at_ + 1)};
  }
  return column;
}

Tuple::Iterator& Tuple::Iterator::operator++() noexcept {
  std::size_t size = 1;
  if (carries_bytes(*at_)) size += sizeof(std::uint32_t) + load_big_endian<std::uint32_t>(at_ + 1);
  at_ += size;
  return *this;
}

Result<Change> PgoutputDecoder::decode(std::string_view data) {
  BodyReader reader(data);
  Change change;
  const char type = read_letter(reader);
  if (!read_row_message(type, reader, streaming_, change)) read_boundary(type, reader, change);

  // Blocks do not nest, and nothing commits or aborts inside one.
  const bool outside_only = type == 'B' || type == 'C' || type == 'S' || type == 'c' || type == 'A';
  if (streaming_ ? outside_only : type == 'E') reader.fail("it does not belong where it came");
  if (!reader.complete())
    return reader.refusal(fmt::format("pgoutput message {}", quote(data.substr(0, 1))));
  if (type == 'S') streaming_ = true;
  if (type == 'E') streaming_ = false;
  return change;
}

}  // namespace meridian::postgres
