#include "gate/own_issuer.h"

#include "base/assert.h"
#include "base/escape.h"
#include "base/hex.h"
#include "base/metrics.h"
#include "gate/discovery.h"
#include "gate/issuers.h"
#include "runtime/log.h"
#include "runtime/loop.h"
#include "wire/jose/claims.h"
#include "wire/jose/jwks.h"
#include "wire/jose/jws.h"
#include "wire/json/writer.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace meridian {
namespace {

constexpr Duration look_interval = std::chrono::minutes(1);

// Claims that say who vouches for what, and when.
constexpr std::array<std::string_view, 10> reserved_claims{
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "act", "may_act", "origin"};

Result<void> check(const OwnIssuerConfig& config) {
  MERIDIAN_CHECK(check_issuer_url(config.url, false));
  if (config.url.ends_with('/')) {
    return fail(Errc::invalid,
                fmt::format("this node's issuer URL {} ends in a slash", config.url));
  }
  if (config.publish_ahead <= Duration::zero() ||
      config.rotation_interval < 2 * config.publish_ahead) {
    return fail(Errc::invalid,
                fmt::format("rotation_interval ({}) must be at least twice publish_ahead ({})",
                            to_text(config.rotation_interval),
                            to_text(config.publish_ahead)));
  }
  if (config.ttl_max < std::chrono::seconds(1)) {
    return fail(Errc::invalid, "ttl_max must be at least 1 s");
  }
  return {};
}

// Without authorization endpoint: nobody logs in here with a browser. The members that OpenID
// Connect Discovery 1.0, section 3, requires of everybody else are there.
std::string discovery_of(const std::string& url) {
  const auto list = [](json::Writer& writer, std::string_view name, std::string_view only) {
    writer.name(name).begin_array().string(only).end_array();
  };
  json::Writer writer;
  writer.begin_object().member("issuer", url);
  writer.member("jwks_uri", url + std::string(jwks_path));
  writer.member("token_endpoint", url + std::string(token_path));
  list(writer, "grant_types_supported", "urn:ietf:params:oauth:grant-type:token-exchange");
  list(writer, "response_types_supported", "id_token");
  list(writer, "subject_types_supported", "public");
  list(writer, "id_token_signing_alg_values_supported", "ES256");
  list(writer, "token_endpoint_auth_methods_supported", "none");
  return writer.end_object().take();
}

WallTime later(WallTime time, Duration duration) {
  return time + std::chrono::floor<std::chrono::microseconds>(duration);
}

}  // namespace

const jose::SigningKey& OwnKeys::signer(WallTime now) const noexcept {
  // Where the clock was set back before all of them, the oldest signs.
  const auto next =
      std::ranges::find_if(keys, [&](const auto& key) { return key->signs_from > now; });
  return next == keys.begin() ? keys.front()->key : (*std::prev(next))->key;
}

OwnIssuer::OwnIssuer(Loop& loop,
                     Issuers& issuers,
                     Metrics& metrics,
                     OwnIssuerConfig config,
                     Duration clock_skew,
                     KeyFolder folder)
    : loop_(loop),
      issuers_(issuers),
      config_(std::move(config)),
      clock_skew_(clock_skew),
      folder_(std::move(folder)),
      discovery_(discovery_of(config_.url)),
      published_(std::make_shared<const OwnKeys>()),
      keys_count_(
          metrics.gauge("meridian_own_issuer_keys", "Published keys of this node's issuer.")),
      rotation_failing_(metrics.gauge("meridian_own_issuer_rotation_failing",
                                      "1 while a signing key is due and cannot be made.")),
      scope_(loop) {}

Result<std::unique_ptr<OwnIssuer>> OwnIssuer::open(
    Loop& loop, Issuers& issuers, Metrics& metrics, OwnIssuerConfig config, Duration clock_skew) {
  MERIDIAN_CHECK(check(config));
  MERIDIAN_TRY(KeyFolder folder, KeyFolder::open(config.folder));
  MERIDIAN_TRY(std::vector<IssuingKey> keys, folder.load());
  std::unique_ptr<OwnIssuer> issuer(
      new OwnIssuer(loop, issuers, metrics, std::move(config), clock_skew, std::move(folder)));
  for (IssuingKey& key : keys)
    issuer->keys_.push_back(std::make_shared<const IssuingKey>(std::move(key)));
  const WallTime now = loop.wall_now();
  if (issuer->keys_.empty()) {
    MERIDIAN_CHECK(issuer->add_key(now));
    log_info("issuer", "made the first signing key", {{"kid", issuer->keys_.front()->key.kid()}});
  }
  MERIDIAN_CHECK(issuer->rotate(now));
  issuer->publish(now);
  return issuer;
}

void OwnIssuer::start() {
  scope_.spawn(keep_rotating());
}

Async<> OwnIssuer::close() {
  co_await scope_.close();
}

