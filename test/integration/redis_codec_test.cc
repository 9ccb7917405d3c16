// Our reading of the Redis protocol and of its command table against redis-server itself: the same
// bytes get the same arguments or the same error, and no key that it finds in a request is missing
// from ours.

#include "base/escape.h"
#include "base/function_ref.h"
#include "redis/real_redis.h"
#include "runtime/scope.h"
#include "wire/resp/command_table.h"
#include "wire/resp/encoder.h"
#include "wire/resp/reply_framer.h"
#include "wire/resp/request_decoder.h"
#include "wire/resp/value.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace meridian {
namespace {

using resp::Command;
using resp::CommandTable;
using resp::KeysFound;
using resp::KeyUse;

void run(FunctionRef<Async<>(EpollLoop&, RealRedis&)> body) {
  EpollLoop loop;
  RealRedis redis(loop);
  Scope scope(loop);
  scope.spawn([](EpollLoop& on,
                 RealRedis& server,
                 FunctionRef<Async<>(EpollLoop&, RealRedis&)> work) -> Async<> {
    const auto started = co_await server.start();
    EXPECT_TRUE(started) << started.error().detail();
    if (started) co_await work(on, server);
    on.stop();
  }(loop, redis, body));
  loop.run();
}

std::string our_error(std::string_view bytes) {
  resp::RequestDecoder decoder;
  decoder.set_authenticated(true);
  for (;;) {
    const auto request = decoder.next(bytes);
    if (!request) return "-ERR " + request.error().detail() + "\r\n";
    if (!*request) return "";
  }
}

TEST(RedisWording, ErrorsAreThoseOfTheServer) {
  run([](EpollLoop&, RealRedis& server) -> Async<> {
    for (const std::string& bytes : {std::string("*x\r\n"),
                                     std::string("*\r\n"),
                                     std::string("*01\r\n"),
                                     std::string("*+1\r\n"),
                                     std::string("*1 \r\n"),
                                     std::string("*-0\r\n"),
                                     std::string("*1\n$4\r\nPING\r\n"),
                                     std::string("*2147483648\r\n"),
                                     std::string("*18446744073709551617\r\n"),
                                     "*" + std::string(40, '1') + "\r\n",
                                     "*" + std::string(70'000, '1'),
                                     "*1\r\n$" + std::string(70'000, '1'),
                                     std::string(70'000, 'a'),
                                     std::string("*1\r\n$-1\r\n"),
                                     std::string("*1\r\n$x\r\n"),
                                     std::string("*1\r\n$\r\n"),
                                     std::string("*1\r\n$-4294967296\r\n"),
                                     std::string("*1\r\nPING\r\n"),
                                     std::string("*1\r\n*1\r\n"),
                                     std::string("*1\r\n\r\n"),
                                     std::string("*1\r\n\xffOK\r\n"),
                                     std::string("echo \"abc\r\n"),
                                     std::string("echo 'a'b\r\n"),
                                     std::string("echo \"abc\\\r\n")}) {
      const auto theirs = co_await server.talk(bytes, "no end");
      EXPECT_TRUE(theirs);
      EXPECT_EQ(our_error(bytes), theirs.value_or("")) << escape(bytes);
    }
    // Ours name their limit behind the server's words.
    const auto theirs = co_await server.talk("*1\r\n$536870913\r\n", "no end");
    const std::string words = theirs.value_or("").substr(0, theirs.value_or("").size() - 2);
    EXPECT_TRUE(our_error("*1\r\n$536870913\r\n").starts_with(words));
  });
}

TEST(RedisWording, InlineWordsAreThoseOfTheServer) {
  run([](EpollLoop&, RealRedis& server) -> Async<> {
    std::mt19937 random(7);
    const std::string letters = "ab\"'\\xn4 \t\v\xff";
    for (int i = 0; i < 300; ++i) {
      std::string line = "lpush list ";
      for (std::size_t size = random() % 12; size > 0; --size)
        line += letters[random() % letters.size()];
      line += "\r\n";
      resp::RequestDecoder decoder;
      std::string_view input = line;
      const auto request = decoder.next(input);
      const std::string script = "del list\r\n" + line + "lrange list 0 -1\r\necho end\r\n";
      const std::string end = "$3\r\nend\r\n";
      const auto theirs = co_await server.talk(script, end);
      EXPECT_TRUE(theirs) << escape(line);
      if (!theirs) continue;
      if (!request) {
        EXPECT_TRUE(theirs->contains(request.error().detail())) << escape(line);
        continue;
      }
      // The list holds the words behind "lpush list", last one first.
      std::string expected;
      const auto words = (*request)->arguments.subspan(2);
      resp::ReplyWriter(expected, resp::Protocol::resp2).array(words.size());
      for (std::size_t word = words.size(); word > 0; --word)
        resp::ReplyWriter(expected, resp::Protocol::resp2).bulk(words[word - 1]);
      expected += end;
      EXPECT_TRUE(theirs->ends_with(expected)) << escape(line) << escape(*theirs);
    }
  });
}

Async<CommandTable> load(RealRedis& server, bool resp3) {
  const std::string script =
      std::string(resp3 ? "HELLO 3\r\n" : "HELLO 2\r\n") + "COMMAND\r\nPING\r\n";
  const auto answer = co_await server.talk(script, "+PONG\r\n");
  EXPECT_TRUE(answer);
  if (!answer) co_return CommandTable();
  std::string_view bytes = *answer;
  resp::ReplyFramer framer;
  EXPECT_TRUE(framer.next(bytes));  // The greeting.
  const auto reply = framer.next(bytes);
  if (!reply) co_return CommandTable();
  auto table = CommandTable::parse(reply->bytes);
  EXPECT_TRUE(table) << table.error().detail();
  co_return table ? *std::move(table) : CommandTable();
}

TEST(RedisCommands, BothProtocolVersionsTellTheSame) {
  run([](EpollLoop&, RealRedis& server) -> Async<> {
    const CommandTable two = co_await load(server, false);
    const CommandTable three = co_await load(server, true);
    EXPECT_GT(two.commands().size(), 300U);
    EXPECT_EQ(two.commands().size(), three.commands().size());
    for (const Command& command : two.commands()) {
      const Command* const other = three.find(command.name);
      EXPECT_NE(other, nullptr) << command.name;
      if (!other) continue;
      EXPECT_EQ(command.flags, other->flags) << command.name;
      EXPECT_EQ(command.categories, other->categories) << command.name;
      EXPECT_EQ(command.key_specs.size(), other->key_specs.size()) << command.name;
      EXPECT_EQ(command.hides_keys, other->hides_keys) << command.name;
    }
  });
}

// What requests are made of: words that some options know, numbers, names.
const std::vector<std::string>& vocabulary() {
  static const std::vector<std::string> words{"a",
                                              "b",
                                              "c",
                                              "0",
                                              "1",
                                              "2",
                                              "3",
                                              "-1",
                                              "STORE",
                                              "store",
                                              "GET",
                                              "BY",
                                              "SET",
                                              "*",
                                              "#",
                                              "STREAMS",
                                              "BLOCK",
                                              "COUNT",
                                              "GROUP",
                                              "KEYS",
                                              "LIMIT",
                                              "WEIGHTS",
                                              "INCRBY",
                                              "u8",
                                              "",
                                              "NOSORT",
                                              "STOREDIST",
                                              std::string("STORE\0x", 7),
                                              std::string("GET\0", 4),
                                              "w_*"};
  return words;
}

std::vector<std::string> make_request(const Command& command, std::mt19937& random) {
  const std::vector<std::string>& words = vocabulary();
  std::vector<std::string> request;
  const std::size_t bar = command.name.find('|');
  request.push_back(command.name.substr(0, bar));
  if (bar != std::string::npos) request.push_back(command.name.substr(bar + 1));
  const auto least = static_cast<std::size_t>(std::abs(command.arity));
  const std::size_t size = command.arity >= 0 ? least : least + random() % 7;
  while (request.size() < size)
    request.push_back(words[random() % words.size()]);
  return request;
}

struct NamedKey {
  std::string name;
  bool reads = false;
  bool writes = false;
};

std::vector<NamedKey> our_keys(const std::vector<std::string>& request,
                               const std::vector<KeyUse>& found) {
  std::vector<NamedKey> keys;
  for (const KeyUse& use : found)
    keys.push_back({request.at(use.index), use.reads(), use.writes()});
  return keys;
}

// From COMMAND GETKEYSANDFLAGS: an array of (key, flags).
std::vector<NamedKey> their_keys(const resp::Value& reply) {
  std::vector<NamedKey> keys;
  for (const resp::Value& item : reply.items) {
    NamedKey key;
    key.name = item.items.at(0).text;
    for (const resp::Value& flag : item.items.at(1).items) {
      key.reads |= flag.text == "access";
      key.writes |= flag.text == "update" || flag.text == "insert" || flag.text == "delete";
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

bool covers(const std::vector<NamedKey>& all, const NamedKey& key) {
  return std::ranges::any_of(all, [&](const NamedKey& one) {
    return one.name == key.name && (one.reads || !key.reads) && (one.writes || !key.writes);
  });
}

// In an order that is the same in every run: the server's own is not.
std::vector<const Command*> in_order(const CommandTable& table) {
  std::vector<const Command*> commands;
  for (const Command& command : table.commands())
    commands.push_back(&command);
  std::ranges::sort(commands, {}, &Command::name);
  return commands;
}

TEST(RedisCommands, NoKeyOfTheServersIsMissing) {
  run([](EpollLoop&, RealRedis& server) -> Async<> {
    constexpr int requests_for_each = 200;
    const CommandTable table = co_await load(server, false);
    std::mt19937 random(42);
    int compared = 0;
    int same = 0;
    for (const Command* const listed : in_order(table)) {
      const Command& command = *listed;
      if (command.is_container) continue;
      std::vector<std::vector<std::string>> requests;
      std::string questions;
      for (int i = 0; i < requests_for_each; ++i) {
        requests.push_back(make_request(command, random));
        std::vector<std::string_view> question{"COMMAND", "GETKEYSANDFLAGS"};
        question.insert(question.end(), requests.back().begin(), requests.back().end());
        resp::append_request(questions, question);
      }
      resp::append_request(questions, {"PING"});
      const auto answers = co_await server.talk(questions, "+PONG\r\n");
      EXPECT_TRUE(answers) << command.name;
      if (!answers) co_return;
      std::string_view bytes = *answers;
      resp::ReplyFramer framer;
      for (const std::vector<std::string>& request : requests) {
        const auto piece = framer.next(bytes);
        EXPECT_TRUE(piece && piece->last) << command.name;
        if (!piece) co_return;
        const auto reply = resp::parse_value(piece->bytes);
        EXPECT_TRUE(reply);
        if (!reply || reply->is_error()) continue;
        const std::vector<std::string_view> arguments(request.begin(), request.end());
        std::vector<KeyUse> found;
        const KeysFound outcome = command.keys(arguments, found);
        if (outcome == KeysFound::invalid) continue;  // Refused, so no key is touched.
        const std::vector<NamedKey> ours = our_keys(request, found);
        const std::vector<NamedKey> theirs = their_keys(*reply);
        ++compared;
        same += ours.size() == theirs.size() ? 1 : 0;
        for (const NamedKey& key : theirs) {
          EXPECT_TRUE(covers(ours, key) || outcome == KeysFound::some)
              << command.name << " " << ::testing::PrintToString(request) << ": " << key.name;
        }
      }
    }
    EXPECT_GT(compared, 20'000);
    EXPECT_GT(same, compared * 95 / 100);
    std::printf("%d requests compared, %d with as many keys\n", compared, same);
  });
}

// Makes each word of the vocabulary a key, mostly of the type that the command is for.
void append_keys(std::string& script, const Command& command, std::mt19937& random) {
  using enum resp::CommandCategory;
  constexpr std::array types{string, list, set, geo, hash, stream};
  resp::append_request(script, {"FLUSHALL"});
  for (const std::string& key : vocabulary()) {
    resp::CommandCategory type = types[random() % types.size()];
    for (const resp::CommandCategory own : types) {
      if (command.categories.has(own) && random() % 4 != 0) type = own;
    }
    if (type == string) {
      resp::append_request(script, {"SET", key, "7"});
    } else if (type == list) {
      resp::append_request(script, {"RPUSH", key, "1", "2", "3", "a"});
    } else if (type == set) {
      resp::append_request(script, {"SADD", key, "1", "2", "3"});
    } else if (type == geo) {
      resp::append_request(script, {"GEOADD", key, "1", "1", "a", "2", "2", "b"});
    } else if (type == hash) {
      resp::append_request(script, {"HSET", key, "a", "1", "b", "2"});
    } else {
      resp::append_request(script, {"XADD", key, "1-1", "a", "1"});
    }
  }
}

// Nearly no random request gets past these commands' first arguments.
void help_along(std::vector<std::string>& request) {
  static const std::map<std::string, std::vector<std::string>> beginnings{
      {"georadius", {"georadius", "a", "1", "1", "999", "km", "STORE", "b", "STORE"}},
      {"georadiusbymember", {"georadiusbymember", "a", "b", "999", "km"}},
      {"geosearchstore", {"geosearchstore", "c", "a", "FROMMEMBER", "b", "BYRADIUS", "99", "km"}},
      {"bitfield", {"bitfield", "a", "SET", "u8", "0"}},
      {"bitop", {"bitop", "AND"}},
  };
  const auto found = beginnings.find(request[0]);
  if (found == beginnings.end()) return;
  for (std::size_t i = 0; i < found->second.size() && i < request.size(); ++i)
    request[i] = found->second[i];
}

// The truth itself: what a request has changed, when the server has run it, lies under keys that it
// was said to write.
TEST(RedisCommands, NoOtherKeyChanges) {
  run([](EpollLoop&, RealRedis& server) -> Async<> {
    constexpr int requests_for_each = 60;
    const CommandTable table = co_await load(server, false);
    std::mt19937 random(43);
    std::vector<std::string_view> digests{"DEBUG", "DIGEST-VALUE"};
    digests.insert(digests.end(), vocabulary().begin(), vocabulary().end());
    int run_count = 0;
    int changing_count = 0;
    for (const Command* const listed : in_order(table)) {
      const Command& command = *listed;
      std::vector<std::vector<std::string>> requests;
      std::vector<std::vector<NamedKey>> keys;
      std::string script;
      for (int i = 0; i < requests_for_each; ++i) {
        std::vector<std::string> request = make_request(command, random);
        help_along(request);
        const std::vector<std::string_view> arguments(request.begin(), request.end());
        if (!command.accepts(arguments.size())) continue;
        if (!command.may_share_connection(arguments)) continue;
        std::vector<KeyUse> found;
        if (command.keys(arguments, found) != KeysFound::all) continue;
        append_keys(script, command, random);
        resp::append_request(script, digests);
        resp::append_request(script, arguments);
        resp::append_request(script, digests);
        keys.push_back(our_keys(request, found));
        requests.push_back(std::move(request));
      }
      resp::append_request(script, {"PING", "the end"});
      const auto answers = co_await server.talk(script, "the end\r\n");
      EXPECT_TRUE(answers) << command.name;
      if (!answers) co_return;
      std::string_view bytes = *answers;
      resp::ReplyFramer framer;
      const auto skip = [&](std::size_t count) {
        for (std::size_t i = 0; i < count; ++i)
          EXPECT_TRUE(framer.next(bytes));
      };
      const auto read_digests = [&] {
        const auto piece = framer.next(bytes);
        EXPECT_TRUE(piece && piece->last);
        auto value = resp::parse_value(piece->bytes);
        EXPECT_TRUE(value);
        return *std::move(value);
      };
      for (std::size_t i = 0; i < requests.size(); ++i) {
        skip(1 + vocabulary().size());
        const resp::Value before = read_digests();
        skip(1);
        const resp::Value after = read_digests();
        ++run_count;
        bool changes = false;
        for (std::size_t word = 0; word < vocabulary().size(); ++word) {
          if (before.items.at(word).text == after.items.at(word).text) continue;
          changes = true;
          EXPECT_TRUE(covers(keys[i], {vocabulary()[word], false, true}))
              << ::testing::PrintToString(requests[i]) << " changed " << vocabulary()[word];
        }
        changing_count += changes ? 1 : 0;
      }
    }
    EXPECT_GT(run_count, 8'000);
    EXPECT_GT(changing_count, 500);
    std::printf("%d requests run, %d changed something\n", run_count, changing_count);
  });
}

}  // namespace
}  // namespace meridian
