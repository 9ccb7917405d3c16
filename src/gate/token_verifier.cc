#include "gate/token_verifier.h"

#include "base/escape.h"
#include "base/hex.h"
#include "base/metrics.h"
#include "wire/jose/claims.h"

#include <algorithm>
#include <fmt/format.h>

namespace meridian {
namespace {

// Every reason why a token proves nothing is the same to a caller. A size is not about the token.
// A clock may be set back a little; dates in tokens are whole seconds anyway.
constexpr Duration same_clock_skew = std::chrono::seconds(1);

std::unexpected<Error> refuse(std::string detail) {
  return fail(Errc::unauthenticated, std::move(detail));
}
std::unexpected<Error> refuse(const Error& error) {
  return error.code() == Errc::exhausted ? std::unexpected(error) : refuse(error.detail());
}

// A length of time as people say it: the token was not issued to the nanosecond either.
std::string seconds_text(WallTime from, WallTime to) {
  return to_text(std::chrono::ceil<std::chrono::seconds>(to - from));
}

Result<void> check_expiry(WallTime valid_until, WallTime expires_at, WallTime now) {
  if (now < valid_until) return {};
  return refuse(fmt::format("the token expired {} ago", seconds_text(expires_at, now)));
}

// RFC 7519, sections 4.1.4 to 4.1.6, and the cap on lifetimes.
Result<void> check_dates(const jose::Claims& claims,
                         Duration lifetime_max,
                         Duration skew,
                         WallTime now) {
  MERIDIAN_CHECK(
      check_expiry(std::chrono::floor<std::chrono::microseconds>(claims.expires_at + skew),
                   claims.expires_at,
                   now));
  if (claims.not_before && *claims.not_before > now + skew) {
    return refuse(fmt::format("the token is not valid before {} from now (nbf)",
                              seconds_text(now, *claims.not_before)));
  }
  if (claims.issued_at && *claims.issued_at > now + skew) {
    return refuse(fmt::format("the token was issued {} in the future (iat)",
                              seconds_text(now, *claims.issued_at)));
  }
  // Without iat the token may be old already; what is left must do.
  const WallTime from = claims.issued_at.value_or(now);
  if (claims.expires_at <= claims.issued_at.value_or(WallTime::min())) {
    return refuse("the token expires before it was issued");
  }
  const Duration lifetime = claims.expires_at - from;
  if (lifetime > lifetime_max + (claims.issued_at ? Duration::zero() : skew)) {
    return refuse(fmt::format("the token lives {}; this issuer's tokens may live {}",
                              to_text(lifetime),
                              to_text(lifetime_max)));
  }
  return {};
}

std::string list_text(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names)
    text += (text.empty() ? "" : ", ") + quote(name, 64);
  return text;
}

Result<void> check_audience(const jose::Claims& claims, const TrustedIssuer& issuer) {
  const bool ours = std::ranges::any_of(claims.audiences, [&](const std::string& audience) {
    return std::ranges::find(issuer.audiences, audience) != issuer.audiences.end();
  });
  if (ours) return {};
  return refuse(fmt::format("the token's audience is {}; this node accepts {}",
                            list_text(claims.audiences),
                            list_text(issuer.audiences)));
}

VerifiedTokenPointer make_token(const TrustedIssuer& issuer,
                                jose::Claims claims,
                                const jose::Sha256& hash,
                                Duration skew) {
  const WallTime valid_until =
      std::chrono::floor<std::chrono::microseconds>(claims.expires_at + skew);
  return std::make_shared<const VerifiedToken>(
      VerifiedToken{.issuer = issuer.name,
                    .issuer_url = std::move(claims.issuer),
                    .subject = std::move(claims.subject),
                    .token_id = claims.token_id.empty() ? to_hex(hash) : std::move(claims.token_id),
                    .issued_at = claims.issued_at,
                    .expires_at = claims.expires_at,
                    .valid_until = valid_until,
                    .same_clock = issuer.same_clock,
                    .claims = std::move(claims.all)});
}

}  // namespace

TokenVerifier::TokenVerifier(const Published<Trust>& trust, Options options, Metrics& metrics)
    : options_(options),
      trust_(trust),
      hits_(metrics.counter("meridian_tokens_total",
                            "Good tokens, by whether they were known already.",
                            {{"outcome", "remembered"}})),
      misses_(metrics.counter("meridian_tokens_total",
                              "Good tokens, by whether they were known already.",
                              {{"outcome", "verified"}})) {}

