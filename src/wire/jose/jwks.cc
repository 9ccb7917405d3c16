#include "wire/jose/jwks.h"

#include "base/escape.h"
#include "wire/jose/base64url.h"
#include "wire/json/reader.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <algorithm>
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
using Number = std::unique_ptr<BIGNUM, Free<&BN_free>>;
using Builder = std::unique_ptr<OSSL_PARAM_BLD, Free<&OSSL_PARAM_BLD_free>>;
using Parameters = std::unique_ptr<OSSL_PARAM, Free<&OSSL_PARAM_free>>;
using Context = std::unique_ptr<EVP_PKEY_CTX, Free<&EVP_PKEY_CTX_free>>;

const unsigned char* bytes_of(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.data());
}

EvpKey own(EVP_PKEY* key) {
  return {key, [](EVP_PKEY* ended) { EVP_PKEY_free(ended); }};
}

Result<EvpKey> build(const char* type, const OSSL_PARAM_BLD* builder) {
  const Parameters parameters(OSSL_PARAM_BLD_to_param(const_cast<OSSL_PARAM_BLD*>(builder)));
  const Context context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  if (!parameters || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1) {
    ERR_clear_error();
    return fail(Errc::invalid, fmt::format("its numbers make no {} key", type));
  }
  return own(key);
}

// A member in base64url of at most this many bytes.
Result<std::string> bytes_at(const json::Value& jwk, std::string_view name, std::size_t size_max) {
  MERIDIAN_TRY(const std::string_view text, jwk.string_at(name));
  auto bytes = from_base64url(text);
  if (!bytes) return fail_while(fmt::format("the member {}", quote(name)), bytes.error());
  if (bytes->empty() || bytes->size() > size_max) {
    return fail(Errc::invalid,
                fmt::format("the member {} has {} bytes; from 1 to {} are accepted",
                            quote(name),
                            bytes->size(),
                            size_max));
  }
  return bytes;
}

Result<EvpKey> parse_rsa(const json::Value& jwk) {
  // One byte more than the number needs: some issuers write a leading zero.
  MERIDIAN_TRY(const std::string modulus, bytes_at(jwk, "n", rsa_bits_max / 8 + 1));
  MERIDIAN_TRY(const std::string exponent, bytes_at(jwk, "e", 9));
  const Number n(BN_bin2bn(bytes_of(modulus), static_cast<int>(modulus.size()), nullptr));
  const Number e(BN_bin2bn(bytes_of(exponent), static_cast<int>(exponent.size()), nullptr));
  const Builder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get());
  return build("RSA", builder.get());
}

// Coordinates have the curve's size, leading zeros included (RFC 7518, section 6.2.1.2).
Result<EvpKey> parse_ec(const json::Value& jwk, const char* group, std::size_t size) {
  MERIDIAN_TRY(const std::string x, bytes_at(jwk, "x", size));
  MERIDIAN_TRY(const std::string y, bytes_at(jwk, "y", size));
  if (x.size() != size || y.size() != size) {
    return fail(Errc::invalid, fmt::format("a coordinate has not the {} bytes of its curve", size));
  }
  const std::string point = '\x04' + x + y;  // Uncompressed (SEC 1, section 2.3.3).
  const Builder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
  OSSL_PARAM_BLD_push_octet_string(
      builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  MERIDIAN_TRY(EvpKey key, build("EC", builder.get()));
  const Context context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (!context || EVP_PKEY_public_check(context.get()) != 1) {
    ERR_clear_error();
    return fail(Errc::invalid, "its point is not on the curve");
  }
  return key;
}

Result<EvpKey> parse_ed25519(const json::Value& jwk) {
  MERIDIAN_TRY(const std::string raw, bytes_at(jwk, "x", 32));
  EvpKey key =
      own(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(raw), raw.size()));
  if (!key) {
    ERR_clear_error();
    return fail(Errc::invalid, "its bytes make no Ed25519 key");
  }
  return key;
}

Result<EvpKey> parse_key_of(Algorithm algorithm, const json::Value& jwk) {
  switch (algorithm) {
    case Algorithm::rs256:
    case Algorithm::rs384:
    case Algorithm::rs512:
    case Algorithm::ps256:
      return parse_rsa(jwk);
    case Algorithm::es256:
      return parse_ec(jwk, "prime256v1", 32);
    case Algorithm::es384:
      return parse_ec(jwk, "secp384r1", 48);
    case Algorithm::eddsa:
      return parse_ed25519(jwk);
  }
  return fail(Errc::invalid, "its algorithm is not known");
}

// The one algorithm that this type and curve can have when `alg` does not say.
std::optional<Algorithm> algorithm_of(std::string_view type, std::string_view curve) noexcept {
  if (type == "RSA") return Algorithm::rs256;
  if (type == "EC" && curve == "P-256") return Algorithm::es256;
  if (type == "EC" && curve == "P-384") return Algorithm::es384;
  if (type == "OKP" && curve == "Ed25519") return Algorithm::eddsa;
  return std::nullopt;
}

