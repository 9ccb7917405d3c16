#pragma once
// A role: what its principals may do, and who they are. Compiled from configuration, immutable.

#include "base/result.h"
#include "gate/config.h"
#include "gate/nats_permissions.h"
#include "gate/permissions.h"
#include "gate/subject_pattern.h"
#include "gate/verified_token.h"
#include "gate/visit_counts.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// Conditions on who a token is about: an issuer, and a subject or claims.
class Condition {
 public:
  // Errors: invalid (no subject and no claim: it would be everybody).
  static Result<Condition> compile(std::string_view issuer,
                                   std::string_view subject,
                                   const std::vector<ClaimCondition>& claims);

  bool matches(const VerifiedToken& token) const;

  // Why it does not match: `its issuer is "corp", not "k8s"`. Requires !matches(token).
  std::string mismatch(const VerifiedToken& token) const;

  // `issuer k8s, subject "system:serviceaccount:shop:checkout"`
  const std::string& text() const noexcept { return text_; }

 private:
  std::string issuer_;
  std::optional<SubjectPattern> subject_;
  std::vector<ClaimCondition> claims_;
  std::string text_;
};

struct Binding {
  Condition condition;
  std::optional<WallTime> review_by;
  AfterReview after_review = AfterReview::warn;
};

struct Role {
  std::string name;
  std::vector<Binding> bindings;
  std::optional<PostgresPermissions> postgres;
  std::optional<RedisPermissions> redis;
  std::optional<NatsPermissions> nats;
  std::shared_ptr<VisitCount> postgres_visits;
  std::shared_ptr<VisitCount> redis_visits;
  std::shared_ptr<VisitCount> nats_visits;
  std::string denial;  // The rule's text where there is no such permission.

  // Whether a principal of this role may do this. The rule's text lives as long as the role.
  Decision decide(DoorName door, Action action, std::string_view resource) const;
};

// Errors: invalid, naming the role and what is wrong with it.
Result<std::shared_ptr<const Role>> compile_role(const RoleConfig& config, VisitCounts& counts);

// Whether the claim of this name is this value or a list that contains it. A dotted name leads into
// nested objects; where a member's own name has dots, the longest name that exists is followed.
bool claim_matches(const json::Value& claims, std::string_view name, std::string_view value);

}  // namespace meridian
