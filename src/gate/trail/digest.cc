// The functions of one algorithm, which OpenSSL 3 calls deprecated for being just that: they do not
// ask for a provider, and allocate nothing.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "gate/trail/digest.h"

#include "base/assert.h"

#include <openssl/sha.h>

namespace meridian::trail {

void Sha256::digest(Bytes bytes, std::span<std::uint8_t, 32> out) noexcept {
  SHA256_CTX state;
  MERIDIAN_ASSERT(::SHA256_Init(&state) == 1);
  MERIDIAN_ASSERT(::SHA256_Update(&state, bytes.data(), bytes.size()) == 1);
  MERIDIAN_ASSERT(::SHA256_Final(out.data(), &state) == 1);
}

Digest Sha256::digest(Bytes bytes) noexcept {
  Digest out;
  digest(bytes, out);
  return out;
}

}  // namespace meridian::trail
