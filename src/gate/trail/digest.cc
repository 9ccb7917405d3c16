#include "gate/trail/digest.h"

#include "base/assert.h"

#include <openssl/evp.h>

namespace meridian::trail {

// An OpenSSL without SHA-256, or one that cannot hash bytes in memory, is a broken installation:
// there is nothing that a caller could do.

Sha256::Sha256()
    : algorithm_(::EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(::EVP_MD_CTX_new()) {
  MERIDIAN_ASSERT(algorithm_ != nullptr && context_ != nullptr);
}

void Sha256::digest(Bytes bytes, std::span<std::uint8_t, 32> out) noexcept {
  MERIDIAN_ASSERT(::EVP_DigestInit_ex2(context_.get(), algorithm_.get(), nullptr) == 1);
  MERIDIAN_ASSERT(::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  MERIDIAN_ASSERT(::EVP_DigestFinal_ex(context_.get(), out.data(), nullptr) == 1);
}

Digest Sha256::digest(Bytes bytes) noexcept {
  Digest out;
  digest(bytes, out);
  return out;
}

void Sha256::Free::operator()(evp_md_st* algorithm) const noexcept {
  ::EVP_MD_free(algorithm);
}

void Sha256::Free::operator()(evp_md_ctx_st* context) const noexcept {
  ::EVP_MD_CTX_free(context);
}

}  // namespace meridian::trail
