#include "app/translate.h"

#include "streams/outbox_sink.h"
#include "wire/nats/subject.h"

#include <algorithm>
#include <set>
#include <utility>

namespace meridian {
namespace {

std::vector<ClaimCondition> to_conditions(const std::map<std::string, std::string>& claims) {
  std::vector<ClaimCondition> conditions;
  for (const auto& [name, value] : claims)
    conditions.push_back({.name = name, .value = value});
  return conditions;
}

RoleConfig to_role(const std::string& name, const config::RoleConfig& role) {
  RoleConfig told{.name = name, .bindings = {}, .postgres = {}, .redis = {}};
  for (const config::BindingConfig& binding : role.bind) {
    BindingConfig one{.issuer = binding.issuer,
                      .subject = binding.subject,
                      .claims = to_conditions(binding.claims),
                      .certificate = binding.certificate,
                      .review_by = {},
                      .after_review = binding.on_overdue == config::OnOverdue::stop
                                          ? AfterReview::stop
                                          : AfterReview::warn};
    // The day itself still counts.
    if (binding.review_by) one.review_by = *binding.review_by + std::chrono::days(1);
    told.bindings.push_back(std::move(one));
  }
  if (!role.postgres.databases.empty()) {
    told.postgres = PostgresConfig{
        .databases = role.postgres.databases,
        .visits_max = role.postgres.visits_max,
        .statement_timeout = role.postgres.statement_timeout.value_or(Duration::zero()),
        .read_only = role.postgres.read_only,
        .expiry = role.postgres.expiry == config::Expiry::finish_transaction
                      ? ExpiryPolicy::finish_transaction
                      : ExpiryPolicy::end};
  }
  if (!role.redis.read.empty() || !role.redis.write.empty() || !role.redis.forget.empty() ||
      !role.redis.commands.empty()) {
    told.redis = RedisConfig{.read = role.redis.read,
                             .write = role.redis.write,
                             .forget = role.redis.forget,
                             .commands = {},
                             .visits_max = role.redis.visits_max};
    for (std::string command : role.redis.commands) {
      std::ranges::transform(command, command.begin(), [](unsigned char c) {
        return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      });
      told.redis->commands.push_back(std::move(command));
    }
  }
  if (!role.nats.empty()) {
    told.nats = NatsConfig{.publish = role.nats.publish,
                           .publish_deny = role.nats.publish_deny,
                           .subscribe = role.nats.subscribe,
                           .subscribe_deny = role.nats.subscribe_deny,
                           .queues = role.nats.queues,
                           .consume = role.nats.consume,
                           .manage = role.nats.manage,
                           .headers = role.nats.headers,
                           .responses_max = role.nats.allow_responses,
                           .responses_expiry = role.nats.responses_expiry,
                           .subscriptions_max = role.nats.subscriptions_max,
                           .messages_per_second = role.nats.messages_per_second.value_or(0),
                           .pending_max = role.nats.pending_max,
                           .visits_max = role.nats.visits_max};
  }
  return told;
}

}  // namespace

GateConfig to_gate_config(const config::Config& config,
                          std::string issuer_url,
                          std::string key_folder) {
  GateConfig told;
  for (const auto& [name, issuer] : config.issuers) {
    told.issuers.push_back({.name = name,
                            .url = issuer.url,
                            .audiences = {issuer.audience},
                            .allow_insecure_http = issuer.allow_insecure_http,
                            .lifetime_max = issuer.lifetime_max});
  }
  const std::vector<std::string> outbox = outbox_subjects(config);
  for (const auto& [name, role] : config.roles) {
    told.roles.push_back(to_role(name, role));
    // The outbox is the only writer of its stream.
    auto& nats = told.roles.back().nats;
    if (nats) nats->publish_deny.insert(nats->publish_deny.end(), outbox.begin(), outbox.end());
  }
  told.login.failures_per_minute = config.limits.failed_logins_per_minute;
  told.own_issuer = {.name = std::string(config::own_issuer_name),
                     .url = std::move(issuer_url),
                     .folder = std::move(key_folder),
                     .audiences = {config.token.audience},
                     .rotation_interval = config.token.rotation,
                     .ttl_max = config.token.ttl_max};
  told.exchange.audiences = config.exchange.audiences;
  told.exchange.audiences.push_back(config.token.audience);
  told.exchange.ttl = config.token.ttl_default;
  for (const config::ExchangeBindingConfig& binding : config.exchange.bind) {
    told.exchange.bindings.push_back({.issuer = binding.issuer,
                                      .subject = binding.subject,
                                      .claims = to_conditions(binding.claims),
                                      .new_subject = binding.as});
  }
  return told;
}

std::vector<std::string> outbox_subjects(const config::Config& config) {
  if (config.publish.empty()) return {};
  std::vector<std::string> patterns;
  for (const auto& [name, rule] : config.publish) {
    // A token with a column in it is any token.
    std::string pattern;
    std::string_view rest = rule.subject;
    while (!rest.empty()) {
      const std::string_view token = nats::take_token(rest);
      pattern += (pattern.empty() ? "" : ".") +
                 (token.contains('{') ? std::string("*") : std::string(token));
    }
    patterns.push_back(std::move(pattern));
  }
  patterns.push_back(outbox_dead_letter_subject(config.outbox.stream));
  // A stream may not have two subjects that overlap: what another covers is left out, and what
  // overlaps otherwise is the server's to refuse.
  std::vector<std::string> kept;
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    bool covered = false;
    for (std::size_t j = 0; j < patterns.size() && !covered; ++j) {
      covered = i != j && nats::is_subset(patterns[i], patterns[j]) &&
                (patterns[i] != patterns[j] || j < i);
    }
    if (!covered) kept.push_back(patterns[i]);
  }
  return kept;
}

