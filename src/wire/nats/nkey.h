#pragma once
// An nkey: NATS's spelling of an Ed25519 key pair (ADR-14; RFC 8032), with which we show a server
// that we are a proxy it trusts (ADR-55): it signs the nonce of the server's INFO.
//
// A value; the seed is wiped with it. Signing is for any thread.

#include "base/result.h"
#include "base/secret.h"

#include <string>
#include <string_view>

namespace meridian::nats {

class Nkey {
 public:
  // From a seed, "SU...": base32 of its kinds, 32 bytes and a checksum. Errors: invalid, without
  // the text.
  static Result<Nkey> from_seed(const Secret& seed);

  // "U...", or as the kind of the key is spelt: what a server is told to trust.
  std::string public_key() const;

  // Base64url without padding, as CONNECT carries it.
  std::string sign(std::string_view nonce) const;

 private:
  Nkey() = default;

  Secret key_;  // 32 bytes.
  unsigned char kind_ = 0;
};

}  // namespace meridian::nats
