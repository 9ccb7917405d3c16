#pragma once
// Tokens for tests: good ones, and every kind of bad one.

#include "base/time.h"
#include "wire/jose/key.h"
#include "wire/json/value.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::testing {

// The key of this algorithm, made once a process: RSA keys take long.
const jose::SigningKey& key_of(jose::Algorithm algorithm);
const jose::SigningKey& other_key_of(jose::Algorithm algorithm);

// The claims of a token that every rule allows, to be spoiled one by one. An empty text or date
// leaves the claim out.
struct TestClaims {
  std::string issuer = "https://login.example.com";
  std::string subject = "alice";
  std::vector<std::string> audiences = {"meridian"};  // One is written as a string.
  std::optional<WallTime> issued_at;
  std::optional<WallTime> not_before;
  std::optional<WallTime> expires_at;
  std::string token_id = {};
  json::Value::Object others = {};

  std::string to_json() const;
};

// {"alg":...,"kid":...,"typ":"JWT"} for this key.
std::string header_of(const jose::SigningKey& key);

// Header and payload are taken as they are, be they JSON or not.
std::string sign(std::string_view header, std::string_view payload, const jose::SigningKey& key);

// The same with HMAC SHA-256: what a confused verifier would accept with a public key as secret.
std::string sign_hs256(std::string_view header, std::string_view payload, std::string_view secret);

// No signature at all.
std::string unsigned_token(std::string_view header, std::string_view payload);

// A JWK Set of these keys' public halves.
std::string jwks_of(const std::vector<const jose::SigningKey*>& keys);

// An SPKI public key in PEM, as an attacker would use it for an HMAC secret.
std::string public_pem_of(const jose::SigningKey& key);

}  // namespace meridian::testing
