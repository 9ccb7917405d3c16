#include "gate/permissions.h"

#include "base/escape.h"

#include <fmt/format.h>

namespace meridian {

std::string_view to_string(DoorName door) noexcept {
  switch (door) {
    case DoorName::postgres:
      return "postgres";
    case DoorName::redis:
      return "redis";
    case DoorName::http:
      return "http";
    case DoorName::nats:
      return "nats";
  }
  return "";
}

std::optional<DoorName> parse_door_name(std::string_view text) noexcept {
  for (const DoorName door : all_doors) {
    if (text == to_string(door)) return door;
  }
  return std::nullopt;
}

std::string_view to_string(Action action) noexcept {
  switch (action) {
    case Action::connect:
      return "connect";
    case Action::read:
      return "read";
    case Action::write:
      return "write";
    case Action::forget:
      return "forget";
    case Action::command:
      return "command";
    case Action::publish:
      return "publish";
    case Action::subscribe:
      return "subscribe";
  }
  return "";
}

std::optional<Action> parse_action(std::string_view text) noexcept {
  using enum Action;
  for (const Action action : {connect, read, write, forget, command, publish, subscribe}) {
    if (text == to_string(action)) return action;
  }
  return std::nullopt;
}

Result<PatternRules> PatternRules::compile(std::string_view what,
                                           const std::vector<std::string>& patterns) {
  PatternRules rules;
  for (const std::string& pattern : patterns) {
    auto glob = Glob::compile(pattern);
    if (!glob) return fail_while(what, glob.error());
    rules.rules_.push_back({*std::move(glob), fmt::format("{} {}", what, quote(pattern))});
  }
  rules.denial_ =
      fmt::format("{}: {}", what, patterns.empty() ? "nothing is allowed" : "no pattern matches");
  return rules;
}

Decision PatternRules::decide(std::string_view resource) const noexcept {
  for (const Rule& rule : rules_) {
    if (rule.glob.matches(resource)) return {.allowed = true, .rule = rule.text};
  }
  return {.allowed = false, .rule = denial_};
}

NameRules::NameRules(std::string_view what, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    rules_.emplace_back(name, fmt::format("{} {}", what, quote(name)));
  denial_ = fmt::format("{}: {}", what, names.empty() ? "nothing is allowed" : "it is not listed");
}

Decision NameRules::decide(std::string_view resource) const noexcept {
  for (const auto& [name, text] : rules_) {
    if (name == "*" || name == resource) return {.allowed = true, .rule = text};
  }
  return {.allowed = false, .rule = denial_};
}

}  // namespace meridian
