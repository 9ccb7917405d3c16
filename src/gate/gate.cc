#include "gate/gate.h"

#include "base/escape.h"
#include "base/metrics.h"
#include "runtime/log.h"
#include "runtime/loop.h"

#include <fmt/format.h>

namespace meridian {
namespace {

Result<VisitSlot> take_slot(const Role& role,
                            const std::shared_ptr<VisitCount>& count,
                            std::uint32_t visits_max,
                            DoorName door) {
  VisitSlot slot = VisitSlot::take(count, visits_max);
  if (slot.held()) return slot;
  return fail(Errc::exhausted,
              fmt::format("role {} has reached its {} visits_max={} on this node",
                          quote(role.name),
                          to_string(door),
                          visits_max));
}

}  // namespace

Gate::Gate(Loop& loop, GateParts parts, TokenVerifier::Options options)
    : loop_(loop),
      parts_(parts),
      verifier_(parts.issuers.published(), options, parts.metrics),
      policy_(parts.policy),
      revocations_(parts.revocations) {
  for (std::size_t i = 0; i < doors_count; ++i) {
    times_[i] = &parts.metrics.histogram("meridian_admission_seconds",
                                         "From a login to its answer.",
                                         {{"door", std::string(to_string(all_doors[i]))}});
  }
}

void Gate::count(DoorName door, std::string_view outcome) {
  std::vector<Outcome>& known = outcomes_[static_cast<std::size_t>(door)];
  for (const Outcome& entry : known) {
    if (entry.name == outcome) return entry.counter->add();
  }
  Counter& counter = parts_.metrics.counter(
      "meridian_admissions_total",
      "Logins by what came of them.",
      {{"door", std::string(to_string(door))}, {"outcome", std::string(outcome)}});
  known.push_back({.name = outcome, .counter = &counter});
  counter.add();
}

Async<Result<Admission>> Gate::admit(LoginAttempt attempt,
                                     std::string_view token,
                                     Deadline deadline) {
  const Time start = loop_.now();
  const std::string source = login_source_of(*attempt.peer);
  auto recorded = co_await parts_.log.on_attempt(attempt);
  Refusal refusal{.error = Error(Errc::unavailable), .issuer = {}, .subject = {}, .token_id = {}};
  Result<Admission> admission = fail(Errc::unavailable, "the login could not be recorded");
  if (recorded) {
    const auto allowed = parts_.limiter.check(source, start);
    if (allowed) {
      admission = co_await examine(attempt, token, deadline, refusal);
    } else {
      admission = std::unexpected(allowed.error());
    }
    if (admission) {
      recorded = co_await parts_.log.on_admitted(attempt, admission->principal);
      if (!recorded) admission = fail(Errc::unavailable, "the admission could not be recorded");
    } else {
      if (counts_as_failed_login(admission.error().code())) parts_.limiter.failed(source, start);
      refusal.error = admission.error();
      recorded = co_await parts_.log.on_refused(attempt, std::move(refusal));
    }
  }
  if (!recorded) {
    log_error("gate",
              "the trail cannot record logins, so they are refused",
              {{"door", to_string(attempt.door)},
               {"request", attempt.request.to_string()},
               {"error", recorded.error().detail()}});
  }
  count(attempt.door, admission ? "admitted" : to_string(admission.error().code()));
  times_[static_cast<std::size_t>(attempt.door)]->observe(loop_.now() - start);
  co_return admission;
}

Async<Result<Admission>> Gate::examine(LoginAttempt attempt,
                                       std::string_view token,
                                       Deadline deadline,
                                       Refusal& refusal) {
  MERIDIAN_CO_TRY(const VerifiedTokenPointer verified, co_await identify(token, deadline));
  refusal.issuer = verified->issuer;
  refusal.subject = verified->subject;
  refusal.token_id = verified->token_id;
  MERIDIAN_CO_TRY(PrincipalPointer principal,
                  bind(*verified, attempt.certificate_names, attempt.wanted_role));
  const Revocation* const revocation =
      revocations_.get()->find(subject_of(*principal), loop_.wall_now());
  if (revocation) co_return fail(Errc::denied, revocation_text(*revocation));
  MERIDIAN_CO_TRY(VisitSlot slot, enter(*principal->role, attempt));
  co_return Admission{.principal = std::move(principal), .slot = std::move(slot)};
}

Async<Result<VerifiedTokenPointer>> Gate::identify(std::string_view token, Deadline deadline) {
  if (token.empty()) co_return fail(Errc::unauthenticated, "no token was given");
  auto verdict = verifier_.verify(token, loop_.wall_now());
  if (!verdict.missing_key) co_return std::move(verdict.token);
  auto fetched = co_await parts_.issuers.want_key(
      std::move(verdict.missing_key->issuer_url), std::move(verdict.missing_key->kid), deadline);
  if (!fetched) co_return std::unexpected(std::move(fetched).error());
  co_return verifier_.verify(token, loop_.wall_now()).token;
}

Result<PrincipalPointer> Gate::bind(const VerifiedToken& token,
                                    std::span<const std::string> certificate_names,
                                    std::string_view wanted_role) {
  MERIDIAN_TRY(Policy::Bound bound,
               policy_.get()->bind({token, certificate_names}, wanted_role, loop_.wall_now()));
  std::string binding = std::move(bound.binding);
  if (!bound.warning.empty()) binding += fmt::format(" ({})", bound.warning);
  return std::make_shared<const Principal>(Principal{.issuer = token.issuer,
                                                     .issuer_url = token.issuer_url,
                                                     .subject = token.subject,
                                                     .token_id = token.token_id,
                                                     .issued_at = token.issued_at,
                                                     .same_clock = token.same_clock,
                                                     .expires_at = token.valid_until,
                                                     .role_name = bound.role->name,
                                                     .role = bound.role,
                                                     .binding = std::move(binding),
                                                     .claims = token.claims});
}

Result<VisitSlot> Gate::enter(const Role& role, const LoginAttempt& attempt) {
  const Decision way_in = role.decide(attempt.door, Action::connect, attempt.database);
  if (!way_in.allowed) {
    return fail(Errc::denied,
                attempt.door == DoorName::postgres
                    ? fmt::format("role {} may not connect to database {} ({})",
                                  quote(role.name),
                                  quote(attempt.database, 64),
                                  way_in.rule)
                    : fmt::format("role {} has no way in through the {} door",
                                  quote(role.name),
                                  to_string(attempt.door)));
  }
  if (attempt.door == DoorName::postgres) {
    return take_slot(role, role.postgres_visits, role.postgres->visits_max, attempt.door);
  }
  if (attempt.door == DoorName::nats) {
    return take_slot(role, role.nats_visits, role.nats->limits().visits_max, attempt.door);
  }
  return take_slot(role, role.redis_visits, role.redis->visits_max, attempt.door);
}

}  // namespace meridian
