#include "gate/subject_rules.h"

#include "base/escape.h"
#include "wire/nats/subject.h"

#include <fmt/format.h>

namespace meridian {
namespace {

constexpr std::string_view inbox = "_INBOX";

bool begins_with_wildcard(std::string_view pattern) noexcept {
  const std::string_view first = nats::first_token(pattern);
  return first == "*" || first == ">";
}

}  // namespace

bool is_reserved_subject(std::string_view subject) noexcept {
  return subject.starts_with('$') || nats::first_token(subject) == inbox;
}

Result<SubjectRules> SubjectRules::compile(std::string_view what,
                                           const std::vector<std::string>& allow,
                                           const std::vector<std::string>& deny) {
  SubjectRules rules;
  const auto add = [](std::string_view named,
                      const std::vector<std::string>& patterns,
                      std::vector<Rule>& into) -> Result<void> {
    for (const std::string& pattern : patterns) {
      if (!nats::is_pattern(pattern)) {
        return fail(Errc::invalid, fmt::format("{}: {} is no subject", named, quote(pattern)));
      }
      into.push_back({pattern, fmt::format("{} {}", named, quote(pattern))});
    }
    return {};
  };
  MERIDIAN_CHECK(add(what, allow, rules.allow_));
  MERIDIAN_CHECK(add(fmt::format("{}_deny", what), deny, rules.deny_));
  rules.denial_ =
      fmt::format("{}: {}", what, allow.empty() ? "nothing is allowed" : "no pattern matches");
  return rules;
}

Decision SubjectRules::decide(std::string_view subject) const noexcept {
  const bool reserved = is_reserved_subject(subject);
  for (const Rule& rule : allow_) {
    if (reserved && begins_with_wildcard(rule.pattern)) continue;
    if (!nats::matches(rule.pattern, subject)) continue;
    for (const Rule& denying : deny_) {
      if (nats::matches(denying.pattern, subject)) return {.allowed = false, .rule = denying.text};
    }
    return {.allowed = true, .rule = rule.text};
  }
  return {.allowed = false, .rule = denial_};
}

SubjectRules::PatternDecision SubjectRules::decide_pattern(
    std::string_view pattern) const noexcept {
  if (!nats::is_pattern(pattern)) return {.decision = {.allowed = false, .rule = denial_}};
  const bool reserved = is_reserved_subject(pattern);
  for (const Rule& rule : allow_) {
    if (reserved && begins_with_wildcard(rule.pattern)) continue;
    if (!nats::is_subset(pattern, rule.pattern)) continue;
    PatternDecision answer{.decision = {.allowed = true, .rule = rule.text},
                           .partly = begins_with_wildcard(pattern)};
    for (const Rule& denying : deny_) {
      if (nats::is_subset(pattern, denying.pattern)) {
        return {.decision = {.allowed = false, .rule = denying.text}};
      }
      answer.partly = answer.partly || nats::overlaps(pattern, denying.pattern);
    }
    return answer;
  }
  return {.decision = {.allowed = false, .rule = denial_}};
}

}  // namespace meridian
