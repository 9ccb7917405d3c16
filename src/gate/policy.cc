#include "gate/policy.h"

#include "base/escape.h"

#include <algorithm>
#include <fmt/format.h>

namespace meridian {
namespace {

constexpr std::size_t explanation_size_max = 2'000;

bool overdue(const Binding& binding, WallTime now) {
  return binding.review_by && now >= *binding.review_by;
}

std::string review_text(const Binding& binding) {
  return fmt::format("its review was due on {}", to_rfc3339(*binding.review_by).substr(0, 10));
}

// The first binding of the role that holds; null when none does.
const Binding* find_binding(const Role& role, const Credentials& shown, WallTime now) {
  for (const Binding& binding : role.bindings) {
    const bool stopped = binding.after_review == AfterReview::stop && overdue(binding, now);
    if (!stopped && binding.condition.matches(shown)) return &binding;
  }
  return nullptr;
}

// ` role "checkout": binding 1 wants issuer k8s, binding 2 ...;`
void explain(std::string& out, const Role& role, const Credentials& shown) {
  out += fmt::format("; role {}:", quote(role.name));
  if (role.bindings.empty()) out += " has no bindings";
  for (std::size_t i = 0; i < role.bindings.size(); ++i) {
    const Binding& binding = role.bindings[i];
    out += fmt::format("{} binding {} ", i == 0 ? "" : ",", i + 1);
    out += binding.condition.matches(shown) ? "would match, but " + review_text(binding)
                                            : binding.condition.mismatch(shown);
    if (out.size() > explanation_size_max) return;
  }
}

}  // namespace

Result<std::shared_ptr<const Policy>> Policy::compile(std::span<const RoleConfig> roles,
                                                      std::span<const std::string> issuers,
                                                      VisitCounts& counts) {
  auto policy = std::make_shared<Policy>();
  for (const RoleConfig& config : roles) {
    MERIDIAN_TRY(auto role, compile_role(config, counts));
    if (policy->find(config.name)) {
      return fail(Errc::invalid, fmt::format("the role {} is defined twice", quote(config.name)));
    }
    for (const BindingConfig& binding : config.bindings) {
      if (std::ranges::find(issuers, binding.issuer) == issuers.end()) {
        return fail(Errc::invalid,
                    fmt::format("role {} binds issuer {}, which is not configured",
                                config.name,
                                quote(binding.issuer)));
      }
    }
    policy->roles_.push_back(std::move(role));
  }
  return policy;
}

std::shared_ptr<const Role> Policy::find(std::string_view name) const noexcept {
  const auto found =
      std::ranges::find_if(roles_, [&](const auto& role) { return role->name == name; });
  return found == roles_.end() ? nullptr : *found;
}

std::string Policy::roles_of(const Credentials& shown, WallTime now) const {
  std::string names;
  for (const auto& role : roles_) {
    if (!find_binding(*role, shown, now)) continue;
    if (names.size() > explanation_size_max) return names + ", ...";
    names += (names.empty() ? "" : ", ") + role->name;
  }
  return names;
}

Result<Policy::Bound> Policy::bind(const Credentials& shown,
                                   std::string_view wanted_role,
                                   WallTime now) const {
  Bound bound;
  std::string matching;
  std::size_t matching_count = 0;
  for (const auto& role : roles_) {
    if (!wanted_role.empty() && role->name != wanted_role) continue;
    const Binding* const binding = find_binding(*role, shown, now);
    if (!binding) continue;
    if (++matching_count == 1) {
      bound = {.role = role, .binding = binding->condition.text(), .warning = {}};
      if (overdue(*binding, now)) bound.warning = review_text(*binding);
    }
    matching += (matching.empty() ? "" : ", ") + role->name;
  }
  if (matching_count == 1) return bound;
  const std::string who =
      fmt::format("issuer {}, subject {}", shown.token.issuer, quote(shown.token.subject));
  if (matching_count > 1) {
    return fail(Errc::denied,
                fmt::format("{} has the roles {}; name one of them as the user", who, matching));
  }
  std::string text =
      wanted_role.empty()
          ? fmt::format("no role is bound to {}", who)
          : fmt::format("the role {} is not bound to {}", quote(wanted_role, 64), who);
  if (!wanted_role.empty()) {
    if (!find(wanted_role)) text += "; there is no such role";
    // A client that is not told a user may send the name of the system's.
    const std::string own = roles_of(shown, now);
    if (!own.empty()) {
      text += "; the user name is taken for the wanted role, and this token has: " + own;
    }
  }
  for (const auto& role : roles_) {
    if (!wanted_role.empty() && role->name != wanted_role) continue;
    if (text.size() <= explanation_size_max) explain(text, *role, shown);
  }
  if (text.size() > explanation_size_max) text = text.substr(0, explanation_size_max) + "...";
  return fail(Errc::denied, std::move(text));
}

}  // namespace meridian
