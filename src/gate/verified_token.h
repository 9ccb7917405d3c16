#pragma once
// A token that was found to be true, for now and for us: who its issuer says that its bearer is.

#include "base/time.h"
#include "wire/json/value.h"

#include <memory>
#include <optional>
#include <string>

namespace meridian {

// Never changes, so that loops may share it.
struct VerifiedToken {
  std::string issuer;                 // Its configured name.
  std::string issuer_url;             // iss
  std::string subject;                // sub
  std::string token_id;               // jti, or the hex of the token's SHA-256 where there is none.
  std::optional<WallTime> issued_at;  // iat
  WallTime expires_at;                // exp
  WallTime valid_until;               // exp and the clock skew: from here on this node refuses it.
  bool same_clock = false;            // Issued by the clock that judges it: this node's own.
  std::shared_ptr<const json::Value> claims;
};

}  // namespace meridian