Result<Algorithm> choose_algorithm(const json::Value& jwk) {
  MERIDIAN_TRY(const std::string_view type, jwk.string_at("kty"));
  if (type == "oct") return fail(Errc::invalid, "it is a symmetric key");
  std::string_view curve;
  if (type != "RSA") {
    MERIDIAN_TRY(curve, jwk.string_at("crv"));
  }
  const auto natural = algorithm_of(type, curve);
  if (!natural) {
    return fail(
        Errc::invalid,
        fmt::format(
            "its type {} with curve {} is not supported", quote(type, 32), quote(curve, 32)));
  }
  if (!jwk.find("alg")) return *natural;
  MERIDIAN_TRY(const std::string_view name, jwk.string_at("alg"));
  const auto algorithm = parse_algorithm(name);
  const bool rsa = algorithm == Algorithm::rs256 || algorithm == Algorithm::rs384 ||
                   algorithm == Algorithm::rs512 || algorithm == Algorithm::ps256;
  if (!algorithm || (type == "RSA" ? !rsa : *algorithm != *natural)) {
    return fail(
        Errc::invalid,
        fmt::format("its algorithm {} is not one that is accepted for its type", quote(name, 32)));
  }
  return *algorithm;
}

// RFC 7517, sections 4.2 and 4.3: what the key may be used for, where it says so.
Result<void> check_use(const json::Value& jwk) {
  if (jwk.find("use")) {
    MERIDIAN_TRY(const std::string_view use, jwk.string_at("use"));
    if (use != "sig") {
      return fail(Errc::invalid, fmt::format("its use is {}, not \"sig\"", quote(use, 32)));
    }
  }
  if (const json::Value* const operations = jwk.find("key_ops")) {
    const json::Value::Array* const list = operations->array();
    const bool verifies = list && std::ranges::any_of(*list, [](const json::Value& operation) {
                            return operation.string() == "verify";
                          });
    if (!verifies) return fail(Errc::invalid, "its key_ops have no \"verify\"");
  }
  for (const std::string_view secret : {"d", "k", "p", "q"}) {
    if (jwk.find(secret)) {
      return fail(Errc::invalid, "it contains a private or symmetric key, so it is not secret");
    }
  }
  return {};
}

}  // namespace

Result<PublicKey> parse_jwk(const json::Value& jwk) {
  if (!jwk.object()) return fail(Errc::invalid, "it is not a JSON object");
  MERIDIAN_TRY(const std::string_view kid, jwk.string_at("kid"));
  if (kid.empty() || kid.size() > kid_size_max) {
    return fail(
        Errc::invalid,
        fmt::format("its kid has {} bytes; from 1 to {} are accepted", kid.size(), kid_size_max));
  }
  MERIDIAN_TRY(const Algorithm algorithm, choose_algorithm(jwk));
  MERIDIAN_CHECK(check_use(jwk));
  MERIDIAN_TRY(EvpKey key, parse_key_of(algorithm, jwk));
  return PublicKey::make(std::string(kid), algorithm, std::move(key));
}

std::shared_ptr<const PublicKey> KeySet::find(std::string_view kid) const noexcept {
  const auto found = std::ranges::find_if(keys, [&](const auto& key) { return key->kid() == kid; });
  return found == keys.end() ? nullptr : *found;
}

Result<KeySet> parse_jwks(std::string_view text) {
  auto document = json::parse(text, {.size_max = jwks_size_max});
  if (!document) return fail_while("the key set", document.error());
  const json::Value* const member = document->find("keys");
  const json::Value::Array* const list = member ? member->array() : nullptr;
  if (!list) return fail(Errc::invalid, "the key set has no array \"keys\"");
  if (list->size() > jwks_keys_max) {
    return fail(Errc::exhausted,
                fmt::format("the key set has {} keys; at most {}", list->size(), jwks_keys_max));
  }
  KeySet set;
  for (std::size_t i = 0; i < list->size(); ++i) {
    auto key = parse_jwk((*list)[i]);
    if (!key) {
      set.skipped.push_back({i, key.error().detail()});
    } else if (set.find(key->kid())) {
      set.skipped.push_back(
          {i, fmt::format("its kid {} is that of a key before it", quote(key->kid()))});
    } else {
      set.keys.push_back(std::make_shared<const PublicKey>(*std::move(key)));
    }
  }
  return set;
}

void write_jwk(json::Writer& writer, const PublicKey& key) {
  writer.begin_object();
  for (const auto& [name, value] : key.parameters())
    writer.member(name, value);
  writer.member("kid", key.kid()).member("alg", to_string(key.algorithm())).member("use", "sig");
  writer.end_object();
}

}  // namespace meridian::jose
