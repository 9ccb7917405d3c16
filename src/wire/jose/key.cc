#include "wire/jose/key.h"

#include "base/assert.h"
#include "wire/jose/base64url.h"
#include "wire/jose/sha256.h"
#include "wire/json/writer.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <array>
#include <fmt/format.h>
#include <optional>

namespace meridian::jose {
namespace {

template <auto Release>
struct Free {
  template <class T>
  void operator()(T* object) const noexcept {
    Release(object);
  }
};
using Context = std::unique_ptr<EVP_MD_CTX, Free<&EVP_MD_CTX_free>>;
using EcSignature = std::unique_ptr<ECDSA_SIG, Free<&ECDSA_SIG_free>>;
using Number = std::unique_ptr<BIGNUM, Free<&BN_clear_free>>;
using Bio = std::unique_ptr<BIO, Free<&BIO_free>>;

const unsigned char* bytes_of(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// The hash of a signature; null for EdDSA, which has its own inside.
const EVP_MD* hash_of(Algorithm algorithm) noexcept {
  switch (algorithm) {
    case Algorithm::rs256:
    case Algorithm::ps256:
    case Algorithm::es256:
      return EVP_sha256();
    case Algorithm::rs384:
    case Algorithm::es384:
      return EVP_sha384();
    case Algorithm::rs512:
      return EVP_sha512();
    case Algorithm::eddsa:
      return nullptr;
  }
  return nullptr;
}

// The curve of an ECDSA algorithm (RFC 7518, section 3.4): OpenSSL's name, the name in a JWK, the
// size in bytes of a coordinate, which is also that of r and s.
struct Curve {
  const char* group;
  std::string_view name;
  int size;
};

std::optional<Curve> curve_of(Algorithm algorithm) noexcept {
  if (algorithm == Algorithm::es256) return Curve{"prime256v1", "P-256", 32};
  if (algorithm == Algorithm::es384) return Curve{"secp384r1", "P-384", 48};
  return std::nullopt;
}

Number number_of(const EVP_PKEY* key, const char* parameter) {
  BIGNUM* number = nullptr;
  EVP_PKEY_get_bn_param(key, parameter, &number);
  return Number(number);
}

// Big-endian; of the given size, or as short as the number allows.
std::string to_bytes(const BIGNUM* number, int size = 0) {
  if (size == 0) size = BN_num_bytes(number);
  std::string bytes(static_cast<std::size_t>(size), '\0');
  const int written = BN_bn2binpad(number, reinterpret_cast<unsigned char*>(bytes.data()), size);
  MERIDIAN_ASSERT(written == size);
  return bytes;
}

using Parameters = std::vector<std::pair<std::string, std::string>>;

Result<Parameters> rsa_parameters(const EVP_PKEY* key) {
  if (!EVP_PKEY_is_a(key, "RSA")) return fail(Errc::invalid, "the key is not an RSA key");
  const Number modulus = number_of(key, OSSL_PKEY_PARAM_RSA_N);
  const Number exponent = number_of(key, OSSL_PKEY_PARAM_RSA_E);
  MERIDIAN_ASSERT(modulus && exponent);
  const auto bits = static_cast<std::size_t>(BN_num_bits(modulus.get()));
  if (bits < rsa_bits_min || bits > rsa_bits_max) {
    return fail(Errc::invalid,
                fmt::format("the RSA key has {} bits; from {} to {} are accepted",
                            bits,
                            rsa_bits_min,
                            rsa_bits_max));
  }
  // An even modulus or exponent is no key, an exponent of 1 signs nothing, and a long one makes
  // verifying slow.
  if (!BN_is_odd(modulus.get()) || !BN_is_odd(exponent.get()) || BN_is_one(exponent.get()) ||
      BN_num_bits(exponent.get()) > 64) {
    return fail(Errc::invalid, "the RSA key's modulus or exponent is not acceptable");
  }
  return Parameters{{"e", to_base64url(to_bytes(exponent.get()))},
                    {"kty", "RSA"},
                    {"n", to_base64url(to_bytes(modulus.get()))}};
}

Result<Parameters> ec_parameters(const EVP_PKEY* key, const Curve& curve) {
  std::array<char, 32> group{};
  std::size_t size = 0;
  if (!EVP_PKEY_is_a(key, "EC") ||
      EVP_PKEY_get_group_name(key, group.data(), group.size(), &size) != 1 ||
      std::string_view(group.data(), size) != curve.group) {
    return fail(Errc::invalid, fmt::format("the key is not on the curve {}", curve.name));
  }
  const Number x = number_of(key, OSSL_PKEY_PARAM_EC_PUB_X);
  const Number y = number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y);
  MERIDIAN_ASSERT(x && y);
  return Parameters{{"crv", std::string(curve.name)},
                    {"kty", "EC"},
                    {"x", to_base64url(to_bytes(x.get(), curve.size))},
                    {"y", to_base64url(to_bytes(y.get(), curve.size))}};
}

Result<Parameters> ed25519_parameters(const EVP_PKEY* key) {
  std::array<unsigned char, 32> raw;
  std::size_t size = raw.size();
  if (!EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_get_raw_public_key(key, raw.data(), &size) != 1) {
    return fail(Errc::invalid, "the key is not an Ed25519 key");
  }
  return Parameters{{"crv", "Ed25519"},
                    {"kty", "OKP"},
                    {"x", to_base64url({reinterpret_cast<const char*>(raw.data()), raw.size()})}};
}

Result<Parameters> parameters_of(Algorithm algorithm, const EVP_PKEY* key) {
  if (algorithm == Algorithm::eddsa) return ed25519_parameters(key);
  if (const auto curve = curve_of(algorithm)) return ec_parameters(key, *curve);
  return rsa_parameters(key);
}

// RFC 7518, section 3.5: PSS with the same hash throughout and a salt of the hash's size.
bool set_padding(EVP_PKEY_CTX* context, Algorithm algorithm) {
  if (algorithm != Algorithm::ps256) return true;
  return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
         EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

// r and s side by side, each of the curve's size, to the DER that OpenSSL takes. Empty when the
// size is wrong.
std::string to_der(std::string_view raw, const Curve& curve) {
  const auto half = static_cast<std::size_t>(curve.size);
  if (raw.size() != 2 * half) return {};
  const EcSignature signature(ECDSA_SIG_new());
  BIGNUM* const r = BN_bin2bn(bytes_of(raw), curve.size, nullptr);
  BIGNUM* const s = BN_bin2bn(bytes_of(raw.substr(half)), curve.size, nullptr);
  MERIDIAN_ASSERT(signature && r && s && ECDSA_SIG_set0(signature.get(), r, s) == 1);
  std::string der(static_cast<std::size_t>(i2d_ECDSA_SIG(signature.get(), nullptr)), '\0');
  auto* out = reinterpret_cast<unsigned char*>(der.data());
  i2d_ECDSA_SIG(signature.get(), &out);
  return der;
}

std::string from_der(std::string_view der, const Curve& curve) {
  const unsigned char* in = bytes_of(der);
  const EcSignature signature(d2i_ECDSA_SIG(nullptr, &in, static_cast<long>(der.size())));
  MERIDIAN_ASSERT(signature);
  return to_bytes(ECDSA_SIG_get0_r(signature.get()), curve.size) +
         to_bytes(ECDSA_SIG_get0_s(signature.get()), curve.size);
}

EvpKey own(EVP_PKEY* key) {
  return {key, [](EVP_PKEY* ended) { EVP_PKEY_free(ended); }};
}

EvpKey generate_key(Algorithm algorithm) {
  if (algorithm == Algorithm::eddsa) return own(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  if (const auto curve = curve_of(algorithm)) {
    return own(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", curve->group));
  }
  return own(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", rsa_bits_min));
}

}  // namespace

Result<PublicKey> PublicKey::make(std::string kid, Algorithm algorithm, EvpKey key) {
  PublicKey made;
  MERIDIAN_TRY(made.parameters_, parameters_of(algorithm, key.get()));
  made.kid_ = std::move(kid);
  made.algorithm_ = algorithm;
  made.key_ = std::move(key);
  json::Writer writer;
  writer.begin_object();
  for (const auto& [name, value] : made.parameters_)
    writer.member(name, value);
  const Sha256 digest = sha256(writer.end_object().take());
  made.thumbprint_ = to_base64url({reinterpret_cast<const char*>(digest.data()), digest.size()});
  return made;
}

PublicKey PublicKey::with_kid(std::string kid) const {
  PublicKey renamed = *this;
  renamed.kid_ = std::move(kid);
  return renamed;
}

bool PublicKey::verify(std::string_view message, std::string_view signature) const {
  std::string der;
  if (const auto curve = curve_of(algorithm_)) {
    der = to_der(signature, *curve);
    if (der.empty()) return false;
    signature = der;
  }
  const Context context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* key_context = nullptr;
  const bool good =
      context &&
      EVP_DigestVerifyInit(context.get(), &key_context, hash_of(algorithm_), nullptr, key_.get()) ==
          1 &&
      set_padding(key_context, algorithm_) &&
      EVP_DigestVerify(context.get(),
                       bytes_of(signature),
                       signature.size(),
                       bytes_of(message),
                       message.size()) == 1;
  if (!good) ERR_clear_error();
  return good;
}

Result<SigningKey> SigningKey::make(Algorithm algorithm, EvpKey key) {
  MERIDIAN_TRY(PublicKey unnamed, PublicKey::make("", algorithm, key));
  return SigningKey(unnamed.with_kid(unnamed.thumbprint()), std::move(key));
}

Result<SigningKey> SigningKey::generate(Algorithm algorithm) {
  EvpKey key = generate_key(algorithm);
  if (!key) {
    ERR_clear_error();
    return fail(Errc::unavailable, fmt::format("no {} key could be made", to_string(algorithm)));
  }
  return make(algorithm, std::move(key));
}

Result<SigningKey> SigningKey::from_pem(std::string_view pem, Algorithm algorithm) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  // The callback refuses to ask a terminal for the password of an encrypted key.
  const auto no_password = [](char*, int, int, void*) { return -1; };
  EvpKey key = own(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (!key) {
    ERR_clear_error();
    return fail(Errc::invalid, "this is no unencrypted private key in PEM");
  }
  return make(algorithm, std::move(key));
}

Secret SigningKey::to_pem() const {
  const Bio bio(BIO_new(BIO_s_secmem()));
  const int written =
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr);
  MERIDIAN_ASSERT(written == 1);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return Secret(std::string(text, static_cast<std::size_t>(size)));
}

std::string SigningKey::sign(std::string_view message) const {
  const Algorithm algorithm = public_key_.algorithm();
  const Context context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* key_context = nullptr;
  std::string signature(static_cast<std::size_t>(EVP_PKEY_get_size(key_.get())), '\0');
  std::size_t size = signature.size();
  const bool good =
      context &&
      EVP_DigestSignInit(context.get(), &key_context, hash_of(algorithm), nullptr, key_.get()) ==
          1 &&
      set_padding(key_context, algorithm) &&
      EVP_DigestSign(context.get(),
                     reinterpret_cast<unsigned char*>(signature.data()),
                     &size,
                     bytes_of(message),
                     message.size()) == 1;
  MERIDIAN_ASSERT(good);  // A loaded key signs; else the library is broken.
  signature.resize(size);
  if (const auto curve = curve_of(algorithm)) return from_der(signature, *curve);
  return signature;
}

}  // namespace meridian::jose
