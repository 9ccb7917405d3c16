#pragma once
// Signed tokens: JWS in compact form (RFC 7515, section 7.1), under the rules that close the known
// holes (RFC 8725).
//
// A header only says which key to look up. It cannot bring a key (jwk, jku, x5c, x5u), change how
// the token is read (crit, b64), or choose the algorithm: that is the key's.

#include "base/result.h"
#include "wire/jose/algorithm.h"
#include "wire/jose/key.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace meridian::jose {

inline constexpr std::size_t token_size_max = 16'384;

// A token that was taken apart. Nothing of it is to be believed before verify().
struct Jws {
  Algorithm algorithm;
  std::string kid;
  std::string payload;
  std::string signature;
  std::string_view signing_input;  // Of the token that was parsed, which must outlive this.
};

// Errors: invalid, or exhausted above token_size_max. They name the rule and never repeat more of
// the token than its algorithm and type.
Result<Jws> parse_jws(std::string_view token);

// Whether the token was signed with this key. Errors: invalid (the header's algorithm is not the
// key's, or the signature is wrong). Requires that the key is the one found by the token's kid
// among its issuer's.
Result<void> verify(const Jws& jws, const PublicKey& key);

// A token of this payload.
std::string sign_jws(std::string_view payload, const SigningKey& key);

}  // namespace meridian::jose
