#include "gate/inbox_claims.h"

#include "wire/nats/subject.h"

#include <algorithm>

namespace meridian {
namespace {

// Clients make ids of 22 characters out of 62 (NUID): 131 bits.
constexpr std::size_t id_size_min = 22;

}  // namespace

std::string_view InboxClaims::inbox_of(std::string_view subject) noexcept {
  if (!nats::is_subject(subject)) return {};
  std::string_view rest = subject;
  const std::string_view first = nats::take_token(rest);
  const std::string_view id = nats::first_token(rest);
  if (first != "_INBOX" || id.size() < id_size_min) return {};
  return subject.substr(0, first.size() + 1 + id.size());
}

InboxClaims::Holder::~Holder() {
  for (const std::string& inbox : inboxes_)
    claims_.give_up(inbox);
}

bool InboxClaims::Holder::holds(std::string_view subject) const {
  const std::string_view inbox = inbox_of(subject);
  return !inbox.empty() && std::ranges::find(inboxes_, inbox) != inboxes_.end();
}

bool InboxClaims::Holder::owns(std::string_view subject) {
  const std::string_view inbox = inbox_of(subject);
  if (inbox.empty()) return false;
  if (holds(subject)) return true;
  if (!claims_.take(inbox, owner_)) return false;
  inboxes_.emplace_back(inbox);
  if (inboxes_.size() > inboxes_max) {
    claims_.give_up(inboxes_.front());
    inboxes_.pop_front();
  }
  return true;
}

bool InboxClaims::take(std::string_view inbox, const std::string& owner) {
  const std::lock_guard lock(mutex_);
  Claim& claim = claims_[std::string(inbox)];
  if (claim.holders_count == 0) claim.owner = owner;
  if (claim.owner != owner) return false;
  ++claim.holders_count;
  return true;
}

void InboxClaims::give_up(const std::string& inbox) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = claims_.find(inbox);
  if (found != claims_.end() && --found->second.holders_count == 0) claims_.erase(found);
}

}  // namespace meridian
