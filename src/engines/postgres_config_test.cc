// PostgreSQL's and Redis's configuration says what was asked for, whatever the folder is called,
// and the right programs are chosen.

#include "engines/postgres_config.h"

#include "engines/postgres_programs.h"
#include "engines/redis_config.h"
#include "engines/redis_engine.h"

#include <gtest/gtest.h>

namespace meridian {
namespace {

TEST(PostgresClusterConfig, ListensOnItsSocketAlone) {
  const std::string text = to_postgresql_conf({.socket_folder = "/data/run"});
  EXPECT_TRUE(text.contains("\nlisten_addresses = ''\n")) << text;
  EXPECT_TRUE(text.contains("\nunix_socket_directories = '\"/data/run\"'\n")) << text;
  EXPECT_TRUE(text.contains("\nunix_socket_permissions = 0700\n")) << text;
  EXPECT_TRUE(text.contains("\nport = 5432\n")) << text;
  EXPECT_FALSE(to_pg_hba_conf({.socket_folder = "/data/run"}).contains("host"));
}

TEST(PostgresClusterConfig, ListensOnLoopbackWhenAsked) {
  const PostgresClusterConfig config{.socket_folder = "/data/run", .port = 6000, .tcp = true};
  const std::string text = to_postgresql_conf(config);
  EXPECT_TRUE(text.contains("\nlisten_addresses = '127.0.0.1'\n")) << text;
  EXPECT_TRUE(text.contains("\nport = 6000\n")) << text;
  EXPECT_TRUE(
      to_pg_hba_conf(config).contains("\nhost    all       all   127.0.0.1/32  scram-sha-256\n"));
}

TEST(PostgresClusterConfig, EveryWayInAsksForAPassword) {
  const std::string text = to_pg_hba_conf({.socket_folder = "/data/run", .tcp = true});
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t to = text.find('\n', from);
    const std::string line = text.substr(from, to - from);
    EXPECT_TRUE(line.starts_with('#') || line.ends_with("scram-sha-256")) << line;
    from = to + 1;
  }
}

TEST(PostgresClusterConfig, SizesAreWholeMebibytes) {
  const std::string text = to_postgresql_conf({.socket_folder = "/data/run",
                                               .connections_max = 50,
                                               .shared_buffers_size = 200'000'000,
                                               .slot_wal_kept_size_max = 1});
  EXPECT_TRUE(text.contains("\nshared_buffers = 190MB\n")) << text;
  EXPECT_TRUE(text.contains("\nmax_slot_wal_keep_size = 1MB\n")) << text;
  EXPECT_TRUE(text.contains("\nmax_connections = 50\n")) << text;
}

TEST(PostgresClusterConfig, AFolderNameCannotBecomeASetting) {
  EXPECT_EQ(quote_setting("a'b\\c"), "'a''b\\\\c'");
  const std::string text = to_postgresql_conf({.socket_folder = "/it's, \"x\""});
  EXPECT_TRUE(text.contains("\nunix_socket_directories = '\"/it''s, \"\"x\"\"\"'\n")) << text;
}

TEST(PostgresClusterConfig, IsIncludedLast) {
  const std::string once = with_include("port = 1\n");
  EXPECT_TRUE(once.starts_with("port = 1\n")) << once;
  EXPECT_TRUE(once.ends_with("\ninclude 'meridian.conf'\n")) << once;
  EXPECT_EQ(with_include(once), once);
  EXPECT_EQ(with_include(once + "\n\n"), once + "\n\n");
  EXPECT_TRUE(with_include("").ends_with("\ninclude 'meridian.conf'\n"));
  EXPECT_TRUE(with_include("port = 1").starts_with("port = 1\n"));
  // A setting after the line would win.
  EXPECT_TRUE(with_include(once + "fsync = off\n").ends_with("\ninclude 'meridian.conf'\n"));
  EXPECT_TRUE(with_include("#include 'meridian.conf'\n").ends_with("\ninclude 'meridian.conf'\n"));
}

TEST(PostgresClusterConfig, TakesAModestShareOfTheMemory) {
  constexpr std::uint64_t mebibyte = 1024uz * 1024;
  EXPECT_EQ(shared_buffers_size_for(0), 64 * mebibyte);
  EXPECT_EQ(shared_buffers_size_for(4096 * mebibyte), 512 * mebibyte);
  EXPECT_EQ(shared_buffers_size_for(UINT64_MAX), 1024 * mebibyte);
}

TEST(PostgresPrograms, VersionsAreRead) {
  EXPECT_EQ(parse_postgres_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), 15);
  EXPECT_EQ(parse_postgres_major("postgres (PostgreSQL) 18beta1"), 18);
  for (const auto* const text : {"",
                                 "15.18",
                                 "postgres (PostgreSQL) ",
                                 "postgres (PostgreSQL) x",
                                 "postgres (PostgreSQL) 99999999999999"}) {
    EXPECT_FALSE(parse_postgres_major(text)) << text;
  }
}

