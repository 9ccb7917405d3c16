#pragma once
// Meridian as an issuer (OpenID Connect Discovery; RFC 7519): mints tokens for the workloads it
// starts and for exchanged identities, and publishes the keys to verify them.
//
// Keys are ES256, made on first start and replaced every `rotation_interval`. A new key is
// published `publish_ahead` before it signs, and an old one until every token that it signed has
// expired, so nobody ever meets a token without its key. Key ids are thumbprints (RFC 7638) and
// never repeat.
//
// Belongs to the main loop; published() and mint() are for every loop.

#include "base/random.h"
#include "base/result.h"
#include "gate/config.h"
#include "gate/key_folder.h"
#include "runtime/async.h"
#include "runtime/published.h"
#include "runtime/scope.h"
#include "wire/json/value.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

class Gauge;
class Issuers;
class Loop;
class Metrics;

// Below the issuer's URL.
inline constexpr std::string_view discovery_path = "/.well-known/openid-configuration";
inline constexpr std::string_view jwks_path = "/.well-known/jwks.json";
inline constexpr std::string_view token_path = "/oauth/token";

// The keys of one time and the documents that publish them. Never changes.
struct OwnKeys {
  std::vector<std::shared_ptr<const IssuingKey>> keys;  // By when they sign; at least one.
  std::string jwks;                                     // The JSON text of jwks_path.

  // The one that signs now.
  const jose::SigningKey& signer(WallTime now) const noexcept;
};

struct TokenRequest {
  std::string subject;
  std::string audience;
  Duration ttl{};
  json::Value::Object claims = {};  // Besides those that every token has.
  json::Value origin = {};          // Of an exchanged token: whose it was made from.
};

struct MintedToken {
  std::string token;
  std::string token_id;
  WallTime expires_at;
};

class OwnIssuer {
 public:
  // Loads the keys, or makes the first one. Errors: invalid (configuration, a key file), denied,
  // unavailable. `issuers` is told to trust these keys, now and after each rotation.
  static Result<std::unique_ptr<OwnIssuer>> open(
      Loop& loop, Issuers& issuers, Metrics& metrics, OwnIssuerConfig config, Duration clock_skew);

  void start();
  Async<> close();

  const Published<OwnKeys>& published() const noexcept { return published_; }
  const OwnIssuerConfig& config() const noexcept { return config_; }

  // The JSON text of discovery_path.
  const std::string& discovery() const noexcept { return discovery_; }

  // Any thread. Errors: invalid (no subject or audience, a ttl above ttl_max, a claim that only the
  // issuer sets, a token that would be too large).
  Result<MintedToken> mint(const TokenRequest& request, WallTime now, Random& random) const;

  // Makes, publishes and removes what is due. For the fibre of start(), and for tests.
  Result<void> rotate(WallTime now);

 private:
  OwnIssuer(Loop& loop,
            Issuers& issuers,
            Metrics& metrics,
            OwnIssuerConfig config,
            Duration clock_skew,
            KeyFolder folder);

  Async<> keep_rotating();
  Result<void> add_key(WallTime signs_from);
  void publish(WallTime now);

  Loop& loop_;
  Issuers& issuers_;
  OwnIssuerConfig config_;
  Duration clock_skew_;
  KeyFolder folder_;
  std::vector<std::shared_ptr<const IssuingKey>> keys_;  // By when they sign.
  std::string discovery_;
  Published<OwnKeys> published_;
  Gauge& keys_count_;
  Gauge& rotation_failing_;
  Scope scope_;
};

}  // namespace meridian
