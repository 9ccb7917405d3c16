// Whatever the bytes: taken as a token they are in canonical form or refused, and never verify with
// a key that did not sign them; taken as claims they are complete or refused; taken as a payload
// they come out of a signed token as they went in.

#include "base/assert.h"
#include "wire/jose/base64url.h"
#include "wire/jose/claims.h"
#include "wire/jose/jws.h"

#include <cstddef>
#include <cstdint>

namespace meridian::jose {
namespace {

const SigningKey& key_of(Algorithm algorithm) {
  static const SigningKey es256 = *SigningKey::generate(Algorithm::es256);
  static const SigningKey eddsa = *SigningKey::generate(Algorithm::eddsa);
  return algorithm == Algorithm::es256 ? es256 : eddsa;
}

void take_as_token(std::string_view text) {
  const auto jws = parse_jws(text);
  if (!jws) return;
  MERIDIAN_ASSERT(text.size() <= token_size_max);
  MERIDIAN_ASSERT(text.starts_with(jws->signing_input));
  MERIDIAN_ASSERT(jws->signing_input.ends_with('.' + to_base64url(jws->payload)));
  MERIDIAN_ASSERT(text.ends_with('.' + to_base64url(jws->signature)));
  for (const Algorithm algorithm : {Algorithm::es256, Algorithm::eddsa})
    MERIDIAN_ASSERT(!verify(*jws, key_of(algorithm).public_key()));
}

void take_as_claims(std::string_view text) {
  const auto claims = parse_claims(text);
  if (!claims) return;
  MERIDIAN_ASSERT(!claims->issuer.empty() && !claims->subject.empty());
  MERIDIAN_ASSERT(!claims->audiences.empty());
  MERIDIAN_ASSERT(claims->expires_at >= WallTime());
}

void take_as_payload(std::string_view text) {
  const SigningKey& key = key_of(Algorithm::eddsa);
  const std::string token = sign_jws(text, key);
  const auto jws = parse_jws(token);
  MERIDIAN_ASSERT(jws.has_value() == (token.size() <= token_size_max));
  if (!jws) return;
  MERIDIAN_ASSERT(jws->payload == text);
  MERIDIAN_ASSERT(verify(*jws, key.public_key()).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  take_as_token(text);
  take_as_claims(text);
  take_as_payload(text);
  return 0;
}

}  // namespace meridian::jose
