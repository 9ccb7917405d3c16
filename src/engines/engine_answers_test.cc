// Answers of engines are read the same however they arrive, and nothing that an engine could send
// counts as ready but what means it.

#include "engines/engine_answers.h"

#include "engines/nats_engine.h"

#include <gtest/gtest.h>

namespace meridian {
namespace {

using std::string_literals::operator""s;

std::string error_response(std::string_view state, std::string_view message) {
  const std::string fields = "SFATAL\0VFATAL\0C"s + std::string(state) + "\0M"s +
                             std::string(message) + "\0Fpostmaster.c\0\0"s;
  const auto size = static_cast<std::uint32_t>(fields.size() + 4);
  return "E\0\0"s + static_cast<char>(size >> 8) + static_cast<char>(size) + fields;
}

TEST(PostgresAnswers, AskingForAPasswordIsReady) {
  EXPECT_TRUE(judge_postgres_answer("R").value());
  EXPECT_TRUE(judge_postgres_answer("R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0"s).value());
}

TEST(PostgresAnswers, RecoveryIsNotReadyAndAFullServerIs) {
  const auto starting =
      judge_postgres_answer(error_response("57P03", "the database system is starting up"));
  ASSERT_TRUE(starting);
  EXPECT_EQ(starting->error().code(), Errc::unavailable);
  EXPECT_EQ(starting->error().detail(), "it answered 57P03: the database system is starting up");
  EXPECT_TRUE(judge_postgres_answer(error_response("53300", "too many clients")).value());
  EXPECT_FALSE(judge_postgres_answer(error_response("28000", "no pg_hba.conf entry")).value());
}

TEST(PostgresAnswers, EveryPartOfAnErrorAsksForMore) {
  const std::string whole = error_response("57P03", "starting");
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(judge_postgres_answer(std::string_view(whole).substr(0, size))) << size;
  EXPECT_TRUE(judge_postgres_answer(whole));
  EXPECT_TRUE(judge_postgres_answer(whole + "more"));
}

TEST(PostgresAnswers, WhatIsNoAnswerIsNotReady) {
  for (const std::string& bytes : {"HTTP/1.1 400"s,
                                   "N"s,
                                   "\0"s,
                                   "E\0\0\0\0"s,  // Shorter than its own size field.
                                   "E\0\0\0\3"s,
                                   "E\xff\xff\xff\xff"s,  // 4 GiB.
                                   "E\x80\0\0\0"s,        // Negative.
                                   "E\0\0\x10\0"s,        // One more than is kept.
                                   "E\0\0\0\4"s,          // No fields.
                                   "E\0\0\0\x0b"
                                   "C53300x"s,  // A field without its end.
                                   "EFATAL: sorry, too many clients already\n\0"s}) {
    const auto verdict = judge_postgres_answer(bytes);
    ASSERT_TRUE(verdict) << testing::PrintToString(bytes);
    EXPECT_FALSE(*verdict) << testing::PrintToString(bytes);
  }
}

TEST(PostgresAnswers, TheStartupMessageIsTheProtocols) {
  EXPECT_EQ(make_postgres_startup("me", "db"), "\0\0\0\x1d\0\3\0\0user\0me\0database\0db\0\0"s);
}

TEST(RedisAnswers, OnlyOkAndPongAreReady) {
  EXPECT_TRUE(judge_redis_answer("+OK\r\n+PONG\r\n").value());
  for (const std::string& bytes : {"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n"s,
                                   "-WRONGPASS invalid username-password pair\r\n+PONG\r\n"s,
                                   "+OK\r\n-MISCONF errors writing to the AOF file\r\n"s,
                                   "+OK \r\n+PONG\r\n"s,
                                   "\r\n\r\n"s,
                                   "+OK\r\n\0\r\n"s,
                                   std::string(engine_answer_size_max, 'x')}) {
    const auto verdict = judge_redis_answer(bytes);
    ASSERT_TRUE(verdict) << testing::PrintToString(bytes);
    EXPECT_FALSE(*verdict) << testing::PrintToString(bytes);
  }
  EXPECT_EQ(judge_redis_answer("+OK\r\n-LOADING x\r\n")->error().detail(),
            "it answered \"-LOADING x\"");
}

TEST(RedisAnswers, EveryPartAsksForMore) {
  const std::string whole = "+OK\r\n+PONG\r\n";
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(judge_redis_answer(std::string_view(whole).substr(0, size))) << size;
}

TEST(RedisAnswers, TheGreetingCarriesThePassword) {
  EXPECT_EQ(make_redis_greeting(Secret("abc")).reveal(),
            "*2\r\n$4\r\nAUTH\r\n$3\r\nabc\r\n*1\r\n$4\r\nPING\r\n");
}

TEST(NatsAnswers, OnlyInfoAndPongAreReady) {
  const auto ready = judge_nats_answer("INFO {\"version\":\"2.9.10\"} \r\nPONG\r\n");
  ASSERT_TRUE(ready);
  EXPECT_TRUE(ready->has_value());
  for (const auto* const bytes :
       {"INFO {} \r\n-ERR 'Authorization Violation'\r\n", "-ERR 'x'\r\n", "+OK\r\n"}) {
    const auto verdict = judge_nats_answer(bytes);
    ASSERT_TRUE(verdict) << bytes;
    EXPECT_FALSE(verdict->has_value()) << bytes;
  }
  for (const auto* const part : {"", "IN", "INFO {} \r\n", "INFO {} \r\nPON"})
    EXPECT_FALSE(judge_nats_answer(part)) << part;
  EXPECT_TRUE(make_nats_greeting(Secret("abc")).reveal().contains(R"("auth_token":"abc")"));
}

TEST(NatsAnswers, VersionsAndPorts) {
  EXPECT_EQ(parse_nats_version("nats-server: v2.9.10\n"), (NatsVersion{.major = 2, .minor = 9}));
  EXPECT_FALSE(parse_nats_version("nats-server"));
  EXPECT_FALSE(parse_nats_version("nats-server: vx.y"));
  EXPECT_EQ(parse_nats_ports(R"({"nats":["nats://127.0.0.1:41234"]})"), 41234);
  for (const auto* const bad :
       {"", "{", "[]", R"({"nats":[]})", R"({"nats":["x"]})", R"({"nats":[1]})"})
    EXPECT_FALSE(parse_nats_ports(bad)) << bad;
}

}  // namespace
}  // namespace meridian
