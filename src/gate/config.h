#pragma once
// What the gate is told: whom to trust, who may do what, and every bound. Plain values that the
// configuration fills; each default is here and nowhere else.

#include "base/time.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace meridian {

// Somebody whose tokens are believed.
struct IssuerConfig {
  std::string name;  // In bindings, logs and metrics: "k8s".
  std::string url;   // Exactly what tokens say in `iss`; keys are found below it by OIDC discovery.
  std::vector<std::string> audiences = {"meridian"};  // A token must be for one of these.
  bool allow_insecure_http = false;                // Plain HTTP also beyond the loopback interface.
  Duration lifetime_max = std::chrono::hours(1);   // From issue to expiry of a token.
  Duration keys_age_max = std::chrono::hours(24);  // How long keys outlive their issuer's absence.
};

// How keys are fetched, for every issuer alike.
struct KeyFetchConfig {
  Duration refresh_interval = std::chrono::minutes(5);
  Duration fetch_interval_min = std::chrono::seconds(10);  // Whatever tokens ask for.
  Duration discovery_age_max = std::chrono::hours(1);
  Duration connect_timeout = std::chrono::seconds(2);
  Duration total_timeout = std::chrono::seconds(5);  // Of one document; a fetch gets at most two.
  std::size_t body_size_max = 65'536;
  std::size_t waiters_max = 1'024;     // Logins that wait for one issuer's keys.
  std::size_t unknown_kids_max = 256;  // Key ids remembered as not being an issuer's.
};

// A claim must be this text, number or truth, or a list that contains it. Dots in the name lead
// into nested claims.
struct ClaimCondition {
  std::string name;
  std::string value;
};

enum class AfterReview : std::uint8_t {
  warn,  // A binding past its review date still binds, with a warning.
  stop,  // It binds no more.
};

// One way to a role: who is named here has it. All parts must hold, and there must be a subject or
// a claim.
struct BindingConfig {
  std::string issuer;                  // The name of an issuer.
  std::string subject;                 // Exact, or with `*` for a whole segment between / or :
  std::vector<ClaimCondition> claims;  // All of them.
  std::string certificate{};           // Of the client: empty, "any", or a pattern of its names.
  std::optional<WallTime> review_by;
  AfterReview after_review = AfterReview::warn;
};

enum class ExpiryPolicy : std::uint8_t {
  end,                 // A visit ends when its token expires.
  finish_transaction,  // It ends with its open transaction, at most `expiry_grace` later.
};

struct PostgresConfig {
  std::vector<std::string> databases;
  std::uint32_t visits_max = 200;  // On this node.
  Duration statement_timeout = std::chrono::seconds(60);
  bool read_only = false;
  ExpiryPolicy expiry = ExpiryPolicy::end;
};

struct RedisConfig {
  std::vector<std::string> read;  // Patterns of keys, as Redis writes them.
  std::vector<std::string> write;
  std::vector<std::string> forget;
  std::vector<std::string> commands;  // "flushall", "config|get"; "config" is all of CONFIG.
  std::uint32_t visits_max = 1'000;   // On this node.
};

struct NatsConfig {
  std::vector<std::string> publish;  // Subjects, with NATS's wildcards.
  std::vector<std::string> publish_deny;
  std::vector<std::string> subscribe;
  std::vector<std::string> subscribe_deny;
  std::vector<std::string> queues;   // Queue groups; empty: any.
  std::vector<std::string> consume;  // Streams, by name or `prefix*`.
  std::vector<std::string> manage;
  std::vector<std::string> headers;  // Of those that tell JetStream what to do.
  std::uint32_t responses_max = 0;   // To the reply subject of a message that was received.
  Duration responses_expiry = std::chrono::minutes(2);
  std::uint32_t subscriptions_max = 1'000;  // Of one visit.
  std::uint32_t messages_per_second = 0;    // Likewise; 0: as many as it likes.
  std::uint64_t pending_max = 1'048'576;    // Bytes of refusals that wait for one visit.
  std::uint32_t visits_max = 1'000;         // On this node.
};

// What a principal may do, and who has it. Also a database login role of the same name.
struct RoleConfig {
  std::string name;
  std::vector<BindingConfig> bindings;
  std::optional<PostgresConfig> postgres;  // Absent: no way in through that door.
  std::optional<RedisConfig> redis;
  std::optional<NatsConfig> nats{};
};

// Failed logins of one address.
struct LoginLimits {
  double failures_per_minute = 10;
  double failures_burst = 20;
  std::size_t addresses_max = 65'536;  // Remembered at a time; beyond it the oldest are forgotten.
};

struct VisitLimits {
  Duration expiry_notice = std::chrono::seconds(30);  // A visit is told this long before.
  Duration expiry_grace = std::chrono::seconds(30);
};

// Meridian as an issuer, for the workloads that it starts and for exchanged tokens.
struct OwnIssuerConfig {
  std::string name = "meridian";
  std::string url;     // Where this node's discovery document is served.
  std::string folder;  // Of the key files; made if absent.
  std::vector<std::string> audiences = {"meridian"};  // Accepted by this node.
  Duration rotation_interval = std::chrono::days(7);
  Duration publish_ahead = std::chrono::hours(1);  // A key is published before it signs.
  Duration ttl_max = std::chrono::hours(1);        // Of a token.
};

// Whose tokens may be exchanged for one of ours, and what for.
struct ExchangeBindingConfig {
  std::string issuer;
  std::string subject;
  std::vector<ClaimCondition> claims;
  std::string new_subject;  // Empty: the subject stays as it is.
};

struct ExchangeConfig {
  std::vector<ExchangeBindingConfig> bindings;
  std::vector<std::string> audiences = {"meridian"};  // That may be asked for.
  Duration ttl = std::chrono::minutes(5);
};

struct GateConfig {
  std::vector<IssuerConfig> issuers;
  std::vector<RoleConfig> roles;
  KeyFetchConfig key_fetch;
  Duration clock_skew = std::chrono::seconds(30);  // Between an issuer's clock and ours.
  std::size_t tokens_cached_max = 4'096;           // On each loop.
  std::size_t revocations_max = 10'000;
  LoginLimits login;
  VisitLimits visits;
  OwnIssuerConfig own_issuer;
  ExchangeConfig exchange;
};

}  // namespace meridian
