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
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// What somebody has shown: a token, and perhaps a certificate.
struct Credentials {
  // NOLINTNEXTLINE(google-explicit-constructor): a token alone is what most show.
  Credentials(const VerifiedToken& shown, std::span<const std::string> names = {}) noexcept
      : token(shown), certificate_names(names) {}

  const VerifiedToken& token;
  std::span<const std::string> certificate_names;  // See Stream::certificate_names().
};

// Conditions on who a token is about: an issuer, and a subject or claims; and on the certificate of
// the client that shows it.
class Condition {
 public:
  static constexpr std::string_view any_certificate = "any";

  // Errors: invalid (no subject and no claim: it would be everybody; no such kind of name).
  static Result<Condition> compile(std::string_view issuer,
                                   std::string_view subject,
                                   const std::vector<ClaimCondition>& claims,
                                   std::string_view certificate = {});

  bool matches(const Credentials& shown) const;

  // Why it does not match: `wants issuer k8s`. Requires !matches(shown).
  std::string mismatch(const Credentials& shown) const;

  // `issuer k8s, subject "system:serviceaccount:shop:checkout"`
  const std::string& text() const noexcept { return text_; }

 private:
  std::string issuer_;
  std::optional<SubjectPattern> subject_;
  bool certificate_fits(std::span<const std::string> names) const;

  std::vector<ClaimCondition> claims_;
  bool wants_certificate_ = false;
  std::optional<SubjectPattern> certificate_;  // Empty, and wanted: any.
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
