#pragma once
// What a token says (JWT claims, RFC 7519, section 4.1). Whether it is true, is for now and is for
// us, others decide.

#include "base/result.h"
#include "base/time.h"
#include "wire/json/value.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::jose {

inline constexpr std::size_t claim_size_max =
    2'048;  // Of iss, sub, jti and each audience, in bytes.
inline constexpr std::size_t audiences_max = 32;

struct Claims {
  std::string issuer;                  // iss
  std::string subject;                 // sub
  std::vector<std::string> audiences;  // aud; at least one.
  WallTime expires_at;                 // exp
  std::optional<WallTime> not_before;  // nbf
  std::optional<WallTime> issued_at;   // iat
  std::string token_id;                // jti, or empty.
  std::shared_ptr<const json::Value> all;
};

// Errors: invalid. Required are iss, sub, aud (one string or an array of them) and exp; dates are
// finite and lie in the years 1970 to 2255; texts are not empty and hold no control characters.
Result<Claims> parse_claims(std::string_view payload);

}  // namespace meridian::jose
