#pragma once
// What a role may do through each door, compiled for quick answers that name their rule.

#include "base/result.h"
#include "gate/config.h"
#include "gate/glob.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace meridian {

enum class DoorName : std::uint8_t { postgres, redis, http, nats };
inline constexpr std::size_t doors_count = 4;
inline constexpr std::array<DoorName, doors_count> all_doors{
    DoorName::postgres, DoorName::redis, DoorName::http, DoorName::nats};
std::string_view to_string(DoorName door) noexcept;
std::optional<DoorName> parse_door_name(std::string_view text) noexcept;

enum class Action : std::uint8_t {
  connect,  // postgres: the resource is a database; redis and nats: there is none.
  read,     // redis: the resource is a key.
  write,
  forget,
  command,  // redis: the resource is a command in lower case, "flushall" or "config|get".
  publish,  // nats: the resource is a subject.
  subscribe,
};
std::string_view to_string(Action action) noexcept;
std::optional<Action> parse_action(std::string_view text) noexcept;

// Whether an action is allowed, and by which rule: `role "x", redis read "order:*"`. The text lives
// as long as the role.
struct Decision {
  bool allowed = false;
  std::string_view rule;
};

// A list of patterns of which one must match.
class PatternRules {
 public:
  PatternRules() = default;

  // `what` is the beginning of every rule's text.
  static Result<PatternRules> compile(std::string_view what,
                                      const std::vector<std::string>& patterns);

  Decision decide(std::string_view resource) const noexcept;

 private:
  struct Rule {
    Glob glob;
    std::string text;
  };
  std::vector<Rule> rules_;
  std::string denial_;
};

// A list of names of which one must be the resource; "*" stands for every name.
class NameRules {
 public:
  NameRules() = default;
  NameRules(std::string_view what, const std::vector<std::string>& names);

  Decision decide(std::string_view resource) const noexcept;

 private:
  std::vector<std::pair<std::string, std::string>> rules_;  // Name and text.
  std::string denial_;
};

struct PostgresPermissions {
  NameRules databases;
  std::uint32_t visits_max = 0;
  Duration statement_timeout{};
  bool read_only = false;
  ExpiryPolicy expiry = ExpiryPolicy::end;
};

struct RedisPermissions {
  PatternRules read;
  PatternRules write;
  PatternRules forget;
  NameRules commands;  // "config" also stands for "config|get".
  std::uint32_t visits_max = 0;
  std::string way_in;  // The rule's text of connecting, which every such role may.
};

}  // namespace meridian
