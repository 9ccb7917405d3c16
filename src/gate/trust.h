#pragma once
// Trust: whose tokens are believed at one time, and with which keys. An immutable snapshot that the
// issuers publish to all loops.

#include "base/time.h"
#include "wire/jose/jwks.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

struct TrustedIssuer {
  std::string name;
  std::string url;
  std::vector<std::string> audiences;
  Duration lifetime_max{};
  std::shared_ptr<const jose::KeySet> keys;  // Never null; empty before the first fetch.
  WallTime keys_fetched_at;
  WallTime keys_trusted_until;  // Beyond it the keys are too old to be believed.
  bool same_clock = false;      // Its tokens are dated by this machine's clock: no skew to forgive.
};

struct Trust {
  std::vector<TrustedIssuer> issuers;

  // Null for an issuer that is not trusted.
  const TrustedIssuer* find(std::string_view url) const noexcept {
    for (const TrustedIssuer& issuer : issuers) {
      if (issuer.url == url) return &issuer;
    }
    return nullptr;
  }
};

}  // namespace meridian
