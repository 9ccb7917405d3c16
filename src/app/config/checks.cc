#include "app/config/checks.h"

#include "app/config/key_pattern.h"
#include "app/config/spelling.h"
#include "app/config/units.h"
#include "app/config/url.h"
#include "base/escape.h"
#include "streams/rule.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace meridian::config {
namespace {

template <class Map>
std::vector<std::string_view> names_of(const Map& map) {
  std::vector<std::string_view> names;
  names.reserve(map.size());
  for (const auto& [name, entry] : map) {
    names.push_back(name);
  }
  return names;
}

class Checker {
 public:
  Checker(const Config& config, const Places& places, Problems& problems)
      : config_(config), places_(places), problems_(problems) {}

  void check() {
    check_tls();
    check_listeners();
    check_timeline();
    check_redis();
    check_nats();
    check_tokens();
    check_issuers();
    check_exchange();
    check_roles();
    check_views();
    check_publish();
    check_ingest();
    check_cache();
  }

 private:
  void wrong(std::string_view path, std::string text) {
    problems_.add(places_.find(path), path, std::move(text));
  }

  void check_tls() {
    const TlsConfig& tls = config_.tls;
    if (!tls.certificate.empty() && tls.key.empty()) {
      wrong("tls.certificate", "has no key beside it; add tls.key");
    }
    if (!tls.key.empty() && tls.certificate.empty()) {
      wrong("tls.key", "has no certificate beside it; add tls.certificate");
    }
    if (!tls.client_ca.empty() && tls.certificate.empty() && tls.key.empty()) {
      wrong("tls.client_ca",
            "has no server certificate beside it; add tls.certificate and tls.key");
    }
    if (tls.nats_handshake_first && tls.certificate.empty()) {
      wrong("tls.nats_handshake_first",
            "has no certificate beside it; add tls.certificate and tls.key");
    }
  }

  void check_listeners() {
    std::map<std::string, std::string_view> taken;
    check_listener("listen.postgres", config_.listen.postgres, taken);
    check_listener("listen.redis", config_.listen.redis, taken);
    check_listener("listen.nats", config_.listen.nats, taken);
    check_listener("listen.nats_websocket", config_.listen.nats_websocket, taken);
    check_listener("listen.http", config_.listen.http, taken);
  }

  void check_listener(std::string_view path,
                      const std::vector<Endpoint>& endpoints,
                      std::map<std::string, std::string_view>& taken) {
    for (const Endpoint& endpoint : endpoints) {
      const std::string address = endpoint.to_string();
      if (!endpoint.is_local() && config_.tls.certificate.empty()) {
        wrong(path,
              quote(address) +
                  " can be reached from other machines, and tokens would travel there in plain "
                  "text: add tls.certificate and tls.key, or listen on 127.0.0.1");
      }
      const bool chosen_by_system = !endpoint.is_unix() && endpoint.port == 0;
      const auto [found, added] = taken.emplace(address, path);
      if (!added && !chosen_by_system) {
        wrong(path, quote(address) + " is taken by " + std::string(found->second));
      }
    }
  }

  void check_timeline() {
    const TimelineConfig& timeline = config_.timeline;
    if (!timeline.url.empty()) return;
    const std::string_view why =
        "belongs to timeline.url, which is not set: an owned PostgreSQL needs neither";
    if (!timeline.password_file.empty()) wrong("timeline.password_file", std::string(why));
    if (!timeline.ca.empty()) wrong("timeline.ca", std::string(why));
  }

  void check_redis() {
    const RedisConfig& redis = config_.redis;
    const std::string_view why =
        "belongs to redis.url, which is not set: an owned redis-server needs neither";
    if (redis.url.empty() && !redis.password_file.empty()) {
      wrong("redis.password_file", std::string(why));
    }
    if (redis.url.empty() && !redis.ca.empty()) wrong("redis.ca", std::string(why));
    if (redis.ca.empty() || redis.url.empty()) return;
    const auto url = parse_url(redis.url);
    if (url && url->scheme != "rediss") {
      wrong("redis.ca", "is for TLS, which redis.url does not ask for; write rediss:// there");
    }
  }

  void check_nats() {
    const NatsConfig& nats = config_.nats;
    const std::string_view why =
        "belongs to nats.url, which is not set: an owned nats-server needs neither";
    if (nats.url.empty() && !nats.password_file.empty()) {
      wrong("nats.password_file", std::string(why));
    }
    if (nats.url.empty() && !nats.ca.empty()) wrong("nats.ca", std::string(why));
    if (nats.url.empty() && !nats.proxy_seed_file.empty()) {
      wrong("nats.proxy_seed_file", std::string(why));
    }
    if (nats.ca.empty() || nats.url.empty()) return;
    const auto urls = parse_urls(nats.url);
    if (urls && urls->front().scheme != "tls") {
      wrong("nats.ca", "is for TLS, which nats.url does not ask for; write tls:// there");
    }
  }

