#include "gate/visit_registry.h"

#include "base/assert.h"
#include "runtime/loop.h"

#include <algorithm>

namespace meridian {
namespace {

// The longest wait for a wall-clock time: a clock that is set is noticed after it.
constexpr Duration look_interval_max = std::chrono::seconds(10);

WallTime later(WallTime time, Duration duration) {
  return time + std::chrono::floor<std::chrono::microseconds>(duration);
}

bool finishes_transactions(const VisitRegistry::Visit& visit) {
  const auto& role = visit.principal->role;
  return visit.door == DoorName::postgres && role && role->postgres &&
         role->postgres->expiry == ExpiryPolicy::finish_transaction;
}

}  // namespace

std::string_view to_string(EndReason reason) noexcept {
  switch (reason) {
    case EndReason::expired:
      return "expired";
    case EndReason::revoked:
      return "revoked";
    case EndReason::unbound:
      return "unbound";
    case EndReason::operator_request:
      return "operator_request";
  }
  return "";
}

VisitRegistry::VisitRegistry(Loop& loop,
                             const Published<RevocationSet>& revocations,
                             VisitLimits limits)
    : loop_(loop), revocations_(revocations), limits_(limits), sooner_(loop), scope_(loop) {}

VisitRegistry::~VisitRegistry() {
  MERIDIAN_ASSERT(visits_.empty());
}

void VisitRegistry::start() {
  scope_.spawn(watch_clock());
}

Async<> VisitRegistry::close() {
  co_await scope_.close();
}

VisitRegistry::Registration VisitRegistry::add(VisitId id,
                                               DoorName door,
                                               PrincipalPointer principal,
                                               VisitControl& control) {
  const auto [place, added] = visits_.try_emplace(
      id,
      Entry{.visit = {.id = id, .door = door, .principal = std::move(principal)},
            .control = control,
            .due = clock_.end()});
  MERIDIAN_ASSERT(added);
  schedule(place->second, WallTime());  // At once.
  return {*this, id};
}

void VisitRegistry::remove(VisitId id) noexcept {
  const auto found = visits_.find(id);
  MERIDIAN_ASSERT(found != visits_.end());
  if (found->second.due != clock_.end()) clock_.erase(found->second.due);
  visits_.erase(found);
}

void VisitRegistry::schedule(Entry& entry, WallTime at) {
  entry.due = clock_.emplace(at, &entry);
  if (entry.due == clock_.begin()) sooner_.notify_all();
}

void VisitRegistry::tell(Entry& entry, Ending ending) {
  if (entry.ended) return;
  entry.ended = !ending.after_transaction;
  if (entry.ended && entry.due != clock_.end()) {
    clock_.erase(entry.due);
    entry.due = clock_.end();
  }
  entry.control.end(std::move(ending));
}

void VisitRegistry::run_step(Entry& entry) {
  const WallTime expires_at = entry.visit.principal->expires_at;
  switch (entry.step) {
    case Step::check:
      entry.step = Step::notice;
      if (check_revocation(entry, loop_.wall_now())) return;
      schedule(entry, later(expires_at, -limits_.expiry_notice));
      return;
    case Step::notice:
      entry.step = Step::expire;
      schedule(entry, expires_at);
      if (const Duration left = expires_at - loop_.wall_now(); left > Duration::zero()) {
        entry.control.expiring(left);
      }
      return;
    case Step::expire:
      if (finishes_transactions(entry.visit)) {
        entry.step = Step::insist;
        schedule(entry, later(expires_at, limits_.expiry_grace));
        tell(entry,
             {.reason = EndReason::expired,
              .after_transaction = true,
              .text = "the token of this session has expired; it ends with its transaction"});
        return;
      }
      [[fallthrough]];
    case Step::insist:
      tell(entry,
           {.reason = EndReason::expired,
            .after_transaction = false,
            .text = "the token of this session has expired; log in again with a fresh one"});
      return;
  }
}

void VisitRegistry::run_due() {
  const WallTime now = loop_.wall_now();
  while (!clock_.empty() && clock_.begin()->first <= now) {
    Entry& entry = *clock_.begin()->second;
    clock_.erase(clock_.begin());
    entry.due = clock_.end();
    run_step(entry);
  }
}

Async<> VisitRegistry::watch_clock() {
  for (;;) {
    run_due();
    const Duration wait =
        clock_.empty()
            ? look_interval_max
            : std::min<Duration>(look_interval_max, clock_.begin()->first - loop_.wall_now());
    if (co_await sooner_.wait(loop_.after(wait)) == Wake::cancelled) co_return;
  }
}

bool VisitRegistry::check_revocation(Entry& entry, WallTime now) {
  const Revocation* const revocation =
      revocations_.get()->find(subject_of(*entry.visit.principal), now);
  if (!revocation) return false;
  tell(entry,
       {.reason = EndReason::revoked,
        .after_transaction = false,
        .text = revocation_text(*revocation)});
  return true;
}

void VisitRegistry::check_revocations() {
  if (revocations_.get()->count() == 0) return;
  const WallTime now = loop_.wall_now();
  for (auto& [id, entry] : visits_)
    check_revocation(entry, now);
}

namespace {

bool has_way_in(const Role& role, DoorName door) noexcept {
  switch (door) {
    case DoorName::postgres:
      return role.postgres.has_value();
    case DoorName::redis:
      return role.redis.has_value();
    case DoorName::nats:
      return role.nats.has_value();
    case DoorName::http:
      break;  // Its requests stand for themselves: it has no visits here.
  }
  return false;
}

}  // namespace

void VisitRegistry::check_policy(const Policy& policy) {
  const WallTime now = loop_.wall_now();
  for (auto& [id, entry] : visits_) {
    const Principal& known = *entry.visit.principal;
    const VerifiedToken token{.issuer = known.issuer,
                              .issuer_url = known.issuer_url,
                              .subject = known.subject,
                              .token_id = known.token_id,
                              .issued_at = known.issued_at,
                              .expires_at = known.expires_at,
                              .valid_until = known.expires_at,
                              .same_clock = known.same_clock,
                              .claims = known.claims};
    auto bound = policy.bind(token, known.role_name, now);
    if (!bound || !has_way_in(*bound->role, entry.visit.door)) {
      tell(entry,
           {.reason = EndReason::unbound,
            .after_transaction = false,
            .text = "the configuration was changed, and this session no longer has its role"});
      continue;
    }
    auto fresh = std::make_shared<Principal>(known);
    fresh->role = std::move(bound->role);
    fresh->binding = std::move(bound->binding);
    entry.visit.principal = fresh;
    if (!entry.ended) entry.control.renewed(std::move(fresh));
  }
}

bool VisitRegistry::end(VisitId id, Ending ending) {
  const auto found = visits_.find(id);
  if (found == visits_.end()) return false;
  tell(found->second, std::move(ending));
  return true;
}

std::vector<VisitRegistry::Visit> VisitRegistry::visits() const {
  std::vector<Visit> all;
  all.reserve(visits_.size());
  for (const auto& [id, entry] : visits_)
    all.push_back(entry.visit);
  std::ranges::sort(all, {}, &Visit::id);
  return all;
}

}  // namespace meridian
