// The rules for names and patterns hold at their edges.

#include "app/config/rules.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

namespace meridian::config {
namespace {

using Rule = Parsed<void> (*)(std::string_view);

void expect(Rule rule,
            std::initializer_list<std::string> good,
            std::initializer_list<std::string> bad) {
  for (const std::string& text : good) {
    const auto checked = rule(text);
    EXPECT_TRUE(checked) << text << " " << (checked ? "" : checked.error());
  }
  for (const std::string& text : bad) {
    EXPECT_FALSE(rule(text)) << text;
  }
}

TEST(Rules, RoleNamesAreIdentifiersThatNobodyElseHas) {
  expect(check_role_name,
         {"a", "_a", "order_reader", "r2", "pg", "pgx_", "meridian_app", std::string(63, 'a')},
         {"",
          "A",
          "a-b",
          "a b",
          "2a",
          "a.b",
          "\xc3\xa9",
          "pg_",
          "pg_read_all_data",
          "meridian",
          "postgres",
          "public",
          "none",
          "a\"b",
          "a\nb",
          std::string(64, 'a')});
}

TEST(Rules, NamesOfOnesOwn) {
  expect(check_own_name,
         {"a", "A", "k8s", "corp-login", "a_b", std::string(63, 'a')},
         {"", "1a", "-a", "_a", "a.b", "a b", "a/b", "\xc3\xa9", std::string(64, 'a')});
  expect(check_issuer_name, {"corp", "Meridian"}, {"meridian", "a b"});
}

TEST(Rules, NodeNamesAreFitForFileNames) {
  expect(check_node_name,
         {"front-1", "front-1.example.com", "0", "a_b"},
         {"", ".", "..", "../a", "a/b", "-a", ".a", "a b", std::string(64, 'a')});
}

TEST(Rules, SubjectsMayHaveWholeSegmentsOpen) {
  expect(check_subject,
         {"checkout",
          "a b",
          "user@example.com",
          "system:serviceaccount:shop:*",
          "system:serviceaccount:*:checkout",
          "*/shop",
          "spiffe://example.com/*",
          "repo:example/*:ref:refs/heads/main"},
         {"*", "**", "*:*", "/*/", "a*", "*a", "a:b*", "a:*b:c", "a:**", "repo:exam*/x"});
}

TEST(Rules, TimelineUrlsNameADatabaseAndNoSecret) {
  expect(check_timeline_url,
         {"postgres://db/shop",
          "postgresql://meridian@db:5432/shop",
          "postgres://%2Fvar%2Frun%2Fpostgresql/shop",
          "postgres://db/shop?sslmode=verify-full",
          "postgres://db/shop?sslmode=disable"},
         {"postgres://db",
          "postgres://db/",
          "postgres://db/a/b",
          "http://db/shop",
          "postgres://u:p@db/shop",
          "postgres://u:@db/shop",
          "postgres://db/shop?password=p",
          "postgres://db/shop?sslpassword=p",
          "postgres://db/shop?sslmode=prefer",
          "postgres://db/shop?sslmode=require&application_name=x",
          "postgres://db/shop?sslmode=",
          "postgres://db/shop#x",
          "host=db dbname=shop password=p"});
}

TEST(Rules, RedisUrlsNameAServerAndNoSecret) {
  expect(check_redis_url,
         {"redis://cache", "rediss://meridian@cache:6380", "redis://cache/", "redis://cache/0"},
         {"redis://:p@cache",
          "redis://cache/1",
          "redis://cache/00",
          "redis://cache?x=1",
          "redis://cache#x",
          "unix:/run/redis.sock",
          "cache:6379"});
}

TEST(Rules, IssuersAreUrlsAndNothingMore) {
  expect(check_issuer_url,
         {"https://login.example.com",
          "https://login.example.com/",
          "https://login.example.com:8443/realms/shop",
          "http://127.0.0.1:9000"},
         {"login.example.com",
          "ftp://login.example.com",
          "https://u@login.example.com",
          "https://u:p@login.example.com",
          "https://login.example.com?",
          "https://login.example.com?a",
          "https://login.example.com#a"});
}

TEST(Rules, RedisCommandsAndKeys) {
  expect(check_redis_command,
         {"flushall", "FLUSHALL", "config|get", "FT.SEARCH", "client|no-evict"},
         {"", "config get", "config|", "|get", "config|get|x", "*", "-x", "get\r\n"});
  expect(check_redis_keys, {"*", "order:*", "a[bc]?"}, {"a b", " "});
}

TEST(Rules, Databases) {
  expect(check_database,
         {"shop", "*", "My Shop", std::string(63, 'a')},
         {"shop*", "**", std::string(64, 'a')});
}

TEST(Rules, PostgresSettingsLeaveThePromisesAlone) {
  expect(check_postgres_setting,
         {"work_mem", "log_min_duration_statement", "pg_stat_statements.max"},
         {"",
          "Work_Mem",
          "work-mem",
          "fsync",
          "wal_level",
          "listen_addresses",
          "max_connections",
          "work_mem = '1MB'\nfsync",
          "include",
          "include_dir"});
}

}  // namespace
}  // namespace meridian::config