Async<> OwnIssuer::keep_rotating() {
  while (co_await loop_.sleep(look_interval) != Wake::cancelled) {
    const auto rotated = rotate(loop_.wall_now());
    rotation_failing_.set(rotated ? 0 : 1);
    if (!rotated) {
      log_error("issuer",
                "a signing key is due and cannot be made; the old one signs on",
                {{"error", rotated.error().detail()}});
    }
  }
}

Result<void> OwnIssuer::add_key(WallTime signs_from) {
  MERIDIAN_TRY(jose::SigningKey key, jose::SigningKey::generate(jose::Algorithm::es256));
  auto made = std::make_shared<const IssuingKey>(
      IssuingKey{.key = std::move(key), .signs_from = signs_from});
  MERIDIAN_CHECK(folder_.store(*made));
  keys_.push_back(std::move(made));
  return {};
}

Result<void> OwnIssuer::rotate(WallTime now) {
  bool changed = false;
  const WallTime due = later(keys_.back()->signs_from, config_.rotation_interval);
  if (now >= later(due, -config_.publish_ahead)) {
    MERIDIAN_CHECK(add_key(std::max(due, later(now, config_.publish_ahead))));
    changed = true;
    log_info(
        "issuer",
        "made the next signing key",
        {{"kid", keys_.back()->key.kid()}, {"signs_from", to_rfc3339(keys_.back()->signs_from)}});
  }
  // A key's last token was signed when its successor took over.
  while (keys_.size() > 1 && now >= later(keys_[1]->signs_from, config_.ttl_max + clock_skew_)) {
    MERIDIAN_CHECK(folder_.remove(keys_.front()->key.kid()));
    log_info("issuer", "removed a signing key", {{"kid", keys_.front()->key.kid()}});
    keys_.erase(keys_.begin());
    changed = true;
  }
  if (changed) publish(now);
  return {};
}

void OwnIssuer::publish(WallTime now) {
  auto set = std::make_shared<jose::KeySet>();
  json::Writer jwks;
  jwks.begin_object().name("keys").begin_array();
  for (const auto& key : keys_) {
    // The same object as before, so that what is remembered of it stays good.
    set->keys.push_back({key, &key->key.public_key()});
    jose::write_jwk(jwks, key->key.public_key());
  }
  auto published = std::make_shared<OwnKeys>();
  published->keys = keys_;
  published->jwks = jwks.end_array().end_object().take();
  published_.publish(std::move(published));
  keys_count_.set(static_cast<std::int64_t>(keys_.size()));
  issuers_.trust({.name = config_.name,
                  .url = config_.url,
                  .audiences = config_.audiences,
                  .lifetime_max = config_.ttl_max,
                  .keys = std::move(set),
                  .keys_fetched_at = now,
                  .keys_trusted_until = WallTime::max(),
                  .same_clock = true});
}

Result<MintedToken> OwnIssuer::mint(const TokenRequest& request,
                                    WallTime now,
                                    Random& random) const {
  if (request.ttl < std::chrono::seconds(1) || request.ttl > config_.ttl_max) {
    return fail(Errc::invalid,
                fmt::format("a token may live from 1 s to {} (ttl_max), not {}",
                            to_text(config_.ttl_max),
                            to_text(request.ttl)));
  }
  std::array<std::uint8_t, 16> id;
  random.fill_secret(id);
  const auto issued_at = std::chrono::floor<std::chrono::seconds>(now);
  const auto expires_at = issued_at + std::chrono::floor<std::chrono::seconds>(request.ttl);
  MintedToken minted{.token = {}, .token_id = to_hex(id), .expires_at = expires_at};

  json::Writer claims;
  claims.begin_object().member("iss", config_.url).member("sub", request.subject);
  claims.member("aud", request.audience);
  claims.name("iat").integer(issued_at.time_since_epoch().count());
  claims.name("exp").integer(expires_at.time_since_epoch().count());
  claims.member("jti", minted.token_id);
  if (!request.origin.is_null()) claims.name("origin").value(request.origin);
  for (const json::Member& claim : request.claims) {
    if (std::ranges::find(reserved_claims, claim.name) != reserved_claims.end()) {
      return fail(Errc::invalid,
                  fmt::format("the claim {} is set by the issuer alone", quote(claim.name)));
    }
    claims.name(claim.name).value(claim.value);
  }
  const std::string payload = claims.end_object().take();
  // What we sign must be what we would accept: two claims of one name are refused here, too.
  auto readable = jose::parse_claims(payload);
  if (!readable) return fail_while("minting a token", readable.error());
  if (readable->subject != request.subject || readable->audiences.front() != request.audience) {
    return fail(Errc::invalid, "minting a token: its subject or audience is not UTF-8");
  }
  minted.token = jose::sign_jws(payload, published_.get()->signer(now));
  if (minted.token.size() > jose::token_size_max) {
    return fail(Errc::invalid,
                fmt::format("the token would have {} bytes; at most {}",
                            minted.token.size(),
                            jose::token_size_max));
  }
  return minted;
}

}  // namespace meridian
