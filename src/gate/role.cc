#include "gate/role.h"

#include "base/escape.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace meridian {
namespace {

constexpr std::size_t name_size_max = 63;  // PostgreSQL's NAMEDATALEN less one.

// The value at a dotted name, or null.
const json::Value* locate(const json::Value& claims, std::string_view name) {
  if (const json::Value* const whole = claims.find(name)) return whole;
  for (std::size_t end = name.rfind('.'); end != std::string_view::npos && end > 0;
       end = name.rfind('.', end - 1)) {
    if (const json::Value* const outer = claims.find(name.substr(0, end))) {
      return locate(*outer, name.substr(end + 1));
    }
  }
  return nullptr;
}

bool equals(const json::Value& value, std::string_view wanted) {
  if (const auto text = value.string()) return *text == wanted;
  if (const auto number = value.integer()) return fmt::format("{}", *number) == wanted;
  if (const auto truth = value.boolean()) return wanted == (*truth ? "true" : "false");
  return false;
}

// What a name of a role or an issuer may look like: it is a login role in SQL, and stands in logs.
bool is_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= name_size_max && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

Result<PostgresPermissions> compile_postgres(const std::string& role,
                                             const PostgresConfig& config) {
  return PostgresPermissions{
      .databases = NameRules(fmt::format("role \"{}\", postgres connect", role), config.databases),
      .visits_max = config.visits_max,
      .statement_timeout = config.statement_timeout,
      .read_only = config.read_only,
      .expiry = config.expiry};
}

Result<RedisPermissions> compile_redis(const std::string& role, const RedisConfig& config) {
  const auto what = [&](Action action) {
    return fmt::format("role \"{}\", redis {}", role, to_string(action));
  };
  for (const std::string& command : config.commands) {
    const bool lower = !command.empty() && std::ranges::none_of(command, [](char c) {
      return (c >= 'A' && c <= 'Z') || c <= ' ';
    });
    if (!lower) {
      return fail(Errc::invalid,
                  fmt::format("{}: {} is not a command in lower case, like \"config|get\"",
                              what(Action::command),
                              quote(command)));
    }
  }
  RedisPermissions permissions;
  MERIDIAN_TRY(permissions.read, PatternRules::compile(what(Action::read), config.read));
  MERIDIAN_TRY(permissions.write, PatternRules::compile(what(Action::write), config.write));
  MERIDIAN_TRY(permissions.forget, PatternRules::compile(what(Action::forget), config.forget));
  permissions.commands = NameRules(what(Action::command), config.commands);
  permissions.visits_max = config.visits_max;
  permissions.way_in = what(Action::connect);
  return permissions;
}

}  // namespace

bool claim_matches(const json::Value& claims, std::string_view name, std::string_view value) {
  const json::Value* const found = locate(claims, name);
  if (!found) return false;
  if (const json::Value::Array* const list = found->array()) {
    return std::ranges::any_of(*list, [&](const json::Value& item) { return equals(item, value); });
  }
  return equals(*found, value);
}

Result<Condition> Condition::compile(std::string_view issuer,
                                     std::string_view subject,
                                     const std::vector<ClaimCondition>& claims,
                                     std::string_view certificate) {
  if (issuer.empty()) return fail(Errc::invalid, "a binding must name an issuer");
  if (subject.empty() && claims.empty()) {
    return fail(Errc::invalid,
                fmt::format("a binding to all of issuer {}; name a subject or a claim", issuer));
  }
  Condition condition;
  condition.issuer_ = issuer;
  condition.text_ = fmt::format("issuer {}", issuer);
  if (!subject.empty()) {
    MERIDIAN_TRY(condition.subject_, SubjectPattern::compile(subject));
    condition.text_ += fmt::format(", subject {}", quote(subject));
  }
  for (const ClaimCondition& claim : claims) {
    if (claim.name.empty()) return fail(Errc::invalid, "a claim of a binding has no name");
    condition.text_ += fmt::format(", claim {} = {}", claim.name, quote(claim.value));
  }
  condition.claims_ = claims;
  condition.wants_certificate_ = !certificate.empty();
  if (condition.wants_certificate_) {
    if (certificate != any_certificate) {
      constexpr std::array<std::string_view, 4> kinds{"dns:", "uri:", "email:", "cn:"};
      if (std::ranges::none_of(kinds, [&](std::string_view kind) {
            return certificate.starts_with(kind) && certificate.size() > kind.size();
          })) {
        return fail(Errc::invalid,
                    fmt::format("the certificate {} of a binding is neither \"any\" nor a name "
                                "behind dns:, uri:, email: or cn:",
                                quote(certificate)));
      }
      MERIDIAN_TRY(condition.certificate_, SubjectPattern::compile(certificate));
    }
    condition.text_ += fmt::format(", certificate {}", certificate);
  }
  return condition;
}

