#pragma once
// What a node is configured with, as its user writes it: one struct for each part of the file.
//
// The initialisers here are the defaults. Which names, ranges and words the file uses for them is
// the table in settings.h, and read_config (reader.h) fills them. Plain values that own everything
// they hold: copy them to any thread. Secrets are never here, only the names of the files that hold
// them. File names are absolute once read.

#include "base/time.h"
#include "runtime/log.h"
#include "runtime/socket.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::config {

// Sizes are bytes.
inline constexpr std::uint64_t kibibyte = 1024;
inline constexpr std::uint64_t mebibyte = 1024 * kibibyte;
inline constexpr std::uint64_t gibibyte = 1024 * mebibyte;
inline constexpr std::uint64_t tebibyte = 1024 * gibibyte;

struct NodeConfig {
  std::string name;         // The machine's name unless given.
  std::uint32_t loops = 0;  // The number of cores unless given; never 0 once read.

  friend bool operator==(const NodeConfig&, const NodeConfig&) = default;
};

struct LogConfig {
  LogLevel level = LogLevel::info;

  friend bool operator==(const LogConfig&, const LogConfig&) = default;
};

// Where each door listens. Empty: it does not.
struct ListenConfig {
  std::vector<Endpoint> postgres{{.host = "127.0.0.1", .port = 6432, .path = {}}};
  std::vector<Endpoint> redis{{.host = "127.0.0.1", .port = 6380, .path = {}}};
  std::vector<Endpoint> nats{{.host = "127.0.0.1", .port = 4222, .path = {}}};
  std::vector<Endpoint> nats_websocket;
  std::vector<Endpoint> http{{.host = "127.0.0.1", .port = 8080, .path = {}}};

  friend bool operator==(const ListenConfig&, const ListenConfig&) = default;
};

// Empty names: no TLS.
struct TlsConfig {
  std::string certificate;
  std::string key;
  std::string client_ca;
  std::optional<Duration> nats_handshake_first;

  friend bool operator==(const TlsConfig&, const TlsConfig&) = default;
};

enum class CommitWait : std::uint8_t { door, database, off };
enum class Attribution : std::uint8_t { trigger, off };

struct TimelineConfig {
  std::string url;  // Empty: an owned PostgreSQL.
  std::string password_file;
  std::string ca;
  CommitWait commit_wait = CommitWait::door;
  Duration commit_wait_max = std::chrono::milliseconds(250);
  Duration nudge_after = std::chrono::milliseconds(5);
  std::optional<bool> manage_roles;  // Ask manages_roles().
  Attribution attribution = Attribution::trigger;

  // As said, or else whether the database is an owned one.
  bool manages_roles() const noexcept { return manage_roles.value_or(url.empty()); }

  friend bool operator==(const TimelineConfig&, const TimelineConfig&) = default;
};

struct RedisConfig {
  std::string url;  // Empty: an owned redis-server.
  std::string password_file;
  std::string ca;
  std::uint32_t links = 1;

  friend bool operator==(const RedisConfig&, const RedisConfig&) = default;
};

struct NatsConfig {
  std::string url;  // Empty: an owned nats-server. Several of a cluster have commas between them.
  std::string password_file;
  std::string ca;
  std::string proxy_seed_file;
  std::string stamp_key_file;

  friend bool operator==(const NatsConfig&, const NatsConfig&) = default;
};

struct PostgresEngineConfig {
  std::string bin;  // Empty: where the distribution puts it.
  std::uint32_t max_connections = 100;
  std::optional<std::uint64_t> shared_buffers;  // Empty: by the machine's memory.
  std::map<std::string, std::string> settings;

  friend bool operator==(const PostgresEngineConfig&, const PostgresEngineConfig&) = default;
};

struct RedisEngineConfig {
  std::string bin;  // Empty: where the distribution puts it.
  std::uint64_t maxmemory = 256 * mebibyte;
  bool appendonly = true;

  friend bool operator==(const RedisEngineConfig&, const RedisEngineConfig&) = default;
};

struct NatsEngineConfig {
  std::string bin;  // Empty: where the distribution puts it.
  std::uint64_t max_payload = 1 * mebibyte;
  std::uint64_t max_file_store = 16 * gibibyte;
  std::uint64_t max_memory_store = 256 * mebibyte;

  friend bool operator==(const NatsEngineConfig&, const NatsEngineConfig&) = default;
};

struct EnginesConfig {
  std::string user;  // Empty: `postgres` where it exists, else `nobody`. Used by root alone.
  PostgresEngineConfig postgres;
  RedisEngineConfig redis;
  NatsEngineConfig nats;

