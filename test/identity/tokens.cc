#include "test/identity/tokens.h"

#include "base/assert.h"
#include "wire/jose/base64url.h"
#include "wire/jose/jwks.h"
#include "wire/json/writer.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include <array>
#include <map>

namespace meridian::testing {
namespace {

const jose::SigningKey& cached_key(std::map<jose::Algorithm, jose::SigningKey>& keys,
                                   jose::Algorithm algorithm) {
  const auto found = keys.find(algorithm);
  if (found != keys.end()) return found->second;
  auto key = jose::SigningKey::generate(algorithm);
  MERIDIAN_ASSERT(key);
  return keys.emplace(algorithm, *std::move(key)).first->second;
}

void write_date(json::Writer& writer, std::string_view name, std::optional<WallTime> date) {
  if (!date) return;
  writer.name(name).integer(
      std::chrono::floor<std::chrono::seconds>(*date).time_since_epoch().count());
}

}  // namespace

const jose::SigningKey& key_of(jose::Algorithm algorithm) {
  static std::map<jose::Algorithm, jose::SigningKey> keys;
  return cached_key(keys, algorithm);
}

const jose::SigningKey& other_key_of(jose::Algorithm algorithm) {
  static std::map<jose::Algorithm, jose::SigningKey> keys;
  return cached_key(keys, algorithm);
}

std::string TestClaims::to_json() const {
  json::Writer writer;
  writer.begin_object();
  if (!issuer.empty()) writer.member("iss", issuer);
  if (!subject.empty()) writer.member("sub", subject);
  if (audiences.size() == 1) writer.member("aud", audiences.front());
  if (audiences.size() > 1) {
    writer.name("aud").begin_array();
    for (const std::string& audience : audiences)
      writer.string(audience);
    writer.end_array();
  }
  write_date(writer, "iat", issued_at);
  write_date(writer, "nbf", not_before);
  write_date(writer, "exp", expires_at);
  if (!token_id.empty()) writer.member("jti", token_id);
  for (const json::Member& other : others)
    writer.name(other.name).value(other.value);
  return writer.end_object().take();
}

std::string header_of(const jose::SigningKey& key) {
  json::Writer writer;
  writer.begin_object().member("alg", to_string(key.public_key().algorithm()));
  return writer.member("kid", key.kid()).member("typ", "JWT").end_object().take();
}

std::string sign(std::string_view header, std::string_view payload, const jose::SigningKey& key) {
  const std::string input = jose::to_base64url(header) + '.' + jose::to_base64url(payload);
  return input + '.' + jose::to_base64url(key.sign(input));
}

std::string sign_hs256(std::string_view header, std::string_view payload, std::string_view secret) {
  const std::string input = jose::to_base64url(header) + '.' + jose::to_base64url(payload);
  std::array<unsigned char, EVP_MAX_MD_SIZE> code{};
  unsigned size = 0;
  HMAC(EVP_sha256(),
       secret.data(),
       static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(input.data()),
       input.size(),
       code.data(),
       &size);
  return input + '.' + jose::to_base64url({reinterpret_cast<const char*>(code.data()), size});
}

std::string unsigned_token(std::string_view header, std::string_view payload) {
  return jose::to_base64url(header) + '.' + jose::to_base64url(payload) + '.';
}

std::string jwks_of(const std::vector<const jose::SigningKey*>& keys) {
  json::Writer writer;
  writer.begin_object().name("keys").begin_array();
  for (const jose::SigningKey* const key : keys)
    jose::write_jwk(writer, key->public_key());
  return writer.end_array().end_object().take();
}

std::string public_pem_of(const jose::SigningKey& key) {
  const Secret pem = key.to_pem();
  BIO* const in = BIO_new_mem_buf(pem.reveal().data(), static_cast<int>(pem.reveal().size()));
  EVP_PKEY* const private_key = PEM_read_bio_PrivateKey(in, nullptr, nullptr, nullptr);
  BIO* const out = BIO_new(BIO_s_mem());
  PEM_write_bio_PUBKEY(out, private_key);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  std::string pem_text(text, static_cast<std::size_t>(size));
  BIO_free(in);
  BIO_free(out);
  EVP_PKEY_free(private_key);
  return pem_text;
}

}  // namespace meridian::testing
