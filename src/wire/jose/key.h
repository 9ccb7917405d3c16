#pragma once
// Keys that sign and verify, each bound for its whole life to one id and the one algorithm that it
// may be used with. What a token's header asks for never chooses the algorithm.
//
// Keys do not change once made, so threads may share them.

#include "base/result.h"
#include "base/secret.h"
#include "wire/jose/algorithm.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct evp_pkey_st;

namespace meridian::jose {

using EvpKey = std::shared_ptr<evp_pkey_st>;

inline constexpr std::size_t rsa_bits_min = 2'048;
inline constexpr std::size_t rsa_bits_max =
    8'192;  // Beyond it one verification costs milliseconds.

class PublicKey {
 public:
  // Takes the public half of an OpenSSL key. Errors: invalid (the key is not of the algorithm's
  // type and curve, or an RSA key is of a size outside the bounds).
  static Result<PublicKey> make(std::string kid, Algorithm algorithm, EvpKey key);

  const std::string& kid() const noexcept { return kid_; }
  Algorithm algorithm() const noexcept { return algorithm_; }

  // The SHA-256 of the key itself in base64url (RFC 7638): the same for the same key, whatever its
  // kid.
  const std::string& thumbprint() const noexcept { return thumbprint_; }

  // The members of its JWK that RFC 7638, section 3.2, requires, in the order of their names.
  const std::vector<std::pair<std::string, std::string>>& parameters() const noexcept {
    return parameters_;
  }

  // Whether `signature`, in the form of JWS, was made over `message` by the owner of this key.
  bool verify(std::string_view message, std::string_view signature) const;

  // The same key under another id.
  PublicKey with_kid(std::string kid) const;

 private:
  PublicKey() = default;

  std::string kid_;
  Algorithm algorithm_ = Algorithm::es256;
  EvpKey key_;
  std::vector<std::pair<std::string, std::string>> parameters_;
  std::string thumbprint_;
};

// A private key. Its kid is the thumbprint, so it never names another key.
class SigningKey {
 public:
  // A fresh key from OpenSSL's generator; RSA keys have rsa_bits_min bits.
  static Result<SigningKey> generate(Algorithm algorithm);

  // PKCS #8 in PEM, not encrypted. Errors: invalid.
  static Result<SigningKey> from_pem(std::string_view pem, Algorithm algorithm);
  Secret to_pem() const;

  const PublicKey& public_key() const noexcept { return public_key_; }
  const std::string& kid() const noexcept { return public_key_.kid(); }

  // The signature in the form of JWS: for ECDSA r and s side by side (RFC 7518, section 3.4).
  std::string sign(std::string_view message) const;

 private:
  SigningKey(PublicKey public_key, EvpKey key)
      : public_key_(std::move(public_key)), key_(std::move(key)) {}

  static Result<SigningKey> make(Algorithm algorithm, EvpKey key);

  PublicKey public_key_;
  EvpKey key_;
};

}  // namespace meridian::jose
