#include "gate/stamp_mac.h"

#include "base/assert.h"
#include "wire/jose/base64url.h"
#include "wire/jose/sha256.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <array>
#include <cstdint>

namespace meridian {
namespace {

constexpr std::string_view mac_mark = ";mac=";

const unsigned char* bytes_of(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.data());
}

void add(EVP_MAC_CTX* context, std::string_view part) {
  std::array<unsigned char, 8> size{};
  std::uint64_t left = part.size();
  for (std::size_t i = size.size(); i > 0; --i) {
    size[i - 1] = static_cast<unsigned char>(left & 0xff);
    left >>= 8;
  }
  MERIDIAN_ASSERT(EVP_MAC_update(context, size.data(), size.size()) == 1);
  MERIDIAN_ASSERT(EVP_MAC_update(context, bytes_of(part), part.size()) == 1);
}

}  // namespace

void StampMac::Free::operator()(evp_mac_ctx_st* context) const noexcept {
  EVP_MAC_CTX_free(context);
}

StampMac::StampMac(const Secret& key) {
  MERIDIAN_ASSERT(!key.empty());
  EVP_MAC* const algorithm = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  MERIDIAN_ASSERT(algorithm != nullptr);
  context_.reset(EVP_MAC_CTX_new(algorithm));
  EVP_MAC_free(algorithm);  // The context has its own reference.
  MERIDIAN_ASSERT(context_ != nullptr);
  std::array<char, 7> digest{"SHA256"};
  const std::array<OSSL_PARAM, 2> parameters{
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_end()};
  const std::string_view secret = key.reveal();
  MERIDIAN_ASSERT(
      EVP_MAC_init(context_.get(), bytes_of(secret), secret.size(), parameters.data()) == 1);
}

std::string StampMac::of(const Parts& parts) const {
  EVP_MAC_CTX* const context = context_.get();
  // With the key and the digest that it has.
  MERIDIAN_ASSERT(EVP_MAC_init(context, nullptr, 0, nullptr) == 1);
  const jose::Sha256 payload = jose::sha256(parts.payload);
  add(context, parts.subject);
  add(context, parts.message_id);
  add(context, {reinterpret_cast<const char*>(payload.data()), payload.size()});
  add(context, parts.identity);
  std::array<unsigned char, 32> mac{};
  std::size_t size = 0;
  MERIDIAN_ASSERT(EVP_MAC_final(context, mac.data(), &size, mac.size()) == 1);
  return jose::to_base64url({reinterpret_cast<const char*>(mac.data()), size});
}

bool StampMac::verify(const Parts& parts, std::string_view mac) const {
  return equal_in_constant_time(of(parts), mac);
}

StampMac::Stamped StampMac::split(std::string_view stamp) noexcept {
  const std::size_t at = stamp.rfind(mac_mark);
  if (at == std::string_view::npos) return {.identity = stamp, .mac = {}};
  return {.identity = stamp.substr(0, at), .mac = stamp.substr(at + mac_mark.size())};
}

}  // namespace meridian
