#pragma once
// Which subjects of NATS a role may publish to or subscribe to: patterns that allow, and patterns
// that deny some of it again.
//
// What belongs to the server or to single clients ($JS, $KV, $SYS, _INBOX, ...) is never meant by a
// wildcard that stands first: `>` is all subjects but those, and so is `*.x`. A rule that wants
// them names them.

#include "base/result.h"
#include "gate/permissions.h"

#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// Begins with `$` or is an inbox.
bool is_reserved_subject(std::string_view subject) noexcept;

class SubjectRules {
 public:
  SubjectRules() = default;

  // `what` is the beginning of every rule's text. Errors: invalid (no pattern).
  static Result<SubjectRules> compile(std::string_view what,
                                      const std::vector<std::string>& allow,
                                      const std::vector<std::string>& deny);

  // Whether a message of this subject may be published, or delivered. Wildcards in it are plain
  // bytes.
  Decision decide(std::string_view subject) const noexcept;

  // Whether all of a pattern's subjects are allowed, but for those that `partly` is about.
  struct PatternDecision {
    Decision decision;
    bool partly = false;  // Some of its subjects are denied: each is to be asked for.
  };
  PatternDecision decide_pattern(std::string_view pattern) const noexcept;

 private:
  struct Rule {
    std::string pattern;
    std::string text;
  };

  std::vector<Rule> allow_;
  std::vector<Rule> deny_;
  std::string denial_;
};

}  // namespace meridian