bool Condition::certificate_fits(std::span<const std::string> names) const {
  if (!wants_certificate_) return true;
  return std::ranges::any_of(
      names, [&](const std::string& name) { return !certificate_ || certificate_->matches(name); });
}

bool Condition::matches(const Credentials& shown) const {
  const VerifiedToken& token = shown.token;
  return certificate_fits(shown.certificate_names) && token.issuer == issuer_ &&
         (!subject_ || subject_->matches(token.subject)) &&
         std::ranges::all_of(claims_, [&](const ClaimCondition& claim) {
           return claim_matches(*token.claims, claim.name, claim.value);
         });
}

std::string Condition::mismatch(const Credentials& shown) const {
  const VerifiedToken& token = shown.token;
  if (token.issuer != issuer_) return fmt::format("wants issuer {}", issuer_);
  if (subject_ && !subject_->matches(token.subject)) {
    return fmt::format("wants subject {}", quote(subject_->pattern()));
  }
  for (const ClaimCondition& claim : claims_) {
    if (!claim_matches(*token.claims, claim.name, claim.value)) {
      return fmt::format("wants claim {} = {}", claim.name, quote(claim.value));
    }
  }
  if (!certificate_fits(shown.certificate_names)) {
    return certificate_ ? fmt::format("wants the certificate {}", certificate_->pattern())
                        : "wants a certificate";
  }
  return "";
}

Decision Role::decide(DoorName door, Action action, std::string_view resource) const {
  const Decision denied{.allowed = false, .rule = denial};
  if (door == DoorName::postgres) {
    return postgres && action == Action::connect ? postgres->databases.decide(resource) : denied;
  }
  if (door == DoorName::nats) {
    if (!nats) return denied;
    if (action == Action::connect) return {.allowed = true, .rule = nats->way_in()};
    if (action == Action::subscribe) return nats->subscribe().decide_pattern(resource).decision;
    if (action != Action::publish) return denied;
    // Without a body and an inbox: what is allowed whatever they are.
    return nats->decide_publish(resource, {}, [](std::string_view) { return false; });
  }
  if (door != DoorName::redis || !redis) return denied;
  switch (action) {
    case Action::read:
      return redis->read.decide(resource);
    case Action::write:
      return redis->write.decide(resource);
    case Action::forget:
      return redis->forget.decide(resource);
    case Action::command: {
      const Decision exact = redis->commands.decide(resource);
      return exact.allowed ? exact : redis->commands.decide(resource.substr(0, resource.find('|')));
    }
    case Action::connect:
      return {.allowed = true, .rule = redis->way_in};
    case Action::publish:
    case Action::subscribe:
      break;
  }
  return denied;
}

Result<std::shared_ptr<const Role>> compile_role(const RoleConfig& config, VisitCounts& counts) {
  if (!is_name(config.name)) {
    return fail(Errc::invalid,
                fmt::format("the role name {} is not 1 to {} letters, digits, _ and -",
                            quote(config.name),
                            name_size_max));
  }
  auto role = std::make_shared<Role>();
  role->name = config.name;
  for (std::size_t i = 0; i < config.bindings.size(); ++i) {
    const BindingConfig& binding = config.bindings[i];
    auto condition =
        Condition::compile(binding.issuer, binding.subject, binding.claims, binding.certificate);
    if (!condition) {
      return fail_while(fmt::format("role {}, binding {}", config.name, i + 1), condition.error());
    }
    role->bindings.push_back({.condition = *std::move(condition),
                              .review_by = binding.review_by,
                              .after_review = binding.after_review});
  }
  if (config.postgres) {
    MERIDIAN_TRY(role->postgres, compile_postgres(config.name, *config.postgres));
    role->postgres_visits = counts.of(config.name, DoorName::postgres);
  }
  if (config.redis) {
    MERIDIAN_TRY(role->redis, compile_redis(config.name, *config.redis));
    role->redis_visits = counts.of(config.name, DoorName::redis);
  }
  if (config.nats) {
    MERIDIAN_TRY(role->nats, NatsPermissions::compile(config.name, *config.nats));
    role->nats_visits = counts.of(config.name, DoorName::nats);
  }
  role->denial = fmt::format("role \"{}\" has no such permission", config.name);
  return role;
}

}  // namespace meridian