  void check_tokens() {
    const TokenConfig& token = config_.token;
    if (token.ttl_default > token.ttl_max) {
      wrong("token.ttl_default",
            print_duration(token.ttl_default) + " is longer than token.ttl_max, " +
                print_duration(token.ttl_max));
    }
    if (token.rotation < token.ttl_max) {
      wrong("token.rotation",
            print_duration(token.rotation) + " is shorter than token.ttl_max, " +
                print_duration(token.ttl_max) + ", so keys would pile up");
    }
  }

  void check_issuers() {
    std::map<std::string_view, std::string_view> names;  // By URL.
    for (const auto& [name, issuer] : config_.issuers) {
      if (issuer.url.empty()) continue;  // Said already.
      const std::string path = path_of_key("issuers", name) + ".url";
      const auto [found, added] = names.emplace(issuer.url, name);
      if (!added) {
        wrong(path, "is the same as that of " + quote(found->second) + "; an issuer has one name");
      }
      const auto url = parse_url(issuer.url);
      if (url && url->scheme == "http" && !issuer.allow_insecure_http) {
        wrong(path,
              quote(issuer.url) +
                  " is not https, so anybody on the way could make tokens; for a test on one "
                  "machine add allow_insecure_http: true");
      }
    }
  }

  void check_issuer_name_of(std::string_view path, const std::string& issuer) {
    if (issuer.empty() || issuer == own_issuer_name || config_.issuers.contains(issuer)) return;
    std::vector<std::string_view> known = names_of(config_.issuers);
    known.push_back(own_issuer_name);
    wrong(std::string(path) + ".issuer",
          quote(issuer) + " is not among the issuers (" + list_words(known, " and ") + ")" +
              did_you_mean(issuer, known));
  }

  // Without a condition everybody whom the issuer knows would fit.
  template <class Binding>
  void check_binding(const std::string& path, const Binding& binding) {
    check_issuer_name_of(path, binding.issuer);
    const bool said = problems_.has(path + ".subject") || problems_.has(path + ".claims");
    if (binding.subject.empty() && binding.claims.empty() && !said) {
      wrong(path, "says neither subject nor claims, so it would fit every token of the issuer");
    }
  }

  void check_exchange() {
    for (std::size_t i = 0; i < config_.exchange.bind.size(); ++i) {
      check_binding(path_of_item("exchange.bind", i), config_.exchange.bind[i]);
    }
  }

  void check_roles() {
    for (const auto& [name, role] : config_.roles) {
      const std::string path = path_of_key("roles", name);
      for (std::size_t i = 0; i < role.bind.size(); ++i) {
        check_binding(path_of_item(path + ".bind", i), role.bind[i]);
        if (!role.bind[i].certificate.empty() && config_.tls.client_ca.empty()) {
          wrong(path_of_item(path + ".bind", i) + ".certificate",
                "fits nobody, since no certificate of a client is believed; add tls.client_ca");
        }
      }
      const RolePostgresConfig& postgres = role.postgres;
      if (postgres.backends_min > postgres.backends_max) {
        wrong(path + ".postgres.backends_min",
              std::to_string(postgres.backends_min) + " is more than backends_max, " +
                  std::to_string(postgres.backends_max));
      }
    }
  }

  void check_views() {
    std::vector<std::pair<std::string_view, KeyPattern>> patterns;
    for (const auto& [name, view] : config_.views) {
      const std::string path = path_of_key("views", name);
      check_view_role(path, view);
      auto pattern = KeyPattern::parse(view.key);
      if (!pattern) continue;  // Said already.
      check_query(path, view, *pattern);
      for (const auto& [other_name, other] : patterns) {
        if (!pattern->overlaps(other)) continue;
        wrong(path + ".key",
              quote(view.key) + " and the key of view " + quote(other_name) + ", " +
                  quote(config_.views.at(std::string(other_name)).key) +
                  ", have keys in common; give one another literal text");
      }
      patterns.emplace_back(name, *std::move(pattern));
    }
  }

