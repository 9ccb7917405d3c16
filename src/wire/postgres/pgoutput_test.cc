// The feed's messages: each form of protocol version 2 is read, in and outside of stream blocks,
// and whatever a hostile or future server sends comes to an error before it is believed.

#include "wire/postgres/pgoutput.h"

#include "wire/postgres/framing.h"
#include "wire/postgres/replication.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

// Writes the fields of one message, without an envelope.
class Fields {
 public:
  explicit Fields(char type) { bytes_ += type; }

  template <class T>
  Fields& number(T value) {
    char bytes[sizeof(T)];
    store_big_endian(bytes, value);
    bytes_.append(bytes, sizeof bytes);
    return *this;
  }
  Fields& text(std::string_view text) {
    bytes_ += text;
    bytes_ += '\0';
    return *this;
  }
  Fields& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }
  Fields& value(char kind, std::string_view bytes) {
    bytes_ += kind;
    return number(static_cast<std::uint32_t>(bytes.size())).raw(bytes);
  }
  operator std::string_view() const { return bytes_; }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

Fields two_columns(char letter) {
  Fields row(letter);
  row.number(std::uint16_t{2}).value('t', "42").raw("n");
  return row;
}

template <class Message>
Message decoded(std::string_view data) {
  PgoutputDecoder decoder;
  auto change = decoder.decode(data);
  EXPECT_TRUE(change) << change.error().detail();
  EXPECT_FALSE(change->xid.has_value());
  return std::get<Message>(change->message);
}

// The same message as it stands in a block, belonging to transaction 8.
std::string with_xid(std::string_view data) {
  return Fields(data[0]).number(std::uint32_t{8}).raw(data.substr(1)).bytes();
}

// Decodes what with_xid() made, inside a block of transaction 7.
template <class Message>
Message decoded_in_block(std::string_view data) {
  PgoutputDecoder decoder;
  EXPECT_TRUE(decoder.decode(Fields('S').number(std::uint32_t{7}).number(std::uint8_t{1})));
  EXPECT_TRUE(decoder.inside_stream_block());
  auto change = decoder.decode(data);
  EXPECT_TRUE(change) << change.error().detail();
  EXPECT_EQ(change->xid, 8U);
  return std::get<Message>(change->message);
}

void expect_exact(std::string_view data) {
  for (std::size_t size = 0; size < data.size(); ++size)
    EXPECT_FALSE(PgoutputDecoder().decode(data.substr(0, size))) << size;
  EXPECT_FALSE(PgoutputDecoder().decode(std::string(data) + "x"));
}

std::vector<TupleColumn> columns_of(const Tuple& tuple) {
  return {tuple.begin(), tuple.end()};
}

TEST(Pgoutput, ReadsBeginAndCommit) {
  const Fields begin = Fields('B')
                           .number(std::uint64_t{0x16'b374'8})
                           .number(std::int64_t{0})
                           .number(std::uint32_t{0xfffffff0});
  EXPECT_EQ(decoded<Begin>(begin).final_lsn.to_string(), "0/16B3748");
  EXPECT_EQ(decoded<Begin>(begin).xid, 0xfffffff0U);
  EXPECT_EQ(to_rfc3339(decoded<Begin>(begin).committed_at), "2000-01-01T00:00:00.000000Z");
  expect_exact(begin);
  const Fields commit = Fields('C')
                            .number(std::uint8_t{0})
                            .number(std::uint64_t{1})
                            .number(std::uint64_t{2})
                            .number(std::int64_t{1'000'000});
  EXPECT_EQ(decoded<Commit>(commit).commit_lsn, Lsn{1});
  EXPECT_EQ(decoded<Commit>(commit).end_lsn, Lsn{2});
  expect_exact(commit);
}

