#include "gate/revocations.h"

#include "base/escape.h"
#include "base/metrics.h"
#include "runtime/loop.h"

#include <fmt/format.h>

namespace meridian {
namespace {

Result<void> check(const Revocation& revocation) {
  if (revocation.issuer.empty() && revocation.subject.empty() && revocation.token_id.empty() &&
      revocation.role.empty()) {
    return fail(Errc::invalid,
                fmt::format("the revocation {} names no issuer, subject, token or role",
                            quote(revocation.id)));
  }
  return {};
}

}  // namespace

std::string revocation_text(const Revocation& revocation) {
  if (revocation.reason.empty()) return "access was revoked";
  return "access was revoked: " + escape(revocation.reason);
}

bool RevocationSet::refuses(const Revocation& revocation,
                            const RevocationSubject& who,
                            WallTime now) const noexcept {
  const auto agrees = [](const std::string& wanted, std::string_view found) {
    return wanted.empty() || wanted == found;
  };
  if (!agrees(revocation.subject, who.subject) || !agrees(revocation.token_id, who.token_id) ||
      !agrees(revocation.role, who.role)) {
    return false;
  }
  if (!agrees(revocation.issuer, who.issuer) && revocation.issuer != who.issuer_url) return false;
  if (now >= revocation.expires_at) return false;
  if (revocation.until) return now < *revocation.until;
  // An issuer's clock may be ahead, and a token that does not say when it was issued may be old.
  const auto skew = who.same_clock ? std::chrono::microseconds::zero() : clock_skew_;
  return !who.issued_at || *who.issued_at <= revocation.created_at + skew;
}

const Revocation* RevocationSet::find_in(const ByText& index,
                                         std::string_view key,
                                         const RevocationSubject& who,
                                         WallTime now) const noexcept {
  if (index.empty() || key.empty()) return nullptr;
  const auto found = index.find(key);
  if (found == index.end()) return nullptr;
  for (const Pointer& revocation : found->second) {
    if (refuses(*revocation, who, now)) return revocation.get();
  }
  return nullptr;
}

const Revocation* RevocationSet::find(const RevocationSubject& who, WallTime now) const noexcept {
  if (count_ == 0) return nullptr;
  if (const auto* found = find_in(by_token_id_, who.token_id, who, now)) return found;
  if (const auto* found = find_in(by_subject_, who.subject, who, now)) return found;
  if (const auto* found = find_in(by_role_, who.role, who, now)) return found;
  if (const auto* found = find_in(by_issuer_, who.issuer, who, now)) return found;
  return find_in(by_issuer_, who.issuer_url, who, now);
}

void RevocationSet::add(Pointer revocation) {
  ++count_;
  if (!revocation->token_id.empty()) {
    by_token_id_[revocation->token_id].push_back(std::move(revocation));
  } else if (!revocation->subject.empty()) {
    by_subject_[revocation->subject].push_back(std::move(revocation));
  } else if (!revocation->role.empty()) {
    by_role_[revocation->role].push_back(std::move(revocation));
  } else {
    by_issuer_[revocation->issuer].push_back(std::move(revocation));
  }
}

Revocations::Revocations(std::size_t revocations_max, Duration clock_skew, Metrics& metrics)
    : revocations_max_(revocations_max),
      clock_skew_(clock_skew),
      count_gauge_(metrics.gauge("meridian_revocations", "Revocations in force.")),
      overflows_(metrics.counter("meridian_revocations_refused_total",
                                 "Revocations that were not taken because the set is full.")),
      published_(std::make_shared<const RevocationSet>()) {}

Result<void> Revocations::publish(std::map<std::string, RevocationSet::Pointer> next,
                                  WallTime now) {
  std::erase_if(next, [&](const auto& item) { return now >= item.second->expires_at; });
  if (next.size() > revocations_max_) {
    overflows_.add();
    return fail(Errc::exhausted,
                fmt::format("{} revocations exceed revocations_max={}; revoke a role or an issuer "
                            "instead of single tokens",
                            next.size(),
                            revocations_max_));
  }
  auto set = std::make_shared<RevocationSet>();
  set->clock_skew_ = std::chrono::ceil<std::chrono::microseconds>(clock_skew_);
  for (const auto& [id, revocation] : next)
    set->add(revocation);
  all_ = std::move(next);
  published_.publish(std::move(set));
  count_gauge_.set(static_cast<std::int64_t>(all_.size()));
  for (const Watcher& watcher : watchers_)
    watcher.loop->submit(watcher.changed);
  return {};
}

Result<void> Revocations::replace(std::span<const Revocation> revocations, WallTime now) {
  std::map<std::string, RevocationSet::Pointer> next;
  for (const Revocation& revocation : revocations) {
    MERIDIAN_CHECK(check(revocation));
    next[revocation.id] = std::make_shared<const Revocation>(revocation);
  }
  return publish(std::move(next), now);
}

Result<void> Revocations::add(Revocation revocation, WallTime now) {
  MERIDIAN_CHECK(check(revocation));
  auto next = all_;
  const auto added = std::make_shared<const Revocation>(std::move(revocation));
  next[added->id] = added;
  return publish(std::move(next), now);
}

bool Revocations::remove(std::string_view id, WallTime now) {
  auto next = all_;
  if (next.erase(std::string(id)) == 0) return false;
  return publish(std::move(next), now).has_value();  // Fewer than before always fit.
}

void Revocations::watch(Loop& loop, std::function<void()> changed) {
  watchers_.push_back({.loop = &loop, .changed = std::move(changed)});
}

}  // namespace meridian
