// A key set gives each usable key its one algorithm, skips every other key with a reason, and keeps
// its bounds.

#include "wire/jose/jwks.h"

#include "test/identity/tokens.h"
#include "wire/jose/base64url.h"
#include "wire/jose/jws.h"
#include "wire/json/reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace meridian::jose {
namespace {

using enum Algorithm;
using testing::jwks_of;
using testing::key_of;
using testing::other_key_of;

// The JWK of a key with members replaced, added, or (as null) removed.
json::Value jwk_of(Algorithm algorithm, const json::Value::Object& changes = {}) {
  json::Writer writer;
  write_jwk(writer, key_of(algorithm).public_key());
  const json::Value whole = *json::parse(writer.take());
  json::Value::Object members;
  for (const json::Member& member : *whole.object()) {
    const bool changed = std::ranges::any_of(
        changes, [&](const json::Member& change) { return change.name == member.name; });
    if (!changed) members.push_back(member);
  }
  for (const json::Member& change : changes) {
    if (!change.value.is_null()) members.push_back(change);
  }
  return json::Value(members);
}

std::string refusal(const json::Value& jwk) {
  const auto key = parse_jwk(jwk);
  return key ? "" : key.error().detail();
}

TEST(Jwk, RoundTripsEveryAlgorithm) {
  for (const Algorithm algorithm : {rs256, rs384, rs512, ps256, es256, es384, eddsa}) {
    const auto key = parse_jwk(jwk_of(algorithm));
    ASSERT_TRUE(key) << key.error().detail();
    EXPECT_EQ(key->algorithm(), algorithm);
    EXPECT_EQ(key->kid(), key_of(algorithm).kid());
    EXPECT_EQ(key->thumbprint(), key_of(algorithm).public_key().thumbprint());
    EXPECT_TRUE(key->verify("m", key_of(algorithm).sign("m")));
  }
}

TEST(Jwk, TheThumbprintIsThatOfTheSpecification) {
  // RFC 7638, section 3.1.
  const auto key = parse_jwk(*json::parse(
      R"({"kty":"RSA","kid":"2011-04-29","alg":"RS256","e":"AQAB","n":")"
      "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1"
      "L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4"
      "QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO"
      "pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF"
      "Cur-kEgU8awapJzKnqDKgw"
      R"("})"));
  ASSERT_TRUE(key) << key.error().detail();
  EXPECT_EQ(key->thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

TEST(Jwk, WithoutAlgTheTypeDecides) {
  EXPECT_EQ(parse_jwk(jwk_of(rs256, {{"alg", json::Value()}}))->algorithm(), rs256);
  EXPECT_EQ(parse_jwk(jwk_of(rs512, {{"alg", json::Value()}}))->algorithm(), rs256);
  EXPECT_EQ(parse_jwk(jwk_of(ps256, {{"alg", json::Value()}}))->algorithm(), rs256);
  EXPECT_EQ(parse_jwk(jwk_of(es256, {{"alg", json::Value()}}))->algorithm(), es256);
  EXPECT_EQ(parse_jwk(jwk_of(es384, {{"alg", json::Value()}}))->algorithm(), es384);
  EXPECT_EQ(parse_jwk(jwk_of(eddsa, {{"alg", json::Value()}}))->algorithm(), eddsa);
}

TEST(Jwk, AnRsaKeyWithoutAlgVerifiesNothingButRs256) {
  const PublicKey key = *parse_jwk(jwk_of(rs256, {{"alg", json::Value()}}));
  const auto token_of = [&](std::string_view algorithm) {
    return testing::sign(
        R"({"alg":")" + std::string(algorithm) + R"(","kid":")" + key.kid() + R"("})",
        "{}",
        key_of(rs256));
  };
  EXPECT_TRUE(verify(*parse_jws(token_of("RS256")), key));
  EXPECT_FALSE(parse_jws(token_of("HS256")));
  EXPECT_FALSE(verify(*parse_jws(token_of("PS256")), key));
  EXPECT_FALSE(verify(*parse_jws(token_of("RS512")), key));
}

TEST(Jwk, KeysForOtherPurposesAreRefused) {
  EXPECT_EQ(refusal(jwk_of(es256, {{"use", json::Value("enc")}})),
            "its use is \"enc\", not \"sig\"");
  EXPECT_NE(refusal(jwk_of(es256, {{"use", json::Value(true)}})), "");
  EXPECT_EQ(refusal(jwk_of(es256, {{"use", json::Value()}})), "");
  const auto operations = [](const char* operation) {
    return json::Value(json::Value::Array{json::Value(operation)});
  };
  EXPECT_EQ(refusal(jwk_of(es256, {{"key_ops", operations("verify")}})), "");
  EXPECT_EQ(refusal(jwk_of(es256, {{"key_ops", operations("sign")}})),
            "its key_ops have no \"verify\"");
  EXPECT_NE(refusal(jwk_of(es256, {{"key_ops", json::Value("verify")}})), "");
  EXPECT_TRUE(refusal(jwk_of(rs256, {{"alg", json::Value("RSA-OAEP")}})).contains("RSA-OAEP"));
}

TEST(Jwk, SymmetricAndPrivateKeysAreRefused) {
  EXPECT_EQ(refusal(*json::parse(R"({"kty":"oct","kid":"1","k":"AAAA","alg":"HS256"})")),
            "it is a symmetric key");
  EXPECT_EQ(refusal(*json::parse(R"({"kty":"oct","kid":"1","k":""})")), "it is a symmetric key");
  EXPECT_TRUE(refusal(jwk_of(es256, {{"d", json::Value("AAAA")}})).contains("private"));
  // HMAC is no algorithm of any key.
  for (const Algorithm algorithm : {rs256, es256, eddsa}) {
    EXPECT_NE(refusal(jwk_of(algorithm, {{"alg", json::Value("HS256")}})), "");
    EXPECT_NE(refusal(jwk_of(algorithm, {{"alg", json::Value("none")}})), "");
  }
}

TEST(Jwk, AnAlgorithmOfAnotherTypeIsRefused) {
  EXPECT_NE(refusal(jwk_of(rs256, {{"alg", json::Value("ES256")}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"alg", json::Value("RS256")}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"alg", json::Value("ES384")}})), "");
  EXPECT_NE(refusal(jwk_of(es384, {{"alg", json::Value("ES256")}})), "");
  EXPECT_NE(refusal(jwk_of(eddsa, {{"alg", json::Value("ES256")}})), "");
}

