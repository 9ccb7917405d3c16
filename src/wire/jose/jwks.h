#pragma once
// Public keys as JSON (JWK and JWK Set, RFC 7517), read from issuers and written for others.

#include "base/result.h"
#include "wire/jose/key.h"
#include "wire/json/value.h"
#include "wire/json/writer.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::jose {

inline constexpr std::size_t jwks_size_max = 65'536;
inline constexpr std::size_t jwks_keys_max = 64;
inline constexpr std::size_t kid_size_max = 512;

// One public signature key. Its algorithm is the one that `alg` names and its type and curve allow;
// without `alg`, an RSA key is bound to RS256. Errors: invalid, with the reason why this is no key
// for verifying tokens (symmetric or private, for encryption, without kid, too small, malformed).
Result<PublicKey> parse_jwk(const json::Value& jwk);

// The keys of one issuer at one time, by kid. It never changes.
struct KeySet {
  struct Skipped {
    std::size_t index;  // Its place in "keys".
    std::string reason;
  };

  std::vector<std::shared_ptr<const PublicKey>> keys;
  std::vector<Skipped> skipped;  // What could not be used; not an error of the set.

  // Null when there is none.
  std::shared_ptr<const PublicKey> find(std::string_view kid) const noexcept;
};

// Of two keys with one kid the second is skipped. Errors: invalid (no JWK Set), exhausted
// (jwks_size_max, jwks_keys_max).
Result<KeySet> parse_jwks(std::string_view text);

// One key as a JSON object, with kid, alg and use.
void write_jwk(json::Writer& writer, const PublicKey& key);

}  // namespace meridian::jose
