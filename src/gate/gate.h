#pragma once
// The gate: admits principals through doors, each step in its order, each answer recorded.
//
// limiter -> record of the attempt -> token -> role -> revocations -> permissions and limits of the
// role -> record of the answer. If identity, policy or trail cannot be had, the answer is no.
//
// One for each loop.

#include "base/result.h"
#include "gate/admission_log.h"
#include "gate/issuers.h"
#include "gate/login_limiter.h"
#include "gate/policy.h"
#include "gate/principal.h"
#include "gate/revocations.h"
#include "gate/token_verifier.h"
#include "gate/visit_counts.h"
#include "runtime/deadline.h"
#include "runtime/published.h"

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace meridian {

class Counter;
class Histogram;
class Loop;
class Metrics;

// What all gates of a node share. All of it outlives them.
struct GateParts {
  Issuers& issuers;
  const Published<Policy>& policy;
  const Published<RevocationSet>& revocations;
  LoginLimiter& limiter;
  AdmissionLog& log;
  Metrics& metrics;
};

// A principal inside, with its place among its role's visits.
struct Admission {
  PrincipalPointer principal;
  VisitSlot slot;
};

class Gate {
 public:
  Gate(Loop& loop, GateParts parts, TokenVerifier::Options options);

  // Decides on a login. `token` and what `attempt` refers to live until it returns. Errors, fit for
  // the client as far as its door tells them: unauthenticated (the token), denied (no role, or it
  // lacks the permission, or a revocation), exhausted (too many failures, or visits), unavailable
  // (keys or trail), timeout, cancelled.
  Async<Result<Admission>> admit(LoginAttempt attempt, std::string_view token, Deadline deadline);

  // Only who a token is about, with its issuer's keys fetched if need be. Looks at no revocation
  // and no role, and records nothing. Errors: as of admit().
  Async<Result<VerifiedTokenPointer>> identify(std::string_view token, Deadline deadline);

  // The role that a token has here and now, shown by a client with a certificate of these names.
  // Errors: denied.
  Result<PrincipalPointer> bind(const VerifiedToken& token,
                                std::span<const std::string> certificate_names,
                                std::string_view wanted_role);

  // Whether a principal may do this. The rule's text lives as long as the principal.
  static Decision decide(const Principal& principal,
                         DoorName door,
                         Action action,
                         std::string_view resource) {
    return principal.role->decide(door, action, resource);
  }

 private:
  Async<Result<Admission>> examine(LoginAttempt attempt,
                                   std::string_view token,
                                   Deadline deadline,
                                   Refusal& refusal);
  Result<VisitSlot> enter(const Role& role, const LoginAttempt& attempt);
  void count(DoorName door, std::string_view outcome);

  struct Outcome {
    std::string_view name;
    Counter* counter;
  };

  Loop& loop_;
  GateParts parts_;
  TokenVerifier verifier_;
  Published<Policy>::Reader policy_;
  Published<RevocationSet>::Reader revocations_;
  std::array<std::vector<Outcome>, doors_count> outcomes_;
  std::array<Histogram*, doors_count> times_{};
};

}  // namespace meridian