  friend bool operator==(const EnginesConfig&, const EnginesConfig&) = default;
};

// The name in bindings that means Meridian's own issuer. It is always there.
inline constexpr std::string_view own_issuer_name = "meridian";

struct IssuerConfig {
  std::string url;
  std::string audience = "meridian";
  Duration lifetime_max = std::chrono::hours(1);
  bool allow_insecure_http = false;

  friend bool operator==(const IssuerConfig&, const IssuerConfig&) = default;
};

// Tokens of Meridian's own issuer.
struct TokenConfig {
  std::string issuer;  // Empty: the address of the http door.
  std::string audience = "meridian";
  Duration ttl_default = std::chrono::minutes(5);
  Duration ttl_max = std::chrono::hours(1);
  Duration rotation = std::chrono::days(7);

  friend bool operator==(const TokenConfig&, const TokenConfig&) = default;
};

struct ExchangeBindingConfig {
  std::string issuer;
  std::string subject;
  std::map<std::string, std::string> claims;
  std::string as;  // Empty: the subject stays.

  friend bool operator==(const ExchangeBindingConfig&, const ExchangeBindingConfig&) = default;
};

struct ExchangeConfig {
  std::vector<std::string> audiences;  // Besides token.audience.
  std::vector<ExchangeBindingConfig> bind;

  friend bool operator==(const ExchangeConfig&, const ExchangeConfig&) = default;
};

enum class OnOverdue : std::uint8_t { warn, stop };

// Which principals have a role: all that is given must hold.
struct BindingConfig {
  std::string issuer;
  std::string subject;
  std::map<std::string, std::string> claims;
  std::string certificate;
  std::optional<std::chrono::sys_days> review_by;
  OnOverdue on_overdue = OnOverdue::warn;

  friend bool operator==(const BindingConfig&, const BindingConfig&) = default;
};

enum class Expiry : std::uint8_t { end, finish_transaction };

struct RolePostgresConfig {
  std::vector<std::string> databases;  // "*" for all; empty: the role may enter none.
  std::uint32_t visits_max = 100;
  std::uint32_t backends_max = 20;
  std::uint32_t backends_min = 0;
  Duration backend_age_max = std::chrono::hours(1);
  Duration queue_timeout = std::chrono::seconds(5);
  std::optional<Duration> statement_timeout;
  bool read_only = false;
  Expiry expiry = Expiry::end;

  friend bool operator==(const RolePostgresConfig&, const RolePostgresConfig&) = default;
};

struct RoleRedisConfig {
  std::vector<std::string> read;  // Key patterns, with Redis's own wildcards.
  std::vector<std::string> write;
  std::vector<std::string> forget;
  std::vector<std::string> commands;
  std::uint32_t visits_max = 1'000;

  friend bool operator==(const RoleRedisConfig&, const RoleRedisConfig&) = default;
};

struct RoleNatsConfig {
  std::vector<std::string> publish;  // Subjects, with NATS's own wildcards.
  std::vector<std::string> publish_deny;
  std::vector<std::string> subscribe;
  std::vector<std::string> subscribe_deny;
  std::vector<std::string> queues;
  std::vector<std::string> consume;  // Streams.
  std::vector<std::string> manage;
  std::vector<std::string> headers;
  std::uint32_t allow_responses = 0;
  Duration responses_expiry = std::chrono::minutes(2);
  std::uint32_t subscriptions_max = 1'000;
  std::optional<std::uint32_t> messages_per_second;
  std::uint64_t pending_max = 1 * mebibyte;
  std::uint32_t visits_max = 1'000;

  // Whether the role says anything about NATS that lets it in.
  bool empty() const noexcept {
    return publish.empty() && subscribe.empty() && consume.empty() && manage.empty();
  }

  friend bool operator==(const RoleNatsConfig&, const RoleNatsConfig&) = default;
};

struct RoleConfig {
  std::vector<BindingConfig> bind;
  RolePostgresConfig postgres;
  RoleRedisConfig redis;
  RoleNatsConfig nats;

  friend bool operator==(const RoleConfig&, const RoleConfig&) = default;
};

struct ViewConfig {
  std::string key;  // A KeyPattern (key_pattern.h): "order:{id}".
  std::string query;
  std::string as;
  std::string database;  // Empty: the timeline's.

  friend bool operator==(const ViewConfig&, const ViewConfig&) = default;
};

