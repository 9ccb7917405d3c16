// A token is accepted only when it is in the one canonical form, was signed with the key that its
// kid names, and asks for the one algorithm of that key.

#include "wire/jose/jws.h"

#include "test/identity/tokens.h"
#include "wire/jose/base64url.h"
#include "wire/jose/jwks.h"
#include "wire/json/reader.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::jose {
namespace {

using enum Algorithm;
using testing::header_of;
using testing::key_of;
using testing::other_key_of;
using testing::sign;
using testing::sign_hs256;
using testing::unsigned_token;

constexpr Algorithm all_algorithms[] = {rs256, rs384, rs512, ps256, es256, es384, eddsa};
constexpr std::string_view payload = R"({"sub":"alice"})";

// The error's text, or "" for success.
std::string refusal(std::string_view token, const PublicKey& key) {
  const auto jws = parse_jws(token);
  if (!jws) return jws.error().detail();
  const auto verified = verify(*jws, key);
  return verified ? "" : verified.error().detail();
}

std::string parse_refusal(std::string_view token) {
  const auto jws = parse_jws(token);
  return jws ? "" : jws.error().detail();
}

// A token with this header and a good ES256 signature.
std::string with_header(std::string_view header) {
  return sign(header, payload, key_of(es256));
}

TEST(Jws, EveryAlgorithmSignsAndVerifies) {
  for (const Algorithm algorithm : all_algorithms) {
    const SigningKey& key = key_of(algorithm);
    const std::string token = sign_jws(payload, key);
    const auto jws = parse_jws(token);
    ASSERT_TRUE(jws) << jws.error().detail();
    EXPECT_EQ(jws->algorithm, algorithm);
    EXPECT_EQ(jws->kid, key.kid());
    EXPECT_EQ(jws->payload, payload);
    EXPECT_EQ(refusal(token, key.public_key()), "") << to_string(algorithm);
    EXPECT_EQ(refusal(token, other_key_of(algorithm).public_key()),
              "the token's signature is wrong");
  }
}

TEST(Jws, TheExamplesOfTheSpecificationsVerify) {
  // RFC 7515, appendix A.3 (ES256), under the kid that the example lacks: only the key is checked.
  const auto raw = from_base64url(
      "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
  const std::string input =
      "eyJhbGciOiJFUzI1NiJ9."
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
      "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
  const auto key = parse_jwk(*json::parse(R"({"kty":"EC","crv":"P-256","kid":"a3",
      "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
      "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})"));
  ASSERT_TRUE(key) << key.error().detail();
  EXPECT_TRUE(key->verify(input, *raw));
  EXPECT_FALSE(key->verify(input + "x", *raw));
}

TEST(Jws, AnyOtherByteAnywhereIsRefused) {
  for (const Algorithm algorithm : {rs256, es256, eddsa}) {
    const SigningKey& key = key_of(algorithm);
    const std::string token = sign_jws(payload, key);
    for (std::size_t i = 0; i < token.size(); ++i) {
      std::string changed = token;
      changed[i] = changed[i] == 'A' ? 'B' : 'A';
      EXPECT_NE(refusal(changed, key.public_key()), "") << i;
    }
  }
}

TEST(Jws, TruncatedAndExtendedTokensAreRefused) {
  const SigningKey& key = key_of(es256);
  const std::string token = sign_jws(payload, key);
  for (std::size_t size = 0; size < token.size(); ++size)
    EXPECT_NE(refusal(token.substr(0, size), key.public_key()), "") << size;
  for (const std::string end : {".", "A", "AAAA", "=", "==", "\n", " ", ".x", ".."})
    EXPECT_NE(refusal(token + end, key.public_key()), "") << end;
  EXPECT_NE(refusal(" " + token, key.public_key()), "");
  EXPECT_NE(refusal(std::string(1, '\0') + token, key.public_key()), "");
  EXPECT_NE(refusal(token + std::string(1, '\0'), key.public_key()), "");
}

TEST(Jws, UnsignedTokensAreRefused) {
  for (const std::string name : {"none", "None", "NONE", "nOnE", ""}) {
    const std::string header = R"({"alg":")" + name + R"(","kid":"1"})";
    EXPECT_TRUE(parse_refusal(unsigned_token(header, payload)).contains("is not accepted"));
  }
  // An accepted algorithm with an empty signature is no better.
  for (const Algorithm algorithm : all_algorithms) {
    const SigningKey& key = key_of(algorithm);
    EXPECT_EQ(refusal(unsigned_token(header_of(key), payload), key.public_key()),
              "the token's signature is wrong");
  }
}

TEST(Jws, HmacIsRefusedWhateverTheSecret) {
  for (const Algorithm algorithm : {rs256, es256, eddsa}) {
    const SigningKey& key = key_of(algorithm);
    const std::string header = R"({"alg":"HS256","kid":")" + key.kid() + R"("})";
    for (const std::string& secret : {std::string(), testing::public_pem_of(key), key.kid()}) {
      EXPECT_TRUE(refusal(sign_hs256(header, payload, secret), key.public_key())
                      .contains("\"HS256\" is not accepted"));
      // The MAC under an accepted name does not pass for a signature either.
      EXPECT_EQ(refusal(sign_hs256(header_of(key), payload, secret), key.public_key()),
                "the token's signature is wrong");
    }
  }
}

TEST(Jws, TheKeyAndNotTheHeaderChoosesTheAlgorithm) {
  for (const Algorithm claimed : all_algorithms) {
    for (const Algorithm actual : all_algorithms) {
      if (claimed == actual) continue;
      const SigningKey& key = key_of(actual);
      const std::string header =
          R"({"alg":")" + std::string(to_string(claimed)) + R"(","kid":")" + key.kid() + R"("})";
      // Signed as the key does, and as the header says where the key could.
      EXPECT_TRUE(refusal(sign(header, payload, key), key.public_key()).contains("is for"));
    }
  }
  // An RSA key that could make the signature of the other RSA algorithm is still bound to its own.
  const auto same_key = SigningKey::from_pem(key_of(rs256).to_pem().reveal(), rs512);
  ASSERT_TRUE(same_key);
  const std::string token = sign_jws(payload, *same_key);
  EXPECT_EQ(refusal(token, same_key->public_key()), "");
  EXPECT_EQ(refusal(token, key_of(rs256).public_key()),
            "the token's algorithm is RS512; its key is for RS256 alone");
}

TEST(Jws, HeadersThatBringOrPointToKeysAreRefused) {
  for (const std::string member : {R"("jku":"https://evil.example.com")",
                                   R"("jwk":{"kty":"EC"})",
                                   R"("x5u":"https://evil.example.com")",
                                   R"("x5c":["MII"])",
                                   R"("crit":["exp"])",
                                   R"("crit":[])",
                                   R"("b64":false)",
                                   R"("jku":null)"}) {
    const std::string refused =
        parse_refusal(with_header(R"({"alg":"ES256","kid":"1",)" + member + "}"));
    EXPECT_TRUE(refused.contains("which is refused")) << member << refused;
  }
  // Thumbprints of certificates only name a key.
  EXPECT_EQ(parse_refusal(with_header(R"({"alg":"ES256","kid":"1","x5t":"abc"})")), "");
}

TEST(Jws, HeadersThatAreNotPlainObjectsAreRefused) {
  for (const std::string header : {R"({"alg":"ES256","kid":"1","alg":"ES256"})",
                                   R"({"alg":"ES256","kid":"1","kid":"2"})",
                                   R"({"alg":"ES256","\u0061lg":"none","kid":"1"})",
                                   R"({"kid":"1"})",
                                   R"({"alg":"ES256"})",
                                   R"({"alg":"ES256","kid":""})",
                                   R"({"alg":"ES256","kid":1})",
                                   R"({"alg":["ES256"],"kid":"1"})",
                                   R"({"alg":null,"kid":"1"})",
                                   R"(["alg","ES256"])",
                                   R"("ES256")",
                                   R"({"alg":"ES256","kid":"1"} )"
                                   "x",
                                   "\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"1\"}",
                                   ""}) {
    EXPECT_NE(parse_refusal(with_header(header)), "") << header;
  }
  EXPECT_NE(parse_refusal(with_header(R"({"alg":"ES256","kid":")" + std::string(513, 'k') + "\"}")),
            "");
}

TEST(Jws, OtherTypesOfTokensAreNoIdentity) {
  for (const std::string type : {"JWT", "jwt", "at+jwt", "application/at+jwt", "JOSE"}) {
    EXPECT_EQ(parse_refusal(with_header(R"({"alg":"ES256","kid":"1","typ":")" + type + "\"}")), "")
        << type;
  }
  for (const std::string type : {"logout+jwt", "dpop+jwt", "secevent+jwt", "", "application/"}) {
    EXPECT_TRUE(parse_refusal(with_header(R"({"alg":"ES256","kid":"1","typ":")" + type + "\"}"))
                    .contains("type is"))
        << type;
  }
}

