// The servers behind the doors: the database, Redis, NATS, and all of them as engines that Meridian
// owns.

#include "app/config/rules.h"
#include "app/config/settings.h"

#include <array>
#include <chrono>

namespace meridian::config {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::array<std::pair<std::string_view, CommitWait>, 3> commit_waits{{
    {"door", CommitWait::door},
    {"database", CommitWait::database},
    {"off", CommitWait::off},
}};

constexpr std::array<std::pair<std::string_view, Attribution>, 2> attributions{{
    {"trigger", Attribution::trigger},
    {"off", Attribution::off},
}};

void add_commit_wait_settings(SettingTable& table) {
  table.setting<Config>(
      "timeline.commit_wait",
      [](auto& config) -> auto& { return config.timeline.commit_wait; },
      ChoiceType<CommitWait>{commit_waits},
      {.documentation =
           "How a commit is kept from being acknowledged before the cache knows of it. `door`: the "
           "Postgres door holds the answer; commits that go past Meridian are not covered. "
           "`database`: PostgreSQL waits too, with this node as its only synchronous standby "
           "(`synchronous_standby_names` is set while the feed stands), so commits from anywhere "
           "are covered; should the node die, they wait for its return. Such a node is alone: "
           "beside "
           "another one the later of the two answers each read with a query. `off`: reads from the "
           "cache may be older than an acknowledged "
           "commit by the feed's delay. Where no view is defined nothing waits.",
       .example = "database"});
  table.setting<Config>(
      "timeline.commit_wait_max",
      [](auto& config) -> auto& { return config.timeline.commit_wait_max; },
      DurationType{.min = milliseconds(1), .max = seconds(60)},
      {.documentation = "The longest that a commit is held. Then the cache is set aside until the "
                        "feed has caught up, and the client is answered: reads are slower for a "
                        "while, never stale.",
       .example = "500ms"});
  table.setting<Config>(
      "timeline.nudge_after",
      [](auto& config) -> auto& { return config.timeline.nudge_after; },
      DurationType{.min = microseconds(100), .max = seconds(10)},
      {.documentation = "A commit that has waited this long makes Meridian write a message to the "
                        "feed, which moves a feed that has nothing else to tell.",
       .example = "2ms"});
}

void add_redis_settings(SettingTable& table) {
  table.section("redis",
                "The Redis behind the Redis door, for keys that are no views. Without `url`, "
                "`meridian up` starts and owns one (`engines.redis`).");
  table.setting<Config>(
      "redis.url",
      [](auto& config) -> auto& { return config.redis.url; },
      TextType{.what = "URL, redis:// or rediss://", .size_max = 2'048, .rule = check_redis_url},
      {.documentation = "An existing Redis or Valkey; `rediss://` speaks TLS. No password in it.",
       .example = "rediss://meridian@cache.internal:6379"});
  table.setting<Config>(
      "redis.password_file",
      [](auto& config) -> auto& { return config.redis.password_file; },
      PathType{.what = "file with a secret"},
      {.documentation = "Holds the password for `redis.url` and nothing else; a line break at its "
                        "end does not count.",
       .example = "/run/secrets/redis"});
  table.setting<Config>(
      "redis.ca",
      [](auto& config) -> auto& { return config.redis.ca; },
      PathType{.what = "PEM file"},
      {.documentation = "The authorities that Redis's certificate is checked against; without it, "
                        "the system's.",
       .example = "internal-ca.pem"});
  table.setting<Config>(
      "redis.links",
      [](auto& config) -> auto& { return config.redis.links; },
      CountType{.min = 1, .max = 64},
      {.documentation = "Connections to Redis that each loop shares among its clients. More help "
                        "only where single replies are large.",
       .example = "2"});
}

void add_nats_settings(SettingTable& table) {
  table.section("nats",
                "The NATS behind the NATS door. Without `url`, `meridian up` starts and owns a "
                "nats-server with JetStream (`engines.nats`). Nobody else should be able to reach "
                "it: what Meridian stamps on messages is worth as much as that.");
  table.setting<Config>(
      "nats.url",
      [](auto& config) -> auto& { return config.nats.url; },
      TextType{.what = "URL, nats:// or tls://", .size_max = 2'048, .rule = check_nats_url},
      {.documentation = "An existing NATS, 2.9 or later; `tls://` speaks TLS. No password in it. "
                        "Servers of a cluster stand one behind the other with commas: connections "
                        "are spread over those that answer.",
       .example = "tls://meridian@bus1.internal:4222,tls://meridian@bus2.internal:4222"});
  table.setting<Config>(
      "nats.password_file",
      [](auto& config) -> auto& { return config.nats.password_file; },
      PathType{.what = "file with a secret"},
      {.documentation = "Holds the password of the user in `nats.url`, or the server's token where "
                        "the URL names no user, and nothing else; a line break at its end does not "
                        "count.",
       .example = "/run/secrets/nats"});
  table.setting<Config>(
      "nats.ca",
      [](auto& config) -> auto& { return config.nats.ca; },
      PathType{.what = "PEM file"},
      {.documentation = "The authorities that the server's certificate is checked against; without "
                        "it, the system's.",
       .example = "internal-ca.pem"});
  table.setting<Config>(
      "nats.proxy_seed_file",
      [](auto& config) -> auto& { return config.nats.proxy_seed_file; },
      PathType{.what = "file with a secret"},
      {.documentation = "Holds an nkey's seed (`SU...`) whose public key the servers list under "
                        "`proxies.trusted`, from nats-server 2.12 on. With `proxy_required` there, "
                        "nobody passes the door by.",
       .example = "/run/secrets/nats-proxy"});
  table.setting<Config>(
      "nats.stamp_key_file",
      [](auto& config) -> auto& { return config.nats.stamp_key_file; },
      PathType{.what = "file with a secret"},
      {.documentation = "Holds a key, 32 characters or more, with which each stamp gets a MAC over "
                        "the message's subject, id, payload and identity. Whoever has the key can "
                        "check messages without trusting the network behind the door; ingest "
                        "believes no identity that lacks the MAC.",
       .example = "/run/secrets/nats-stamp"});
}

void add_nats_engine_settings(SettingTable& table) {
  table.section("engines.nats", "The owned nats-server, version 2.9 or later.");
  table.setting<Config>("engines.nats.bin",
                        [](auto& config) -> auto& { return config.engines.nats.bin; },
                        PathType{.what = "program"},
                        {.documentation = "The nats-server to run.",
                         .example = "/usr/sbin/nats-server",
                         .default_text = "found where distributions put it"});
  table.setting<Config>(
      "engines.nats.max_payload",
      [](auto& config) -> auto& { return config.engines.nats.max_payload; },
      BytesType{.min = 4 * kibibyte, .max = 64 * mebibyte},
      {.documentation = "The largest message, headers included. Clients are told 1 KiB less, since "
                        "Meridian adds a header.",
       .example = "8MiB"});
  table.setting<Config>("engines.nats.max_file_store",
                        [](auto& config) -> auto& { return config.engines.nats.max_file_store; },
                        BytesType{.min = 1 * mebibyte, .max = 1'024 * tebibyte},
                        {.documentation = "What JetStream may keep on disk.", .example = "100GiB"});
  table.setting<Config>("engines.nats.max_memory_store",
                        [](auto& config) -> auto& { return config.engines.nats.max_memory_store; },
                        BytesType{.min = 1 * mebibyte, .max = 1 * tebibyte},
                        {.documentation = "And in memory.", .example = "1GiB"});
}

void add_engine_settings(SettingTable& table) {
  table.section(
      "engines",
      "The servers that `meridian up` starts and owns where no URL names one that exists. "
      "They listen on private sockets in the data folder.");
  table.setting<Config>("engines.user",
                        [](auto& config) -> auto& { return config.engines.user; },
                        TextType{.what = "user of this machine", .size_max = 32},
                        {.documentation = "Whom the engines run as when root starts Meridian.",
                         .example = "meridian",
                         .default_text = "postgres where that user exists, else nobody"});
  table.section("engines.postgres", "The owned PostgreSQL, version 15 or later.");
  table.setting<Config>("engines.postgres.bin",
                        [](auto& config) -> auto& { return config.engines.postgres.bin; },
                        PathType{.what = "folder"},
                        {.documentation = "The folder that has initdb and postgres in it.",
                         .example = "/usr/lib/postgresql/15/bin",
                         .default_text = "the newest that the distribution has installed"});
  table.setting<Config>(
      "engines.postgres.max_connections",
      [](auto& config) -> auto& { return config.engines.postgres.max_connections; },
      CountType{.min = 20, .max = 10'000},
      {.documentation = "PostgreSQL's setting of that name: all roles' backends together, and "
                        "Meridian's own connections.",
       .example = "200"});
  table.setting<Config>(
      "engines.postgres.shared_buffers",
      [](auto& config) -> auto& { return config.engines.postgres.shared_buffers; },
      OptionalType<BytesType>{{.min = 1 * mebibyte, .max = 1 * tebibyte}, "auto"},
      {.documentation =
           "PostgreSQL's setting of that name; `auto` chooses by the machine's memory.",
       .example = "1GiB"});
  table.setting<Config>(
      "engines.postgres.settings",
      [](auto& config) -> auto& { return config.engines.postgres.settings; },
      TextMapType{.what = "map of PostgreSQL's settings", .key_rule = check_postgres_setting},
      {.documentation = "Any other settings of postgresql.conf. Those that Meridian's promises "
                        "stand on are refused.",
       .example = "{ work_mem: 32MB, log_min_duration_statement: 250ms }"});
  table.section("engines.redis", "The owned redis-server.");
  table.setting<Config>("engines.redis.bin",
                        [](auto& config) -> auto& { return config.engines.redis.bin; },
                        PathType{.what = "folder"},
                        {.documentation = "The folder that has redis-server in it.",
                         .example = "/usr/bin",
                         .default_text = "found on the PATH"});
  table.setting<Config>("engines.redis.maxmemory",
                        [](auto& config) -> auto& { return config.engines.redis.maxmemory; },
                        BytesType{.min = 1 * mebibyte, .max = 1 * tebibyte},
                        {.documentation = "Redis's setting of that name.", .example = "1GiB"});
  table.setting<Config>(
      "engines.redis.appendonly",
      [](auto& config) -> auto& { return config.engines.redis.appendonly; },
      FlagType{},
      {.documentation = "Whether keys outlive a restart (written to disk every second).",
       .example = "false"});
  add_nats_engine_settings(table);
}

}  // namespace

void add_timeline_settings(SettingTable& table) {
  table.section("timeline",
                "The one SQL database. Without `url`, `meridian up` starts and owns a PostgreSQL "
                "(`engines.postgres`).");
  table.setting<Config>(
      "timeline.url",
      [](auto& config) -> auto& { return config.timeline.url; },
      TextType{.what = "URL, postgres://", .size_max = 2'048, .rule = check_timeline_url},
      {.documentation = "An existing PostgreSQL with `wal_level = logical`. No password in it. The "
                        "one option is `?sslmode=` disable, require, verify-ca or verify-full; "
                        "without it, a server on another machine must show a certificate that "
                        "verifies.",
       .example = "postgres://meridian@db.internal/shop"});
  table.setting<Config>(
      "timeline.password_file",
      [](auto& config) -> auto& { return config.timeline.password_file; },
      PathType{.what = "file with a secret"},
      {.documentation = "Holds the password for `timeline.url` and nothing else; a line break at "
                        "its end does not count.",
       .example = "/run/secrets/timeline"});
  table.setting<Config>(
      "timeline.ca",
      [](auto& config) -> auto& { return config.timeline.ca; },
      PathType{.what = "PEM file"},
      {.documentation = "The authorities that the database's certificate is checked against; "
                        "without it, the system's.",
       .example = "internal-ca.pem"});
  add_commit_wait_settings(table);
  table.setting<Config>(
      "timeline.manage_roles",
      [](auto& config) -> auto& { return config.timeline.manage_roles; },
      UnsetType<FlagType>{},
      {.documentation =
           "Whether Meridian makes a login role in the database for each role of this file that "
           "has none there; else a node does not start without it. In both cases it sets and keeps "
           "the role's password, which nobody else knows, and never grants rights.",
       .example = "true",
       .default_text = "true with an owned PostgreSQL, else false"});
  table.setting<Config>(
      "timeline.attribution",
      [](auto& config) -> auto& { return config.timeline.attribution; },
      ChoiceType<Attribution>{attributions},
      {.documentation =
           "How a committed change is joined with the request that made it. `trigger`: "
           "a statement trigger on the tables of views puts the request id into the "
           "feed. `off`: `meridian trace` shows invalidations without their cause.",
       .example = "off"});
  add_redis_settings(table);
  add_nats_settings(table);
  add_engine_settings(table);
}

}  // namespace meridian::config
