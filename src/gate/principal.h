#pragma once
// A principal: a verified identity in one role. What every decision and every record is about.

#include "gate/revocations.h"
#include "gate/role.h"
#include "gate/verified_token.h"

#include <memory>
#include <string>

namespace meridian {

// Never changes, so that loops may share it.
struct Principal {
  std::string issuer;      // The issuer's configured name.
  std::string issuer_url;  // iss
  std::string subject;     // sub
  std::string token_id;    // jti, or the hex of the token's hash.
  std::optional<WallTime> issued_at;
  bool same_clock = false;  // As in VerifiedToken.
  WallTime expires_at;  // When this node stops to honour the token: its expiry and the clock skew.
  std::string role_name;
  std::shared_ptr<const Role> role;
  std::string binding;  // The binding that matched, in words.
  std::shared_ptr<const json::Value> claims;
};

// How revocations see it.
inline RevocationSubject subject_of(const Principal& principal) noexcept {
  return {.issuer = principal.issuer,
          .issuer_url = principal.issuer_url,
          .subject = principal.subject,
          .token_id = principal.token_id,
          .role = principal.role_name,
          .issued_at = principal.issued_at,
          .same_clock = principal.same_clock};
}

// A token that has no role yet.
inline RevocationSubject subject_of(const VerifiedToken& token) noexcept {
  return {.issuer = token.issuer,
          .issuer_url = token.issuer_url,
          .subject = token.subject,
          .token_id = token.token_id,
          .role = {},
          .issued_at = token.issued_at,
          .same_clock = token.same_clock};
}

using PrincipalPointer = std::shared_ptr<const Principal>;

}  // namespace meridian