// Rows that become messages: every change of a table, or what meridian.publish() is given.
struct PublishConfig {
  std::string table;    // "orders" or "schema.orders"; empty: meridian.publish() alone.
  std::string subject;  // With columns in braces, or without a table with wildcards.
  std::vector<std::string> columns;  // Of the table; empty: all.

  friend bool operator==(const PublishConfig&, const PublishConfig&) = default;
};

struct OutboxConfig {
  std::string stream = "OUTBOX";
  Duration keep = std::chrono::hours(4);
  Duration max_age = std::chrono::days(7);
  Duration duplicate_window = std::chrono::seconds(2);
  std::uint32_t replicas = 1;
  std::uint32_t in_flight_max = 4'096;
  std::uint32_t alarm_rows = 100'000;
  Duration alarm_age = std::chrono::minutes(1);

  friend bool operator==(const OutboxConfig&, const OutboxConfig&) = default;
};

// Which producers' messages a rule takes. Empty lists: any.
struct RequireConfig {
  bool identity = true;
  std::vector<std::string> roles;
  std::vector<std::string> issuers;
  std::vector<std::string> subjects;

  friend bool operator==(const RequireConfig&, const RequireConfig&) = default;
};

// Unsaid: Protobuf where there is a descriptor, else JSON.
enum class PayloadFormat : std::uint8_t { unsaid, json, protobuf };

struct IngestConfig {
  std::string subject;
  std::string stream;  // Empty: the one that takes the subject, or one made for it.
  std::string role;
  RequireConfig require;
  std::string sql;
  std::string rollback;
  std::string key;
  PayloadFormat format = PayloadFormat::unsaid;
  std::string descriptor_set;  // A file.
  std::string message;
  std::uint32_t workers = 2;
  std::uint32_t batch = 500;
  std::uint64_t batch_bytes = 4 * mebibyte;
  Duration ack_wait = std::chrono::seconds(30);
  Duration statement_timeout = std::chrono::seconds(30);
  Duration retention = std::chrono::days(7);
  std::uint32_t replicas = 1;
  std::uint32_t dead_letters_max = 1'000'000;

  bool takes_protobuf() const noexcept {
    return format == PayloadFormat::protobuf ||
           (format == PayloadFormat::unsaid && !descriptor_set.empty());
  }

  friend bool operator==(const IngestConfig&, const IngestConfig&) = default;
};

// What all rules share.
struct StreamsConfig {
  Duration ids_kept = std::chrono::days(3);
  Duration ledger_kept = std::chrono::days(30);

  friend bool operator==(const StreamsConfig&, const StreamsConfig&) = default;
};

struct CacheConfig {
  std::uint64_t bytes_max = 256 * mebibyte;
  std::uint64_t value_bytes_max = 1 * mebibyte;

  friend bool operator==(const CacheConfig&, const CacheConfig&) = default;
};

struct TrailConfig {
  std::uint64_t segment = 64 * mebibyte;
  Duration retention = std::chrono::days(90);
  Duration sync_interval = std::chrono::seconds(1);

  friend bool operator==(const TrailConfig&, const TrailConfig&) = default;
};

struct LimitsConfig {
  std::uint32_t visits_max = 10'000;
  std::uint32_t visits_per_address = 1'000;
  std::uint32_t unauthenticated_per_address = 100;
  std::uint32_t failed_logins_per_minute = 10;
  Duration login_timeout = std::chrono::seconds(5);
  std::optional<Duration> idle_timeout;
  std::uint32_t pipelined_max = 128;
  std::uint64_t request_bytes_max = 64 * mebibyte;

  friend bool operator==(const LimitsConfig&, const LimitsConfig&) = default;
};

struct Config {
  NodeConfig node;
  std::string data;  // The data folder; never empty once read.
  LogConfig log;
  ListenConfig listen;
  TlsConfig tls;
  TimelineConfig timeline;
  RedisConfig redis;
  NatsConfig nats;
  EnginesConfig engines;
  std::map<std::string, IssuerConfig> issuers;
  TokenConfig token;
  ExchangeConfig exchange;
  std::map<std::string, RoleConfig> roles;
  std::map<std::string, ViewConfig> views;
  std::map<std::string, PublishConfig> publish;
  OutboxConfig outbox;
  std::map<std::string, IngestConfig> ingest;
  StreamsConfig streams;
  CacheConfig cache;
  TrailConfig trail;
  LimitsConfig limits;

  friend bool operator==(const Config&, const Config&) = default;
};

}  // namespace meridian::config