TEST(PostgresPrograms, TheNewestThatFitsIsChosen) {
  const std::vector<PostgresPrograms> found{
      {.folder = "/a", .major = 15}, {.folder = "/b", .major = 17}, {.folder = "/c", .major = 13}};
  EXPECT_EQ(choose_postgres(found, std::nullopt)->folder, "/b");
  EXPECT_EQ(choose_postgres(found, 15)->folder, "/a");
  const auto absent = choose_postgres(found, 16);
  EXPECT_EQ(absent.error().code(), Errc::not_found);
  EXPECT_TRUE(absent.error().detail().contains("PostgreSQL 16, which made the cluster"));
  EXPECT_TRUE(absent.error().detail().contains("17 in \"/b\""));
  EXPECT_TRUE(absent.error().detail().contains("apt install postgresql-16"));
  const auto nothing = choose_postgres({}, std::nullopt);
  EXPECT_TRUE(nothing.error().detail().contains("apt install postgresql-15"));
  EXPECT_FALSE(choose_postgres(std::span(found).subspan(2), std::nullopt));
}

TEST(RedisConfigText, HasNoPortAndAPassword) {
  const Secret text = to_redis_conf({.folder = "/data/redis",
                                     .socket = "/data/run/redis.sock",
                                     .password = Secret("abc"),
                                     .memory_size_max = 1'000'000});
  EXPECT_EQ(text.reveal(),
            "port 0\n"
            "unixsocket \"/data/run/redis.sock\"\n"
            "unixsocketperm 700\n"
            "protected-mode yes\n"
            "requirepass \"abc\"\n"
            "enable-debug-command no\n"
            "enable-module-command no\n"
            "enable-protected-configs no\n"
            "daemonize no\n"
            "databases 1\n"
            "dir \"/data/redis\"\n"
            "logfile \"\"\n"
            "save \"\"\n"
            "appendonly yes\n"
            "appendfsync everysec\n"
            "maxmemory 1000000\n"
            "maxmemory-policy noeviction\n");
}

TEST(RedisConfigText, SaysWhatWasChosen) {
  const Secret text = to_redis_conf({.folder = "/a \"b\" \\c",
                                     .socket = "/s",
                                     .password = Secret("abc"),
                                     .eviction = RedisEviction::expiring_oldest,
                                     .durable = false});
  EXPECT_TRUE(text.reveal().contains("\ndir \"/a \\\"b\\\" \\\\c\"\n"));
  EXPECT_TRUE(text.reveal().contains("\nappendonly no\n"));
  EXPECT_TRUE(text.reveal().contains("\nmaxmemory-policy volatile-lru\n"));
}

TEST(RedisVersions, AreRead) {
  EXPECT_EQ(parse_redis_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0"),
            (RedisVersion{.major = 7, .minor = 0}));
  EXPECT_EQ(parse_redis_version("Redis server v=8.2-rc1"), (RedisVersion{.major = 8, .minor = 2}));
  for (const auto* const text : {"", "7.0.15", " v=", " v=7", " v=7.", " v=.0", " v=x.y"})
    EXPECT_FALSE(parse_redis_version(text)) << text;
}

}  // namespace
}  // namespace meridian