TEST(Jwk, TypesAndCurvesThatAreNotSupportedAreRefused) {
  EXPECT_NE(refusal(jwk_of(es256, {{"crv", json::Value("secp256k1")}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"crv", json::Value("P-521")}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"crv", json::Value("P-384")}})), "");
  EXPECT_NE(refusal(jwk_of(eddsa, {{"crv", json::Value("X25519")}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"kty", json::Value("DSA")}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"kty", json::Value()}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"kid", json::Value()}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"kid", json::Value("")}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"kid", json::Value(std::string(513, 'k'))}})), "");
  EXPECT_NE(refusal(json::Value("key")), "");
}

TEST(Jwk, RsaKeysAreBoundedInSize) {
  const auto modulus_of = [](std::size_t bits) {
    std::string bytes(bits / 8, '\xff');
    return json::Value(to_base64url(bytes));
  };
  EXPECT_TRUE(refusal(jwk_of(rs256, {{"n", modulus_of(1'024)}})).contains("1024 bits"));
  EXPECT_TRUE(refusal(jwk_of(rs256, {{"n", modulus_of(2'040)}})).contains("2040 bits"));
  EXPECT_EQ(refusal(jwk_of(rs256, {{"n", modulus_of(2'048)}})), "");
  EXPECT_EQ(refusal(jwk_of(rs256, {{"n", modulus_of(8'192)}})), "");
  EXPECT_NE(refusal(jwk_of(rs256, {{"n", modulus_of(8'200)}})), "");
  EXPECT_NE(refusal(jwk_of(rs256, {{"n", modulus_of(16'384)}})), "");
  // Leading zeros do not make a small key large.
  EXPECT_TRUE(
      refusal(
          jwk_of(rs256,
                 {{"n",
                   json::Value(to_base64url(std::string(128, '\0') + std::string(128, '\xff')))}}))
          .contains("1024 bits"));
  // Even moduli and exponents, and an exponent of one.
  EXPECT_NE(refusal(jwk_of(rs256, {{"n", json::Value(to_base64url(std::string(256, '\xfe')))}})),
            "");
  EXPECT_NE(refusal(jwk_of(rs256, {{"e", json::Value(to_base64url("\x01"))}})), "");
  EXPECT_NE(refusal(jwk_of(rs256, {{"e", json::Value(to_base64url("\x04"))}})), "");
  EXPECT_NE(refusal(jwk_of(rs256, {{"e", json::Value("")}})), "");
  EXPECT_NE(refusal(jwk_of(rs256, {{"e", json::Value()}})), "");
  EXPECT_NE(refusal(jwk_of(rs256, {{"e", json::Value(to_base64url(std::string(9, '\x01')))}})), "");
}

TEST(Jwk, PointsThatAreNotOnTheCurveAreRefused) {
  const auto coordinate = [](std::size_t size, char fill) {
    return json::Value(to_base64url(std::string(size, fill)));
  };
  EXPECT_NE(refusal(jwk_of(es256, {{"x", coordinate(32, '\x01')}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"x", coordinate(32, '\0')}, {"y", coordinate(32, '\0')}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"x", coordinate(32, '\xff')}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"x", coordinate(31, '\x01')}})), "");
  EXPECT_NE(refusal(jwk_of(es256, {{"x", coordinate(33, '\x01')}})), "");
  EXPECT_NE(refusal(jwk_of(es384, {{"x", coordinate(32, '\x01')}})), "");
  EXPECT_NE(refusal(jwk_of(eddsa, {{"x", coordinate(31, '\x01')}})), "");
  EXPECT_NE(refusal(jwk_of(eddsa, {{"x", coordinate(33, '\x01')}})), "");
  EXPECT_NE(refusal(jwk_of(eddsa, {{"x", json::Value("AA==")}})), "");
}

TEST(Jwks, UnusableKeysAreSkippedWithTheirReason) {
  const std::string good = jwks_of({&key_of(es256)});
  const std::string inner = good.substr(good.find('[') + 1, good.rfind(']') - good.find('[') - 1);
  const auto set = parse_jwks(R"({"keys":[{"kty":"oct","kid":"s","k":"AA"},)" + inner +
                              R"(,17,{"kty":"EC"}],"extra":true})");
  ASSERT_TRUE(set) << set.error().detail();
  ASSERT_EQ(set->keys.size(), 1U);
  EXPECT_EQ(set->find(key_of(es256).kid()), set->keys[0]);
  EXPECT_EQ(set->find("s"), nullptr);
  ASSERT_EQ(set->skipped.size(), 3U);
  EXPECT_EQ(set->skipped[0].index, 0U);
  EXPECT_EQ(set->skipped[0].reason, "it is a symmetric key");
  EXPECT_EQ(set->skipped[1].index, 2U);
}

TEST(Jwks, AKidNamesTheFirstOfItsKeys) {
  const SigningKey& first = key_of(es256);
  json::Writer writer;
  writer.begin_object().name("keys").begin_array();
  write_jwk(writer, first.public_key().with_kid("same"));
  write_jwk(writer, other_key_of(es256).public_key().with_kid("same"));
  const auto set = parse_jwks(writer.end_array().end_object().take());
  ASSERT_EQ(set->keys.size(), 1U);
  EXPECT_EQ(set->find("same")->thumbprint(), first.public_key().thumbprint());
  EXPECT_EQ(set->skipped.size(), 1U);
}

TEST(Jwks, KeepsItsBounds) {
  const auto keys = [](std::size_t count) {
    std::string text = R"({"keys":[)";
    for (std::size_t i = 0; i < count; ++i)
      text += i == 0 ? "{}" : ",{}";
    return text + "]}";
  };
  EXPECT_TRUE(parse_jwks(keys(64)));
  EXPECT_EQ(parse_jwks(keys(65)).error().code(), Errc::exhausted);
  EXPECT_EQ(parse_jwks(R"({"keys":[]})" + std::string(jwks_size_max, ' ')).error().code(),
            Errc::exhausted);
}

TEST(Jwks, OtherDocumentsAreRefused) {
  for (const std::string text : {"",
                                 "[]",
                                 "{}",
                                 R"({"keys":{}})",
                                 R"({"keys":null})",
                                 R"({"keys":[],"keys":[]})",
                                 "<html>"}) {
    EXPECT_EQ(parse_jwks(text).error().code(), Errc::invalid) << text;
  }
  const std::string text = jwks_of({&key_of(es256)});
  for (std::size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(parse_jwks(text.substr(0, size)));
}

}  // namespace
}  // namespace meridian::jose
