// What the server says of its commands is understood in full, and no key that a request touches is
// missed: with the description of redis-server 7.0.15, of Redis 6, and of servers that lie.

#include "wire/resp/command_table.h"

#include "wire/resp/encoder.h"
#include "wire/resp/reply_framer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <ostream>
#include <string>
#include <vector>

namespace meridian::resp {
namespace {

using Words = std::vector<std::string_view>;

const CommandTable& redis7() {
  static const CommandTable table = [] {
    std::ifstream file(MERIDIAN_REDIS_DATA "/command_reply_7.0.15.resp", std::ios::binary);
    const std::string reply{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    auto parsed = CommandTable::parse(reply);
    EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().detail());
    return parsed ? *parsed : CommandTable();
  }();
  return table;
}

// "all: k r, dst w": the outcome, then each key and whether it is read or written.
std::string keys_of(const CommandTable& table, const Words& words) {
  const Command* const command = table.find(words);
  if (!command) return "unknown";
  if (!command->accepts(words.size())) return "arity";
  std::vector<KeyUse> found;
  const KeysFound outcome = command->keys(words, found);
  if (outcome == KeysFound::invalid) return "invalid";
  std::string text = outcome == KeysFound::all ? "all:" : "some:";
  for (const KeyUse& use : found) {
    text += ' ';
    text += words.at(use.index);
    text += use.reads() && use.writes() ? "=rw" : use.writes() ? "=w" : "=r";
  }
  return text;
}

std::string keys7(const Words& words) {
  return keys_of(redis7(), words);
}

TEST(CommandTable, KnowsEveryCommandOfTheServer) {
  EXPECT_EQ(redis7().commands().size(), 366U);
  const Command* const get = redis7().find("get");
  ASSERT_NE(get, nullptr);
  EXPECT_EQ(get->arity, 2);
  EXPECT_TRUE(get->flags.has(CommandFlag::readonly));
  EXPECT_TRUE(get->flags.has(CommandFlag::fast));
  EXPECT_FALSE(get->flags.has(CommandFlag::write));
  EXPECT_TRUE(get->categories.has(CommandCategory::string));
  EXPECT_FALSE(get->hides_keys);
}

TEST(CommandTable, LooksUpInAnyCase) {
  EXPECT_EQ(redis7().find(Words{"GeT", "a"}), redis7().find("get"));
  EXPECT_EQ(redis7().find(Words{"Config", "GET", "a"}), redis7().find("config|get"));
  EXPECT_EQ(redis7().find("CONFIG|get"), redis7().find("config|get"));
  EXPECT_EQ(redis7().find("restore-ASKING")->name, "restore-asking");
}

TEST(CommandTable, DoesNotKnowWhatTheServerDoesNot) {
  for (const Words& words : {Words{"nope"},
                             Words{""},
                             Words{"config|get", "a"},
                             Words{"config", "nope"},
                             Words{"config", ""},
                             Words{std::string_view("get\0", 4), "a"},
                             Words{"config", std::string_view("get\0", 4), "a"}})
    EXPECT_EQ(redis7().find(words), nullptr) << words[0];
  EXPECT_EQ(redis7().find(Words{std::string(65, 'a')}), nullptr);
  EXPECT_EQ(redis7().find(Words{"config", std::string(10'000, 'a')}), nullptr);
  EXPECT_EQ(CommandTable().find(Words{"get"}), nullptr);
}

TEST(CommandTable, ChecksTheNumberOfArguments) {
  EXPECT_EQ(keys7({"GET"}), "arity");
  EXPECT_EQ(keys7({"GET", "a", "b"}), "arity");
  EXPECT_EQ(keys7({"MGET"}), "arity");
  EXPECT_EQ(keys7({"CONFIG"}), "arity");
}

TEST(Keys, OfRangesAndSteps) {
  EXPECT_EQ(keys7({"GET", "a"}), "all: a=r");
  EXPECT_EQ(keys7({"MGET", "a", "b", "c"}), "all: a=r b=r c=r");
  EXPECT_EQ(keys7({"MSET", "a", "1", "b", "2"}), "all: a=w b=w");
  EXPECT_EQ(keys7({"DEL", "a", "b"}), "all: a=w b=w");
  EXPECT_EQ(keys7({"INCR", "a"}), "all: a=rw");
  EXPECT_EQ(keys7({"EXPIRE", "a", "1"}), "all: a=w");
  EXPECT_EQ(keys7({"EXISTS", "a", "b"}), "all: a=r b=r");
  EXPECT_EQ(keys7({"RENAME", "a", "b"}), "all: a=rw b=w");
  EXPECT_EQ(keys7({"SUNIONSTORE", "d", "a", "b"}), "all: d=w a=r b=r");
  EXPECT_EQ(keys7({"PFMERGE", "d"}), "all: d=rw");
  EXPECT_EQ(keys7({"PFCOUNT", "a"}), "all: a=r");
  EXPECT_EQ(keys7({"BLPOP", "a", "b", "0"}), "all: a=rw b=rw");
  EXPECT_EQ(keys7({"BITOP", "AND", "d", "a", "b"}), "all: d=w a=r b=r");
  EXPECT_EQ(keys7({"LCS", "a", "b"}), "all: a=r b=r");
  EXPECT_EQ(keys7({"OBJECT", "ENCODING", "a"}), "all: a=r");
  EXPECT_EQ(keys7({"XGROUP", "CREATE", "a", "g", "$"}), "all: a=w");
  EXPECT_EQ(keys7({"PING"}), "all:");
}

TEST(Keys, OfCounts) {
  EXPECT_EQ(keys7({"ZUNION", "2", "a", "b"}), "all: a=r b=r");
  EXPECT_EQ(keys7({"ZUNIONSTORE", "d", "2", "a", "b", "WEIGHTS", "1", "2"}), "all: d=w a=r b=r");
  EXPECT_EQ(keys7({"BLMPOP", "0", "1", "a", "LEFT"}), "all: a=rw");
  for (const auto* count : {"3", "-1", "x", "", "+2", "02", "4294967298", "9223372036854775807"})
    EXPECT_EQ(keys7({"ZUNION", count, "a", "b"}), "invalid") << count;
}

TEST(Keys, BehindKeywords) {
  EXPECT_EQ(keys7({"XREAD", "COUNT", "1", "STREAMS", "a", "b", "0", "0"}), "all: a=r b=r");
  EXPECT_EQ(keys7({"XREADGROUP", "GROUP", "STREAMS", "c", "streams", "a", ">"}), "all: a=r");
  EXPECT_EQ(keys7({"GEORADIUS", "a", "1", "1", "1", "m", "STORE", "d"}), "all: a=r d=w");
  EXPECT_EQ(keys7({"GEORADIUS", "a", "1", "1", "1", "m", "storedist", "d"}), "all: a=r d=w");
  EXPECT_EQ(keys7({"GEORADIUS", "a", "1", "1", "1", "m", "STORE"}), "all: a=r");
}

TEST(Keys, TwoKeywordsAreOneTooMany) {
  // The server looks behind the first STREAMS or STORE, and then reads k and writes b.
  EXPECT_EQ(keys7({"XREADGROUP", "COUNT", "1", "GROUP", "g", "STREAMS", "STREAMS", "k", ">"})
                .substr(0, 5),
            "some:");
  EXPECT_EQ(keys7({"GEORADIUS", "a", "1", "1", "1", "m", "STORE", "b", "STORE", "c"}),
            "some: a=r b=w");
}

TEST(Keys, AKeywordEndsAtItsFirstNul) {
  const std::string_view store("sToRe\0junk", 10);
  const std::string_view get("GET\0", 4);
  const std::string_view set("set\0", 4);
  EXPECT_EQ(keys7({"SORT", "a", store, "d"}), "all: a=r d=w");
  EXPECT_EQ(keys7({"GEORADIUS", "a", "1", "1", "1", "m", store, "d"}), "all: a=r d=w");
  EXPECT_EQ(keys7({"SET", "a", "v", get}), "all: a=rw");
  EXPECT_EQ(keys7({"BITFIELD", "a", set, "u8", "0", "1"}), "all: a=rw");
  EXPECT_EQ(keys7({"SORT", "a", "STORED", "d"}), "all: a=r");
}

TEST(Keys, OfCommandsWithARuleOfTheirOwn) {
  EXPECT_EQ(keys7({"SET", "a", "v"}), "all: a=w");
  EXPECT_EQ(keys7({"SET", "a", "GET"}), "all: a=w");
  EXPECT_EQ(keys7({"SET", "a", "v", "EX", "9", "get"}), "all: a=rw");
  EXPECT_EQ(keys7({"BITFIELD", "a"}), "all: a=r");
  EXPECT_EQ(keys7({"BITFIELD", "a", "GET", "u8", "0"}), "all: a=r");
  EXPECT_EQ(keys7({"BITFIELD", "a", "GET", "u8", "0", "INCRBY", "u8", "0", "1"}), "all: a=rw");
  EXPECT_EQ(keys7({"SORT", "a"}), "all: a=r");
  EXPECT_EQ(keys7({"SORT", "BY"}), "all: BY=r");
  EXPECT_EQ(keys7({"SORT", "a", "BY", "nosort", "GET", "#", "STORE", "d"}), "all: a=r d=w");
  EXPECT_EQ(keys7({"SORT", "a", "BY", "w_*"}), "some: a=r");
  EXPECT_EQ(keys7({"SORT", "a", "GET", "o_*", "STORE", "d"}), "some: a=r d=w");
  EXPECT_EQ(keys7({"SORT", "a", "STORE", "b", "STORE", "c"}), "all: a=r b=w c=w");
  EXPECT_EQ(keys7({"SORT_RO", "a", "BY", "w_*"}), "some: a=r");
  EXPECT_EQ(keys7({"SORT_RO", "a"}), "all: a=r");
}

TEST(Keys, SomeCommandsReachPastThem) {
  EXPECT_EQ(keys7({"EVAL", "return 1", "0"}), "some:");
  EXPECT_EQ(keys7({"EVAL", "return 1", "1", "a", "b"}), "some: a=rw");
  EXPECT_EQ(keys7({"EVAL_RO", "return 1", "1", "a"}), "some: a=r");
  EXPECT_EQ(keys7({"FCALL", "f", "1", "a"}), "some: a=rw");
  EXPECT_EQ(keys7({"MIGRATE", "h", "1", "a", "0", "9", "KEYS", "b"}).substr(0, 5), "some:");
  for (const Words& words : {Words{"KEYS", "*"},
                             Words{"SCAN", "0"},
                             Words{"RANDOMKEY"},
                             Words{"FLUSHALL"},
                             Words{"DBSIZE"},
                             Words{"SWAPDB", "0", "1"},
                             Words{"DEBUG", "OBJECT", "a"},
                             Words{"CONFIG", "GET", "a"},
                             Words{"MONITOR"},
                             Words{"SCRIPT", "LOAD", "a"},
                             Words{"FUNCTION", "LOAD", "a"},
                             Words{"REPLICAOF", "a", "1"},
                             Words{"MODULE", "LOAD", "a"},
                             Words{"INFO"}})
    EXPECT_EQ(keys7(words), "some:") << words[0];
}

TEST(Keys, ChannelsAreNone) {
  EXPECT_EQ(keys7({"SPUBLISH", "c", "m"}), "all:");
  EXPECT_EQ(keys7({"SSUBSCRIBE", "c"}), "all:");
  EXPECT_EQ(keys7({"PUBLISH", "c", "m"}), "all:");
}

// An entry as Redis 6 describes a command.
std::string entry6(std::string_view name,
                   int arity,
                   std::initializer_list<std::string_view> flags,
                   int first,
                   int last,
                   int step) {
  std::string out;
  ReplyWriter writer(out, Protocol::resp2);
  writer.array(7);
  writer.bulk(name);
  writer.integer(arity);
  writer.array(flags.size());
  for (const std::string_view flag : flags)
    writer.simple(flag);
  writer.integer(first);
  writer.integer(last);
  writer.integer(step);
  writer.array(1);
  writer.simple("@slow");
  return out;
}

TEST(Keys, OfRedis6AreOnlyPositions) {
  const auto table = CommandTable::parse(
      "*6\r\n" + entry6("get", 2, {"readonly", "fast"}, 1, 1, 1) +
      entry6("mset", -3, {"write"}, 1, -1, 2) + entry6("watch", -2, {"noscript"}, 1, -1, 1) +
      entry6("zunionstore", -4, {"write", "movablekeys"}, 1, 1, 1) +
      entry6("sort", -2, {"write", "movablekeys"}, 1, 1, 1) +
      entry6("xgroup", -2, {"write"}, 2, 2, 1));
  ASSERT_TRUE(table) << table.error().detail();
  EXPECT_EQ(keys_of(*table, {"GET", "a"}), "all: a=r");
  EXPECT_EQ(keys_of(*table, {"MSET", "a", "1", "b", "2"}), "all: a=rw b=rw");
  EXPECT_EQ(keys_of(*table, {"WATCH", "a"}), "all: a=rw");
  EXPECT_EQ(keys_of(*table, {"ZUNIONSTORE", "d", "1", "a"}), "some: d=rw");
  EXPECT_EQ(keys_of(*table, {"SORT", "a", "STORE", "d"}), "all: a=r d=w");
  EXPECT_EQ(keys_of(*table, {"XGROUP", "CREATE", "a", "g", "$"}), "all: a=rw");
}

TEST(CommandTable, ReadsTheReplyOfVersion3) {
  const auto table = CommandTable::parse(
      "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~1\r\n+@read"
      "\r\n~0\r\n*1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n%2\r\n$4"
      "\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n%2"
      "\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep"
      "\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n");
  ASSERT_TRUE(table) << table.error().detail();
  EXPECT_EQ(keys_of(*table, {"GET", "a"}), "all: a=r");
}

TEST(CommandTable, RefusesServersThatLie) {
  const std::string get = entry6("get", 2, {}, 1, 1, 1);
  for (const std::string& reply : {std::string("-NOPERM no\r\n"),
                                   std::string("+OK\r\n"),
                                   std::string("*1\r\n:1\r\n"),
                                   std::string("*1\r\n*1\r\n$3\r\nget\r\n"),
                                   "*2\r\n" + get + get,
                                   "*1\r\n" + entry6("", 2, {}, 1, 1, 1),
                                   "*1\r\n" + entry6(std::string(65, 'a'), 2, {}, 1, 1, 1),
                                   "*1\r\n" + entry6("get", 2, {}, -1, 1, 1),
                                   "*1\r\n" + entry6("get", 2, {}, 3, 1, 1),
                                   "*1\r\n" + entry6("get", 2'000'000'000, {}, 1, 1, 1),
                                   "*1\r\n" + entry6("get", 2, {}, 1, 2'000'000'000, 1)})
    EXPECT_FALSE(CommandTable::parse(reply)) << reply;
}

// A command of Redis 7 with one key spec, given as the version 2 array behind "flags".
std::string keys_with_spec(std::string_view flags, std::string_view begin, std::string_view find) {
  std::string reply = "*1\r\n*10\r\n$1\r\nx\r\n:-2\r\n*0\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*1\r\n";
  reply += "*6\r\n+flags\r\n" + std::string(flags) + "+begin_search\r\n" + std::string(begin) +
           "+find_keys\r\n" + std::string(find) + "*0\r\n";
  const auto table = CommandTable::parse(reply);
  if (!table) return table.error().detail();
  return keys_of(*table, {"x", "a", "b", "c"});
}

TEST(Keys, WhatIsNotUnderstoodIsTakenForTheWorst) {
  const std::string index = "*4\r\n+type\r\n+index\r\n+spec\r\n*2\r\n+index\r\n:1\r\n";
  const std::string range =
      "*4\r\n+type\r\n+range\r\n+spec\r\n*6\r\n+lastkey\r\n:0\r\n+keystep\r\n:1\r\n+limit\r\n:"
      "0\r\n";
  EXPECT_EQ(keys_with_spec("*1\r\n+RO\r\n", index, range), "all: a=r");
  EXPECT_EQ(keys_with_spec("*0\r\n", index, range), "all: a=rw");
  EXPECT_EQ(keys_with_spec("*1\r\n+NEW\r\n", index, range), "all: a=rw");
  EXPECT_EQ(keys_with_spec("*1\r\n+OW\r\n", index, range), "all: a=w");
  EXPECT_EQ(keys_with_spec("*2\r\n+RO\r\n+incomplete\r\n", index, range), "some: a=r");
  EXPECT_EQ(keys_with_spec("*1\r\n+RO\r\n", "*2\r\n+type\r\n+psychic\r\n", range), "some:");
  EXPECT_EQ(keys_with_spec("*1\r\n+RO\r\n", index, "*0\r\n"), "some:");
  EXPECT_EQ(keys_with_spec("*1\r\n+RO\r\n",
                           index,
                           "*4\r\n+type\r\n+range\r\n+spec\r\n*6\r\n+lastkey\r\n:0\r\n+keystep\r\n"
                           ":0\r\n+limit\r\n:0\r\n"),
            "some:");
  EXPECT_EQ(
      keys_with_spec(
          "*1\r\n+RO\r\n", "*4\r\n+type\r\n+index\r\n+spec\r\n*2\r\n+index\r\n:-1\r\n", range),
      "some:");
}

TEST(MayShareConnection, OnlyWhatLeavesNothingBehindAndDoesNotBlock) {
  const auto may_share = [](const Words& words) {
    const Command* const command = redis7().find(words);
    return command && command->may_share_connection(words);
  };
  for (const Words& words : {Words{"GET", "a"},
                             Words{"SET", "a", "v"},
                             Words{"DEL", "a"},
                             Words{"PING"},
                             Words{"ECHO", "a"},
                             Words{"PUBLISH", "c", "m"},
                             Words{"EVAL", "return 1", "0"},
                             Words{"XREAD", "STREAMS", "a", "0"},
                             Words{"COMMAND", "COUNT"},
                             Words{"PUBSUB", "NUMSUB"},
                             Words{"SCAN", "0"},
                             Words{"TIME"},
                             Words{"FLUSHALL"}})
    EXPECT_TRUE(may_share(words)) << words[0];
  for (const Words& words :
       {Words{"SELECT", "1"},
        Words{"AUTH", "x"},
        Words{"HELLO", "3"},
        Words{"RESET"},
        Words{"QUIT"},
        Words{"MULTI"},
        Words{"EXEC"},
        Words{"DISCARD"},
        Words{"WATCH", "a"},
        Words{"UNWATCH"},
        Words{"SUBSCRIBE", "c"},
        Words{"PSUBSCRIBE", "c"},
        Words{"SSUBSCRIBE", "c"},
        Words{"UNSUBSCRIBE"},
        Words{"CLIENT", "TRACKING", "ON"},
        Words{"CLIENT", "REPLY", "OFF"},
        Words{"CLIENT", "NO-EVICT", "ON"},
        Words{"CLIENT", "KILL", "ID", "1"},
        Words{"CLIENT"},
        Words{"BLPOP", "a", "0"},
        Words{"BLMOVE", "a", "b", "LEFT", "LEFT", "0"},
        Words{"XREAD", "BLOCK", "0", "STREAMS", "a", "$"},
        Words{"XREAD", std::string_view("block\0", 6), "0", "STREAMS", "a", "$"},
        Words{"WAIT", "1", "0"},
        Words{"MONITOR"},
        Words{"SYNC"},
        Words{"PSYNC", "a", "0"},
        Words{"REPLCONF"},
        Words{"SCRIPT", "DEBUG", "YES"},
        Words{"READONLY"},
        Words{"CONFIG", "SET", "a", "b"}})
    EXPECT_FALSE(may_share(words)) << words[0];
}

}  // namespace
}  // namespace meridian::resp