TEST(Jws, OtherNumbersOfPartsAreRefused) {
  const std::string token = sign_jws(payload, key_of(es256));
  EXPECT_NE(parse_refusal(""), "");
  EXPECT_NE(parse_refusal("a"), "");
  EXPECT_NE(parse_refusal("a.b"), "");
  EXPECT_NE(parse_refusal("...."), "");
  EXPECT_NE(parse_refusal(token + "." + token), "");
  // Five parts are an encrypted token.
  EXPECT_TRUE(parse_refusal(token + ".a.b").contains("three parts"));
}

TEST(Jws, PaddingAndWhiteSpaceAreRefusedInEachPart) {
  const std::string token = sign_jws(R"({"sub":"alice1"})", key_of(es256));
  const std::size_t first = token.find('.');
  const std::size_t second = token.find('.', first + 1);
  for (const std::size_t at : {first, second, token.size()}) {
    for (const std::string inserted : {"=", "==", " ", "\n", "\r\n", "\t"}) {
      std::string changed = token;
      changed.insert(at, inserted);
      EXPECT_NE(parse_refusal(changed), "") << at << inserted;
    }
  }
}

TEST(Jws, ATokenAboveTheBoundIsRefusedUnread) {
  std::string token(token_size_max + 1, 'A');
  const auto jws = parse_jws(token);
  ASSERT_FALSE(jws);
  EXPECT_EQ(jws.error().code(), Errc::exhausted);
  const std::string big = sign_jws(std::string(12'000, ' '), key_of(es256));
  ASSERT_LE(big.size(), token_size_max);
  EXPECT_EQ(refusal(big, key_of(es256).public_key()), "");
}

TEST(Jws, EcdsaSignaturesAreOfExactSize) {
  const SigningKey& key = key_of(es256);
  const std::string message = "m";
  const std::string signature = key.sign(message);
  ASSERT_EQ(signature.size(), 64U);
  EXPECT_TRUE(key.public_key().verify(message, signature));
  for (std::size_t size = 0; size < 64; ++size)
    EXPECT_FALSE(key.public_key().verify(message, signature.substr(0, size))) << size;
  EXPECT_FALSE(key.public_key().verify(message, signature + '\0'));
  EXPECT_FALSE(key.public_key().verify(message, std::string(1, '\0') + signature));
  EXPECT_FALSE(key.public_key().verify(message, std::string(64, '\0')));
  EXPECT_FALSE(key.public_key().verify(message, std::string(64, '\xff')));
  EXPECT_FALSE(key.public_key().verify(message, std::string(32, '\0') + signature.substr(32)));
}

TEST(Jws, ErrorsDoNotRepeatTheToken) {
  const std::string token = with_header(R"({"alg":"ES256","kid":"secret-kid","crit":["x"]})");
  const std::string text = parse_refusal(token);
  EXPECT_FALSE(text.contains("secret-kid"));
  EXPECT_FALSE(text.contains(token.substr(0, 10)));
}

TEST(SigningKeys, SurviveBeingWrittenAndRead) {
  for (const Algorithm algorithm : {rs256, es256, es384, eddsa}) {
    const SigningKey& key = key_of(algorithm);
    const Secret pem = key.to_pem();
    const auto again = SigningKey::from_pem(pem.reveal(), algorithm);
    ASSERT_TRUE(again) << again.error().detail();
    EXPECT_EQ(again->kid(), key.kid());
    EXPECT_TRUE(key.public_key().verify("m", again->sign("m")));
  }
}

TEST(SigningKeys, OfAnotherTypeOrBrokenAreRefused) {
  const std::string pem(key_of(es256).to_pem().reveal());
  EXPECT_FALSE(SigningKey::from_pem(pem, es384));
  EXPECT_FALSE(SigningKey::from_pem(pem, eddsa));
  EXPECT_FALSE(SigningKey::from_pem(pem, rs256));
  EXPECT_FALSE(SigningKey::from_pem("", es256));
  EXPECT_FALSE(SigningKey::from_pem(pem.substr(0, pem.size() / 2), es256));
  EXPECT_FALSE(SigningKey::from_pem(testing::public_pem_of(key_of(es256)), es256));
}

}  // namespace
}  // namespace meridian::jose
