// Every reply is framed where it ends, however it was split; a server that is out of step is found
// out; and what a tree is made of is what the bytes say.

#include "wire/resp/reply_framer.h"

#include "wire/resp/value.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::resp {
namespace {

struct Framed {
  std::vector<std::string> replies;
  std::vector<bool> pushes;
  std::string unfinished;
  bool failed = false;
  friend bool operator==(const Framed&, const Framed&) = default;
};

Framed frame_in_pieces(std::string_view bytes, std::size_t piece_size, ReplyLimits limits) {
  ReplyFramer framer(limits);
  Framed framed;
  while (!bytes.empty()) {
    const std::string piece(bytes.substr(0, piece_size));
    bytes.remove_prefix(piece.size());
    std::string_view input = piece;
    while (!input.empty()) {
      const auto part = framer.next(input);
      if (!part) {
        EXPECT_EQ(part.error().code(), Errc::invalid);
        framed.failed = true;
        framed.unfinished.clear();  // How much was seen before the error depends on the split.
        return framed;
      }
      EXPECT_FALSE(part->bytes.empty());
      EXPECT_EQ(part->last, framer.between_replies());
      framed.unfinished += part->bytes;
      if (!part->last) continue;
      framed.replies.push_back(std::exchange(framed.unfinished, {}));
      framed.pushes.push_back(part->push);
    }
  }
  return framed;
}

Framed frame(std::string_view bytes, ReplyLimits limits = {}) {
  const Framed whole = frame_in_pieces(bytes, bytes.size(), limits);
  for (std::size_t size = 1; size < bytes.size() && size <= 32; ++size)
    EXPECT_EQ(frame_in_pieces(bytes, size, limits), whole) << "in pieces of " << size;
  return whole;
}

const std::vector<std::string>& every_type() {
  static const std::vector<std::string> replies{
      "+OK\r\n",
      "+\r\n",
      "-ERR no\r\n",
      ":42\r\n",
      "$5\r\na\r\nbc\r\n",
      "$0\r\n\r\n",
      "$-1\r\n",
      "*-1\r\n",
      "*0\r\n",
      "*2\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n",
      "_\r\n",
      ",3.14\r\n",
      "#t\r\n",
      "(12345678901234567890\r\n",
      "!9\r\nERR\r\nmore\r\n",
      "=6\r\ntxt:hi\r\n",
      "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n",
      "~2\r\n+a\r\n+b\r\n",
      "|1\r\n+ttl\r\n:3600\r\n+value\r\n",
      "*2\r\n|1\r\n+k\r\n+v\r\n:1\r\n:2\r\n",
  };
  return replies;
}

TEST(ReplyFramer, FindsTheEndOfEveryType) {
  std::string bytes;
  for (const std::string& reply : every_type())
    bytes += reply;
  const Framed framed = frame(bytes);
  EXPECT_EQ(framed.replies, every_type());
  EXPECT_EQ(framed.unfinished, "");
  EXPECT_EQ(framed.pushes, std::vector<bool>(every_type().size(), false));
}

TEST(ReplyFramer, TellsMessagesFromReplies) {
  const Framed framed = frame("+OK\r\n>3\r\n+message\r\n+c\r\n$1\r\nx\r\n:1\r\n");
  EXPECT_EQ(framed.replies.size(), 3U);
  EXPECT_EQ(framed.pushes, (std::vector{false, true, false}));
}

TEST(ReplyFramer, AnUnfinishedReplyIsGivenAsFarAsItCame) {
  for (const std::string& reply : every_type()) {
    const Framed framed = frame(reply.substr(0, reply.size() - 1));
    EXPECT_TRUE(framed.replies.empty()) << reply;
    EXPECT_EQ(framed.unfinished, reply.substr(0, reply.size() - 1));
  }
}

TEST(ReplyFramer, RefusesAServerThatIsOutOfStep) {
  const std::vector<std::string> cases{
      "OK\r\n",
      "\r\n",
      std::string("\0", 1),
      "$-2\r\n",
      "$--1\r\n",
      "$-\r\n",
      "$\r\n",
      "$x\r\n",
      "$1x\r\n",
      "$?\r\n",
      "*?\r\n",
      ";4\r\nabcd\r\n",
      ".\r\n",
      "%-1\r\n",
      "~-1\r\n",
      "$1\rx",
      "$1\r\nab\r\n",
      "$1\r\na\n\n",
      "$1\r\na\rx",
      "+OK\rx",
      "*1\r\n>1\r\n+x\r\n",
      "|1\r\n>1\r\n+x\r\n",
      "$4294967297\r\n",
      "$99999999999999999999\r\n",
      "*1099511627777\r\n",
      "%549755813889\r\n",
      "*1099511627775\r\n*1099511627775\r\n",
      "%9223372036854775808\r\n",
  };
  for (const std::string& bytes : cases)
    EXPECT_TRUE(frame(bytes).failed) << bytes;
}

TEST(ReplyFramer, LengthsBelowTheBoundPass) {
  EXPECT_FALSE(frame("$4294967296\r\n").failed);
  EXPECT_FALSE(frame("*1099511627775\r\n").failed);
  EXPECT_FALSE(frame("%549755813887\r\n").failed);
}

TEST(ReplyFramer, LinesAreBoundedToo) {
  const ReplyLimits limits{.value_bytes_max = 10};
  EXPECT_FALSE(frame("+0123456789\r\n", limits).failed);
  EXPECT_TRUE(frame("+01234567890\r\n", limits).failed);
}

TEST(ReplyFramer, NestingCostsNothing) {
  std::string bytes;
  for (int i = 0; i < 100'000; ++i)
    bytes += "*1\r\n";
  bytes += ":1\r\n";
  ReplyFramer framer;
  std::string_view input = bytes;
  const auto piece = framer.next(input);
  ASSERT_TRUE(piece);
  EXPECT_TRUE(piece->last);
  EXPECT_EQ(piece->bytes.size(), bytes.size());
}

TEST(ParseValue, ReadsEveryType) {
  for (const std::string& reply : every_type())
    EXPECT_TRUE(parse_value(reply)) << reply;
  const auto map = parse_value("%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n#t\r\n");
  ASSERT_TRUE(map);
  ASSERT_NE(map->find("b"), nullptr);
  EXPECT_EQ(map->find("a")->integer, 1);
  EXPECT_EQ(map->find("b")->items.at(0).integer, 1);
  EXPECT_EQ(map->find("c"), nullptr);
  EXPECT_EQ(parse_value("=6\r\ntxt:hi\r\n")->text, "hi");
  EXPECT_EQ(parse_value("|1\r\n+ttl\r\n:3600\r\n+value\r\n")->text, "value");
  EXPECT_EQ(parse_value("$-1\r\n")->type, Value::Type::null);
  EXPECT_TRUE(parse_value("!3\r\nERR\r\n")->is_error());
}

TEST(ParseValue, AFlatArrayIsAMapToo) {
  const auto value = parse_value("*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n");
  ASSERT_TRUE(value);
  EXPECT_EQ(value->find("b")->integer, 2);
}

TEST(ParseValue, RefusesWhatIsNotOneWholeReply) {
  for (const std::string& reply : every_type()) {
    for (std::size_t size = 0; size < reply.size(); ++size)
      EXPECT_FALSE(parse_value(reply.substr(0, size))) << reply << size;
    EXPECT_FALSE(parse_value(reply + "+"));
  }
  for (const auto* reply : {":x\r\n",
                            ":01\r\n",
                            "#x\r\n",
                            "=2\r\nhi\r\n",
                            "$3\r\nabcd\r\n",
                            "*4294967296\r\n+a\r\n",
                            "$4294967296\r\na\r\n",
                            "$-2\r\n",
                            "?\r\n"})
    EXPECT_FALSE(parse_value(reply)) << reply;
}

TEST(ParseValue, NestingIsBounded) {
  const auto nested = [](int levels) {
    std::string reply;
    for (int i = 1; i < levels; ++i)
      reply += "*1\r\n";
    return reply + ":1\r\n";
  };
  EXPECT_TRUE(parse_value(nested(32)));
  EXPECT_FALSE(parse_value(nested(33)));
  std::string attributes;
  for (int i = 0; i < 100'000; ++i)
    attributes += "|0\r\n";
  EXPECT_FALSE(parse_value(attributes + ":1\r\n"));
}

}  // namespace
}  // namespace meridian::resp