  void check_publish() {
    for (const auto& [name, rule] : config_.publish) {
      const std::string path = path_of_key("publish", name);
      const bool has_columns = rule.subject.contains('{');
      const bool has_wildcards =
          rule.subject.ends_with(".>") || (rule.subject + ".").contains(".*.");
      if (rule.table.empty() && has_columns) {
        wrong(path + ".subject",
              "has columns in braces, and the rule has no table; add table, or write a wildcard");
      }
      if (rule.table.empty() && !rule.columns.empty()) {
        wrong(path + ".columns", "belongs to a table, which the rule does not have");
      }
      if (!rule.table.empty() && has_wildcards) {
        wrong(path + ".subject",
              "has a wildcard, and a changed row needs one subject; write {column} instead");
      }
    }
  }

  void check_view_role(const std::string& path, const ViewConfig& view) {
    if (view.as.empty() || config_.roles.contains(view.as)) return;
    const std::vector<std::string_view> known = names_of(config_.roles);
    wrong(path + ".as",
          quote(view.as) + " is not among the roles" +
              (known.empty() ? "; there are none, so add it under roles:"
                             : " (" + list_words(known, " and ") + ")") +
              did_you_mean(view.as, known));
  }

  void check_query(const std::string& path, const ViewConfig& view, const KeyPattern& pattern) {
    if (view.query.empty()) return;
    const std::vector<std::string> used = parts_of_query(view.query);
    const std::vector<std::string_view> known(pattern.parts().begin(), pattern.parts().end());
    for (const std::string& name : used) {
      if (std::ranges::find(known, name) != known.end()) continue;
      wrong(path + ".query",
            "uses {" + name + "}, which the key " + quote(view.key) + " does not have" +
                did_you_mean(name, known));
    }
    for (const std::string_view name : known) {
      if (std::ranges::find(used, name) != used.end()) continue;
      wrong(path + ".query",
            "does not use {" + std::string(name) + "} of the key " + quote(view.key) +
                ", so many keys would have one value");
    }
  }

  void check_ingest() {
    for (const auto& [name, rule] : config_.ingest) {
      const std::string path = path_of_key("ingest", name);
      if (!rule.role.empty() && !config_.roles.contains(rule.role)) {
        const std::vector<std::string_view> known = names_of(config_.roles);
        wrong(path + ".role",
              quote(rule.role) + " is not among the roles" +
                  (known.empty() ? "; there are none, so add it under roles:"
                                 : " (" + list_words(known, " and ") + ")") +
                  did_you_mean(rule.role, known));
      }
      for (const std::string& role : rule.require.roles) {
        if (config_.roles.contains(role)) continue;
        const std::vector<std::string_view> known = names_of(config_.roles);
        wrong(path + ".require.roles",
              quote(role) + " is not among the roles (" + list_words(known, " and ") + ")" +
                  did_you_mean(role, known));
      }
      if (rule.takes_protobuf() && (rule.descriptor_set.empty() || rule.message.empty())) {
        wrong(path + (rule.format == PayloadFormat::unsaid ? ".descriptor_set" : ".format"),
              "payloads in Protobuf need descriptor_set, the file, and message, the type's full "
              "name");
      }
      if (!rule.takes_protobuf() && (!rule.descriptor_set.empty() || !rule.message.empty())) {
        wrong(path + (rule.message.empty() ? ".descriptor_set" : ".message"),
              "is for payloads in Protobuf alone");
      }
      if (rule.sql.empty()) continue;  // Said already.
      auto compiled = Rule::compile({.name = name,
                                     .subject = {},
                                     .stream = {},
                                     .role = {},
                                     .sql = rule.sql,
                                     .key = rule.key});
      if (!compiled) wrong(path, compiled.error().detail());
      if (rule.rollback.empty()) continue;
      auto rollback = Rule::compile(
          {.name = name, .subject = {}, .stream = {}, .role = {}, .sql = rule.rollback});
      if (!rollback) wrong(path + ".rollback", rollback.error().detail());
    }
  }

  void check_cache() {
    if (config_.cache.value_bytes_max <= config_.cache.bytes_max) return;
    wrong("cache.value_bytes_max",
          print_bytes(config_.cache.value_bytes_max) + " is more than cache.bytes_max, " +
              print_bytes(config_.cache.bytes_max));
  }

  const Config& config_;
  const Places& places_;
  Problems& problems_;
};

}  // namespace

Place Places::find(std::string_view path) const {
  while (!path.empty()) {
    if (const auto found = places_.find(path); found != places_.end()) return found->second;
    const std::size_t end = path.find_last_of(".[");
    path = end == std::string_view::npos ? std::string_view() : path.substr(0, end);
  }
  return {};
}

void check_config(const Config& config, const Places& places, Problems& problems) {
  Checker(config, places, problems).check();
}

}  // namespace meridian::config