std::map<std::string, PoolOptions> to_pool_options(const config::Config& config) {
  std::map<std::string, PoolOptions> options;
  for (const auto& [name, role] : config.roles) {
    options.emplace(
        name,
        PoolOptions{.backends_max = role.postgres.backends_max,
                    .backends_min = role.postgres.backends_min,
                    .queue_timeout = role.postgres.queue_timeout,
                    .backend_age_max = role.postgres.backend_age_max,
                    .session = {.statement_timeout =
                                    role.postgres.statement_timeout.value_or(Duration::zero()),
                                .read_only = role.postgres.read_only}});
  }
  return options;
}

RuleSettings to_rule_settings(const std::string& name, const config::IngestConfig& config) {
  return {.name = name,
          .subject = config.subject,
          .stream = config.stream,
          .role = config.role,
          .sql = config.sql,
          .rollback = config.rollback,
          .key = config.key,
          .identity_required = config.require.identity,
          .roles = config.require.roles,
          .issuers = config.require.issuers,
          .subjects = config.require.subjects,
          .workers = config.workers,
          .batch_messages_max = config.batch,
          .batch_bytes_max = config.batch_bytes,
          .ack_wait = config.ack_wait,
          .statement_timeout = config.statement_timeout,
          .retention = config.retention,
          .replicas = config.replicas,
          .dead_letters_max = config.dead_letters_max};
}

std::string timeline_database(const config::Config& config) {
  for (const auto& [name, view] : config.views) {
    if (!view.database.empty()) return view.database;
  }
  std::set<std::string> named;
  for (const auto& [name, role] : config.roles) {
    for (const std::string& database : role.postgres.databases) {
      if (database != "*") named.insert(database);
    }
  }
  return named.size() == 1 ? *named.begin() : "postgres";
}

std::vector<std::string> named_databases(const config::Config& config) {
  std::vector<std::string> databases{timeline_database(config)};
  for (const auto& [name, role] : config.roles) {
    for (const std::string& database : role.postgres.databases) {
      if (database != "*" && std::ranges::find(databases, database) == databases.end()) {
        databases.push_back(database);
      }
    }
  }
  return databases;
}

std::vector<std::string> database_roles(const config::Config& config) {
  std::set<std::string> roles;
  for (const auto& [name, role] : config.roles) {
    if (!role.postgres.databases.empty()) roles.insert(name);
  }
  for (const auto& [name, view] : config.views)
    roles.insert(view.as);
  for (const auto& [name, rule] : config.ingest)
    roles.insert(rule.role);
  return {roles.begin(), roles.end()};
}

}  // namespace meridian
