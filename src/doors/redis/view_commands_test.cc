// What a view's value looks like in each command, and which commands need a grant by name.

#include "doors/redis/view_commands.h"

#include "doors/redis/commands.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian {
namespace {

const ViewValue order{
    .present = true, .json = R"({"id":7})", .fields = {{"id", "7"}, {"note", "a b"}}};
const ViewValue nothing{};

std::string show(ViewCommand command,
                 const ViewValue& value,
                 std::vector<std::string_view> fields = {},
                 resp::Protocol protocol = resp::Protocol::resp2) {
  std::string out;
  resp::ReplyWriter writer(out, protocol);
  write_view_reply(writer, command, ShownValue(value), fields);
  // The same from the store.
  ViewKey key;
  key.text = "order:7";
  const auto entry = Entry::make(key, value, {});
  std::string kept;
  resp::ReplyWriter kept_writer(kept, protocol);
  write_view_reply(kept_writer, command, ShownValue(*entry), fields);
  EXPECT_EQ(out, kept);
  return out;
}

TEST(ViewCommandsTest, ARow) {
  EXPECT_EQ(show(ViewCommand::get, order), "$8\r\n{\"id\":7}\r\n");
  EXPECT_EQ(show(ViewCommand::strlen, order), ":8\r\n");
  EXPECT_EQ(show(ViewCommand::exists, order), ":1\r\n");
  EXPECT_EQ(show(ViewCommand::type, order), "+string\r\n");
  EXPECT_EQ(show(ViewCommand::ttl, order), ":-1\r\n");
  EXPECT_EQ(show(ViewCommand::pttl, order), ":-1\r\n");
  EXPECT_EQ(show(ViewCommand::hgetall, order),
            "*4\r\n$2\r\nid\r\n$1\r\n7\r\n$4\r\nnote\r\n$3\r\na b\r\n");
  EXPECT_EQ(show(ViewCommand::hgetall, order, {}, resp::Protocol::resp3).substr(0, 4), "%2\r\n");
  EXPECT_EQ(show(ViewCommand::hkeys, order), "*2\r\n$2\r\nid\r\n$4\r\nnote\r\n");
  EXPECT_EQ(show(ViewCommand::hvals, order), "*2\r\n$1\r\n7\r\n$3\r\na b\r\n");
  EXPECT_EQ(show(ViewCommand::hlen, order), ":2\r\n");
  EXPECT_EQ(show(ViewCommand::hget, order, {"note"}), "$3\r\na b\r\n");
  EXPECT_EQ(show(ViewCommand::hget, order, {"other"}), "$-1\r\n");
  EXPECT_EQ(show(ViewCommand::hmget, order, {"id", "x", "id"}),
            "*3\r\n$1\r\n7\r\n$-1\r\n$1\r\n7\r\n");
  EXPECT_EQ(show(ViewCommand::hexists, order, {"id"}), ":1\r\n");
  EXPECT_EQ(show(ViewCommand::hexists, order, {"x"}), ":0\r\n");
}

TEST(ViewCommandsTest, NoRow) {
  EXPECT_EQ(show(ViewCommand::get, nothing), "$-1\r\n");
  EXPECT_EQ(show(ViewCommand::get, nothing, {}, resp::Protocol::resp3), "_\r\n");
  EXPECT_EQ(show(ViewCommand::strlen, nothing), ":0\r\n");
  EXPECT_EQ(show(ViewCommand::exists, nothing), ":0\r\n");
  EXPECT_EQ(show(ViewCommand::type, nothing), "+none\r\n");
  EXPECT_EQ(show(ViewCommand::ttl, nothing), ":-2\r\n");
  EXPECT_EQ(show(ViewCommand::hgetall, nothing), "*0\r\n");
  EXPECT_EQ(show(ViewCommand::hlen, nothing), ":0\r\n");
  EXPECT_EQ(show(ViewCommand::hget, nothing, {"id"}), "$-1\r\n");
}

TEST(ViewCommandsTest, NamesAreKnownAndOthersAreNot) {
  EXPECT_EQ(find_view_command("get"), ViewCommand::get);
  EXPECT_EQ(find_view_command("unlink"), ViewCommand::forget);
  for (const std::string_view other : {"set", "GET", "getex", "getdel", "expire", ""})
    EXPECT_FALSE(find_view_command(other)) << other;
}

TEST(CommandsTest, OnlyWhatTellsNothingIsFree) {
  for (const std::string_view name :
       {"ping", "echo", "multi", "exec", "discard", "unwatch", "time"})
    EXPECT_TRUE(is_free_command(name)) << name;
  for (const std::string_view name : {"keys",
                                      "scan",
                                      "flushall",
                                      "config|get",
                                      "eval",
                                      "dbsize",
                                      "randomkey",
                                      "monitor",
                                      "debug|sleep",
                                      "info",
                                      ""})
    EXPECT_FALSE(is_free_command(name)) << name;
}

TEST(CommandsTest, ChannelsAreUsedInFourWays) {
  EXPECT_EQ(channel_use("subscribe"), ChannelUse::subscribe);
  EXPECT_EQ(channel_use("ssubscribe"), ChannelUse::subscribe);
  EXPECT_EQ(channel_use("psubscribe"), ChannelUse::subscribe_pattern);
  EXPECT_EQ(channel_use("punsubscribe"), ChannelUse::unsubscribe);
  EXPECT_EQ(channel_use("spublish"), ChannelUse::publish);
  EXPECT_EQ(channel_use("get"), ChannelUse::none);
}

TEST(CommandsTest, AnInlineRequestBecomesAnArray) {
  const std::vector<std::string_view> arguments{"SET", "k", "a b"};
  resp::Request request{.arguments = arguments, .bytes = "SET k 'a b'\r\n", .is_inline = true};
  EXPECT_EQ(to_request_bytes(request), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na b\r\n");
  request.is_inline = false;
  EXPECT_EQ(to_request_bytes(request), request.bytes);
}

}  // namespace
}  // namespace meridian