TokenVerifier::Verdict TokenVerifier::verify(std::string_view token, WallTime now) {
  // Before anything is done with the bytes, hashing them included.
  if (token.size() > jose::token_size_max) {
    return {
        .token = fail(
            Errc::exhausted,
            fmt::format("the token has {} bytes; at most {}", token.size(), jose::token_size_max)),
        .missing_key = {}};
  }
  const jose::Sha256 hash = jose::sha256(token);
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end()) return verify_anew(token, hash, now);
  Remembered& known = *found->second;
  const bool live = now < known.token->valid_until;
  if (!live || !still_trusted(known)) {
    forget(found->second);
    return verify_anew(token, hash, now);  // Which says what is wrong.
  }
  hits_.add();
  by_age_.splice(by_age_.begin(), by_age_, found->second);
  return {.token = known.token, .missing_key = {}};
}

bool TokenVerifier::still_trusted(Remembered& known) {
  const Trust& trust = *trust_.get();
  if (known.trust_version == trust_.version()) return true;
  const TrustedIssuer* const issuer = trust.find(known.token->issuer_url);
  if (!issuer || issuer->keys->find(known.key->kid()) != known.key) return false;
  known.trust_version = trust_.version();
  return true;
}

TokenVerifier::Verdict TokenVerifier::verify_anew(std::string_view token,
                                                  const jose::Sha256& hash,
                                                  WallTime now) {
  const auto refused = [](const Error& error) {
    return Verdict{.token = refuse(error), .missing_key = {}};
  };
  const auto jws = jose::parse_jws(token);
  if (!jws) return refused(jws.error());
  auto claims = jose::parse_claims(jws->payload);
  if (!claims) return refused(claims.error());

  const Trust& trust = *trust_.get();
  const TrustedIssuer* const issuer = trust.find(claims->issuer);
  if (!issuer) {
    return refused(
        Error(Errc::unauthenticated,
              fmt::format("the token's issuer {} is not trusted here", quote(claims->issuer))));
  }
  const Duration skew = issuer->same_clock ? same_clock_skew : options_.clock_skew;
  // Before the key is looked up: only a token that could be good may make us fetch keys.
  const auto in_time = check_dates(*claims, issuer->lifetime_max, skew, now);
  if (!in_time) return refused(in_time.error());
  const auto for_us = check_audience(*claims, *issuer);
  if (!for_us) return refused(for_us.error());

  std::shared_ptr<const jose::PublicKey> key = issuer->keys->find(jws->kid);
  if (!key) {
    return {
        .token = refuse(fmt::format("the token's key id {} is not among the {} keys of issuer {}",
                                    quote(jws->kid, 64),
                                    issuer->keys->keys.size(),
                                    issuer->name)),
        .missing_key = MissingKey{.issuer_url = claims->issuer, .kid = jws->kid}};
  }
  if (now >= issuer->keys_trusted_until) {
    return {.token = fail(Errc::unavailable,
                          fmt::format("the keys of issuer {} were last fetched {} ago, which is "
                                      "longer than keys_age_max",
                                      issuer->name,
                                      seconds_text(issuer->keys_fetched_at, now))),
            .missing_key = {}};
  }
  const auto signed_by_it = jose::verify(*jws, *key);
  if (!signed_by_it) return refused(signed_by_it.error());

  misses_.add();
  auto verified = make_token(*issuer, *std::move(claims), hash, skew);
  remember(
      {.hash = hash, .token = verified, .key = std::move(key), .trust_version = trust_.version()});
  return {.token = std::move(verified), .missing_key = {}};
}

void TokenVerifier::remember(Remembered remembered) {
  if (options_.tokens_cached_max == 0) return;
  while (by_age_.size() >= options_.tokens_cached_max)
    forget(std::prev(by_age_.end()));
  by_age_.push_front(std::move(remembered));
  by_hash_[by_age_.front().hash] = by_age_.begin();
}

void TokenVerifier::forget(std::list<Remembered>::iterator place) {
  by_hash_.erase(place->hash);
  by_age_.erase(place);
}

}  // namespace meridian