TEST(Pgoutput, ReadsRelations) {
  const Fields data = Fields('R')
                          .number(std::uint32_t{16'384})
                          .text("public")
                          .text("orders")
                          .raw("f")
                          .number(std::uint16_t{2})
                          .number(std::uint8_t{1})
                          .text("id")
                          .number(std::uint32_t{20})
                          .number(std::int32_t{-1})
                          .number(std::uint8_t{0})
                          .text("total")
                          .number(std::uint32_t{1700})
                          .number(std::int32_t{10});
  const Relation relation = decoded<Relation>(data);
  EXPECT_EQ(relation.id, 16'384U);
  EXPECT_EQ(relation.schema, "public");
  EXPECT_EQ(relation.name, "orders");
  EXPECT_EQ(relation.identity, ReplicaIdentity::full);
  ASSERT_EQ(relation.columns.size(), 2U);
  EXPECT_TRUE(relation.columns[0].key);
  EXPECT_EQ(relation.columns[1].name, "total");
  EXPECT_EQ(relation.columns[1].type_modifier, 10);
  expect_exact(data);
  const std::string in_block = with_xid(data);
  EXPECT_EQ(decoded_in_block<Relation>(in_block).name, "orders");
}

TEST(Pgoutput, ReadsRows) {
  const Fields insert = Fields('I').number(std::uint32_t{5}).raw(two_columns('N'));
  EXPECT_EQ(decoded<Insert>(insert).relation, 5U);
  const auto columns = columns_of(decoded<Insert>(insert).row);
  ASSERT_EQ(columns.size(), 2U);
  EXPECT_EQ(columns[0].kind, TupleColumn::Kind::text);
  EXPECT_EQ(columns[0].bytes, "42");
  EXPECT_EQ(columns[1].kind, TupleColumn::Kind::null);
  expect_exact(insert);

  const Fields plain = Fields('U').number(std::uint32_t{5}).raw(two_columns('N'));
  EXPECT_FALSE(decoded<Update>(plain).before.has_value());
  expect_exact(plain);
  for (const auto kind : {OldTuple::Kind::key, OldTuple::Kind::whole}) {
    const Fields update = Fields('U')
                              .number(std::uint32_t{5})
                              .raw(two_columns(static_cast<char>(kind)))
                              .raw(two_columns('N'));
    EXPECT_EQ(decoded<Update>(update).before->kind, kind);
    EXPECT_EQ(decoded<Update>(update).before->tuple.size(), 2U);
    EXPECT_EQ(decoded<Update>(update).row.size(), 2U);
    expect_exact(update);
    const Fields deletion =
        Fields('D').number(std::uint32_t{5}).raw(two_columns(static_cast<char>(kind)));
    EXPECT_EQ(decoded<Delete>(deletion).before.kind, kind);
    expect_exact(deletion);
    const std::string in_block = with_xid(deletion);
    EXPECT_EQ(decoded_in_block<Delete>(in_block).relation, 5U);
  }
}

TEST(Pgoutput, TellsUnchangedFromNullAndText) {
  Fields row('N');
  row.number(std::uint16_t{4}).raw("u").raw("n").value('t', "").value('b', "\x01");
  const Fields insert = Fields('I').number(std::uint32_t{5}).raw(row);
  const auto columns = columns_of(decoded<Insert>(insert).row);
  ASSERT_EQ(columns.size(), 4U);
  EXPECT_EQ(columns[0].kind, TupleColumn::Kind::unchanged);
  EXPECT_EQ(columns[1].kind, TupleColumn::Kind::null);
  EXPECT_EQ(columns[2].kind, TupleColumn::Kind::text);
  EXPECT_EQ(columns[2].bytes, "");
  EXPECT_EQ(columns[3].kind, TupleColumn::Kind::binary);
}

TEST(Pgoutput, ReadsTruncateTypeOriginAndMessage) {
  const Fields truncate = Fields('T')
                              .number(std::uint32_t{2})
                              .number(std::uint8_t{3})
                              .number(std::uint32_t{5})
                              .number(std::uint32_t{6});
  EXPECT_TRUE(decoded<Truncate>(truncate).cascade);
  EXPECT_TRUE(decoded<Truncate>(truncate).restart_identity);
  EXPECT_EQ(decoded<Truncate>(truncate).relations[1], 6U);
  expect_exact(truncate);

  const Fields type = Fields('Y').number(std::uint32_t{9}).text("public").text("mood");
  EXPECT_EQ(decoded<Type>(type).name, "mood");
  expect_exact(type);

  const Fields origin = Fields('O').number(std::uint64_t{1}).text("replica");
  EXPECT_EQ(decoded<Origin>(origin).name, "replica");
  expect_exact(origin);

  const Fields message = Fields('M')
                             .number(std::uint8_t{1})
                             .number(std::uint64_t{77})
                             .text("meridian.ddl")
                             .number(std::uint32_t{3})
                             .raw("a\0b");
  const Fields with_nul = Fields('M')
                              .number(std::uint8_t{0})
                              .number(std::uint64_t{77})
                              .text("meridian.ddl")
                              .number(std::uint32_t{3})
                              .raw(std::string_view("a\0b", 3));
  EXPECT_FALSE(PgoutputDecoder().decode(message));  // One byte where three are announced.
  EXPECT_FALSE(decoded<LogicalMessage>(with_nul).transactional);
  EXPECT_EQ(decoded<LogicalMessage>(with_nul).lsn, Lsn{77});
  EXPECT_EQ(decoded<LogicalMessage>(with_nul).prefix, "meridian.ddl");
  EXPECT_EQ(decoded<LogicalMessage>(with_nul).content, std::string_view("a\0b", 3));
  expect_exact(with_nul);
}

TEST(Pgoutput, ReadsStreamsOfTransactionsInProgress) {
  PgoutputDecoder decoder;
  const Fields start = Fields('S').number(std::uint32_t{7}).number(std::uint8_t{1});
  const auto started = decoder.decode(start);
  EXPECT_TRUE(std::get<StreamStart>(started->message).first_segment);
  EXPECT_TRUE(decoder.decode(Fields('E')));
  EXPECT_FALSE(decoder.inside_stream_block());

  const Fields abort = Fields('A').number(std::uint32_t{7}).number(std::uint32_t{8});
  EXPECT_EQ(decoded<StreamAbort>(abort).subtransaction, 8U);
  expect_exact(abort);
  const Fields commit = Fields('c')
                            .number(std::uint32_t{7})
                            .number(std::uint8_t{0})
                            .number(std::uint64_t{1})
                            .number(std::uint64_t{2})
                            .number(std::int64_t{3});
  EXPECT_EQ(decoded<StreamCommit>(commit).xid, 7U);
  EXPECT_EQ(decoded<StreamCommit>(commit).end_lsn, Lsn{2});
  expect_exact(commit);
}

TEST(Pgoutput, RefusesWhatIsOutOfPlace) {
  const Fields begin =
      Fields('B').number(std::uint64_t{1}).number(std::int64_t{0}).number(std::uint32_t{1});
  const Fields start = Fields('S').number(std::uint32_t{7}).number(std::uint8_t{0});
  EXPECT_FALSE(PgoutputDecoder().decode(Fields('E')));
  PgoutputDecoder decoder;
  EXPECT_TRUE(decoder.decode(start));
  EXPECT_FALSE(decoder.decode(start));
  EXPECT_FALSE(decoder.decode(begin));
  EXPECT_TRUE(decoder.decode(Fields('E')));
  EXPECT_TRUE(decoder.decode(begin));
}

TEST(Pgoutput, RefusesCountsAndLengthsThatDoNotFit) {
  const auto refused = [](const Fields& data) { return !PgoutputDecoder().decode(data); };
  EXPECT_TRUE(refused(Fields('T').number(std::uint32_t{0xffffffff}).number(std::uint8_t{0})));
  EXPECT_TRUE(refused(Fields('I').number(std::uint32_t{5}).raw("N").number(std::uint16_t{0xffff})));
  EXPECT_TRUE(refused(Fields('I')
                          .number(std::uint32_t{5})
                          .raw("N")
                          .number(std::uint16_t{1})
                          .raw("t")
                          .number(std::uint32_t{0xffffffff})));
  EXPECT_TRUE(
      refused(Fields('I').number(std::uint32_t{5}).raw("N").number(std::uint16_t{1}).raw("z")));
  EXPECT_TRUE(refused(Fields('U').number(std::uint32_t{5}).raw(two_columns('K'))));
  EXPECT_TRUE(refused(Fields('D').number(std::uint32_t{5}).raw(two_columns('N'))));
  EXPECT_TRUE(refused(Fields('I').number(std::uint32_t{5}).raw(two_columns('K'))));
  EXPECT_TRUE(refused(Fields('Z')));
  EXPECT_FALSE(PgoutputDecoder().decode({}));
}

TEST(Replication, ReadsTheEnvelope) {
  const Fields data = Fields('w')
                          .number(std::uint64_t{1})
                          .number(std::uint64_t{2})
                          .number(std::int64_t{3})
                          .raw("B...");
  const auto log = std::get<XLogData>(*parse_replication_message(data));
  EXPECT_EQ(log.start, Lsn{1});
  EXPECT_EQ(log.end, Lsn{2});
  EXPECT_EQ(log.data, "B...");
  const Fields keepalive =
      Fields('k').number(std::uint64_t{9}).number(std::int64_t{3}).number(std::uint8_t{1});
  EXPECT_EQ(std::get<Keepalive>(*parse_replication_message(keepalive)).end, Lsn{9});
  EXPECT_TRUE(std::get<Keepalive>(*parse_replication_message(keepalive)).reply_requested);
  for (std::size_t size = 0; size < keepalive.bytes().size(); ++size)
    EXPECT_FALSE(parse_replication_message(keepalive.bytes().substr(0, size)));
  EXPECT_FALSE(parse_replication_message(keepalive.bytes() + "x"));
  EXPECT_FALSE(parse_replication_message("x"));
}

TEST(Replication, WritesAStandbyStatus) {
  std::string bytes;
  append_standby_status(bytes,
                        {.written = Lsn{3},
                         .flushed = Lsn{2},
                         .applied = Lsn{1},
                         .sent_at = from_postgres_time(5),
                         .reply_requested = true});
  const Fields expected = Fields('d')
                              .number(std::int32_t{4 + 1 + 8 * 4 + 1})
                              .raw("r")
                              .number(std::uint64_t{3})
                              .number(std::uint64_t{2})
                              .number(std::uint64_t{1})
                              .number(std::int64_t{5})
                              .number(std::uint8_t{1});
  EXPECT_EQ(bytes, expected.bytes());
}

TEST(Replication, TakesAnyTimeWithoutOverflow) {
  for (const std::int64_t time : {std::numeric_limits<std::int64_t>::max(),
                                  std::numeric_limits<std::int64_t>::min(),
                                  std::int64_t{0}})
    (void)to_postgres_time(from_postgres_time(time));
  EXPECT_EQ(to_postgres_time(from_postgres_time(-5)), -5);
  EXPECT_EQ(to_rfc3339(from_postgres_time(0)), "2000-01-01T00:00:00.000000Z");
}

TEST(Lsn, IsReadAndPrintedAsPostgresDoes) {
  EXPECT_EQ(Lsn::parse("0/16B3748")->value, 0x16b3748U);
  EXPECT_EQ(Lsn::parse("a/b")->value, 0xa'0000'000bU);
  EXPECT_EQ(Lsn::parse("FFFFFFFF/FFFFFFFF")->value, 0xffff'ffff'ffff'ffffU);
  for (const std::string_view text : {"",
                                      "/",
                                      "0",
                                      "0/",
                                      "/0",
                                      "0/0/0",
                                      "0x1/0",
                                      "-1/0",
                                      " 0/0",
                                      "0/0 ",
                                      "123456789/0",
                                      "0/123456789",
                                      "g/0"})
    EXPECT_FALSE(Lsn::parse(text)) << text;
  EXPECT_EQ((Lsn{0xa'0000'000b}).to_string(), "A/B");
  EXPECT_LT(Lsn{1}, Lsn{2});
}

}  // namespace
}  // namespace meridian::postgres
