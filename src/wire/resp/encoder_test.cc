// Each kind of reply has the form of the client's version, and no text can end a reply early.

#include "wire/resp/encoder.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace meridian::resp {
namespace {

template <class Write>
std::string written(Protocol protocol, Write write) {
  std::string out;
  ReplyWriter writer(out, protocol);
  write(writer);
  return out;
}

// The same reply in version 2 and 3.
template <class Write>
void expect_replies(Write write, std::string_view resp2, std::string_view resp3) {
  EXPECT_EQ(written(Protocol::resp2, write), resp2);
  EXPECT_EQ(written(Protocol::resp3, write), resp3);
}

TEST(ReplyWriter, SharedForms) {
  expect_replies([](auto& writer) { writer.simple("OK"); }, "+OK\r\n", "+OK\r\n");
  expect_replies([](auto& writer) { writer.error("ERR no"); }, "-ERR no\r\n", "-ERR no\r\n");
  expect_replies([](auto& writer) { writer.integer(-42); }, ":-42\r\n", ":-42\r\n");
  expect_replies([](auto& writer) { writer.bulk(""); }, "$0\r\n\r\n", "$0\r\n\r\n");
  expect_replies([](auto& writer) { writer.array(3); }, "*3\r\n", "*3\r\n");
  constexpr auto lowest = std::numeric_limits<std::int64_t>::min();
  expect_replies([](auto& writer) { writer.integer(lowest); },
                 ":-9223372036854775808\r\n",
                 ":-9223372036854775808\r\n");
}

TEST(ReplyWriter, FormsThatDiffer) {
  expect_replies([](auto& writer) { writer.null(); }, "$-1\r\n", "_\r\n");
  expect_replies([](auto& writer) { writer.null_array(); }, "*-1\r\n", "_\r\n");
  expect_replies([](auto& writer) { writer.map(2); }, "*4\r\n", "%2\r\n");
  expect_replies([](auto& writer) { writer.set(2); }, "*2\r\n", "~2\r\n");
  expect_replies([](auto& writer) { writer.push(2); }, "*2\r\n", ">2\r\n");
  expect_replies([](auto& writer) { writer.boolean(true); }, ":1\r\n", "#t\r\n");
  expect_replies([](auto& writer) { writer.boolean(false); }, ":0\r\n", "#f\r\n");
  expect_replies(
      [](auto& writer) { writer.verbatim("txt", "hi"); }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
  expect_replies([](auto& writer) { writer.big_number("123456789012345678901234567890"); },
                 "$30\r\n123456789012345678901234567890\r\n",
                 "(123456789012345678901234567890\r\n");
}

TEST(ReplyWriter, DoublesReadBackAsTheSameNumber) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  expect_replies([](auto& writer) { writer.number(3.1); }, "$3\r\n3.1\r\n", ",3.1\r\n");
  expect_replies([](auto& writer) { writer.number(-0.5); }, "$4\r\n-0.5\r\n", ",-0.5\r\n");
  expect_replies([](auto& writer) { writer.number(10); }, "$2\r\n10\r\n", ",10\r\n");
  expect_replies([](auto& writer) { writer.number(infinity); }, "$3\r\ninf\r\n", ",inf\r\n");
  expect_replies([](auto& writer) { writer.number(-infinity); }, "$4\r\n-inf\r\n", ",-inf\r\n");
  expect_replies(
      [](auto& writer) { writer.number(infinity - infinity); }, "$3\r\nnan\r\n", ",nan\r\n");
}

TEST(ReplyWriter, ALineStaysOneLine) {
  const std::string text("ERR a\r\n+OK\0b", 12);
  expect_replies(
      [&](auto& writer) { writer.error(text); }, "-ERR a  +OK b\r\n", "-ERR a  +OK b\r\n");
  expect_replies([&](auto& writer) { writer.simple("a\nb"); }, "+a b\r\n", "+a b\r\n");
}

TEST(AppendRequest, IsAnArrayOfBulkStrings) {
  std::string out = "x";
  append_request(out, {"SET", "key", ""});
  EXPECT_EQ(out, "x*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$0\r\n\r\n");
}

}  // namespace
}  // namespace meridian::resp
