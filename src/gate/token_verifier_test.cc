// Only a token that is genuine, for now and for us is believed, and only as long as it and its key
// are good; every refusal names its rule.

#include "gate/token_verifier.h"

#include "base/hex.h"
#include "base/metrics.h"
#include "test/identity/issuer.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

using jose::Algorithm;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::header_of;
using testing::key_of;
using testing::other_key_of;
using testing::TestClaims;
using testing::TestIssuer;

constexpr WallTime now = std::chrono::sys_days(std::chrono::year(2026) / 6 / 1);

class TokenVerifierTest : public ::testing::Test {
 protected:
  void SetUp() override { trust({&key_of(Algorithm::es256), &key_of(Algorithm::rs256)}); }

  // Replaces the keys of "corp". A key that was there stays the same object.
  void trust(const std::vector<const jose::SigningKey*>& keys) {
    auto set = std::make_shared<jose::KeySet>();
    for (const jose::SigningKey* const key : keys) {
      auto known = corp_keys_ ? corp_keys_->find(key->kid()) : nullptr;
      set->keys.push_back(known ? known
                                : std::make_shared<const jose::PublicKey>(key->public_key()));
    }
    corp_keys_ = set;
    publish();
  }

  void publish() {
    auto other_set = std::make_shared<jose::KeySet>();
    other_set->keys.push_back(
        std::make_shared<const jose::PublicKey>(other_key_of(Algorithm::es256).public_key()));
    auto trust = std::make_shared<Trust>();
    trust->issuers = {{.name = "corp",
                       .url = issuer_.url(),
                       .audiences = {"meridian", "shop"},
                       .lifetime_max = hours(1),
                       .keys = corp_keys_,
                       .keys_fetched_at = now,
                       .keys_trusted_until = now + hours(24)},
                      {.name = "other",
                       .url = "https://other.example.com",
                       .audiences = {"meridian"},
                       .lifetime_max = hours(1),
                       .keys = other_set,
                       .keys_fetched_at = now,
                       .keys_trusted_until = now + hours(24)}};
    trust_.publish(std::move(trust));
  }

  // The error's text, or "" for success.
  std::string refusal(std::string_view token, WallTime at = now) {
    const auto verdict = verifier_.verify(token, at);
    if (!verdict.token) {
      EXPECT_FALSE(verdict.token.error().detail().contains(token.substr(0, 12)));
      return verdict.token.error().detail();
    }
    return "";
  }
  std::string refusal(const TestClaims& claims, WallTime at = now) {
    return refusal(issuer_.mint(claims), at);
  }
  TestClaims good() { return issuer_.claims(now); }
  std::uint64_t count(std::string_view outcome) {
    return metrics_.total("meridian_tokens_total", {{"outcome", std::string(outcome)}});
  }

  Metrics metrics_;
  TestIssuer issuer_;
  std::shared_ptr<const jose::KeySet> corp_keys_;
  Published<Trust> trust_{std::make_shared<const Trust>()};
  TokenVerifier verifier_{trust_, {.clock_skew = seconds(30), .tokens_cached_max = 4}, metrics_};
};

TEST_F(TokenVerifierTest, AGoodTokenSaysWhoItIs) {
  TestClaims claims = good();
  claims.token_id = "id-1";
  claims.others = {{"team", json::Value("orders")}};
  const auto verdict = verifier_.verify(issuer_.mint(claims), now);
  ASSERT_TRUE(verdict.token) << verdict.token.error().detail();
  const VerifiedToken& token = **verdict.token;
  EXPECT_EQ(token.issuer, "corp");
  EXPECT_EQ(token.issuer_url, issuer_.url());
  EXPECT_EQ(token.subject, "alice");
  EXPECT_EQ(token.token_id, "id-1");
  EXPECT_EQ(token.issued_at, now);
  EXPECT_EQ(token.expires_at, now + minutes(5));
  EXPECT_EQ(token.valid_until, now + minutes(5) + seconds(30));
  EXPECT_EQ(token.claims->string_at("team"), "orders");
}

TEST_F(TokenVerifierTest, WithoutIdATokenIsNamedByItsHash) {
  const std::string token = issuer_.mint(good());
  EXPECT_EQ((*verifier_.verify(token, now).token)->token_id, to_hex(jose::sha256(token)));
}

TEST_F(TokenVerifierTest, ExpiryIsKeptWithTheSkew) {
  const std::string token = issuer_.mint(good());
  const WallTime end = now + minutes(5) + seconds(30);
  EXPECT_EQ(refusal(token, end - microseconds(1)), "");
  EXPECT_EQ(refusal(token, end), "the token expired 30 s ago");
  EXPECT_EQ(refusal(token, end + seconds(12)), "the token expired 42 s ago");
  // What was remembered is judged by the clock as well.
  EXPECT_EQ(refusal(token, now), "");
  EXPECT_EQ(refusal(token, end), "the token expired 30 s ago");
}

TEST_F(TokenVerifierTest, NotBeforeAndIssueAreKeptWithTheSkew) {
  TestClaims claims = good();
  claims.not_before = now + seconds(30);
  EXPECT_EQ(refusal(claims), "");
  claims.not_before = now + seconds(31);
  EXPECT_EQ(refusal(claims), "the token is not valid before 31 s from now (nbf)");
  claims = good();
  claims.issued_at = now + seconds(30);
  EXPECT_EQ(refusal(claims), "");
  claims.issued_at = now + seconds(31);
  EXPECT_EQ(refusal(claims), "the token was issued 31 s in the future (iat)");
}

TEST_F(TokenVerifierTest, LifetimesAreCapped) {
  TestClaims claims = good();
  claims.expires_at = now + hours(1);
  EXPECT_EQ(refusal(claims), "");
  claims.expires_at = now + hours(1) + seconds(1);
  EXPECT_TRUE(refusal(claims).contains("this issuer's tokens may live 1 h"));
  // Also when most of it is over, and when it does not say when it began.
  claims.issued_at = now - hours(2);
  claims.expires_at = now + seconds(10);
  EXPECT_TRUE(refusal(claims).contains("may live"));
  claims.issued_at = std::nullopt;
  EXPECT_EQ(refusal(claims), "");
  claims.expires_at = now + hours(1) + seconds(30);
  EXPECT_EQ(refusal(claims), "");
  claims.expires_at = now + hours(1) + seconds(31);
  EXPECT_TRUE(refusal(claims).contains("may live"));
  claims.expires_at = WallTime(seconds(9'000'000'000));
  EXPECT_TRUE(refusal(claims).contains("may live"));
  claims.expires_at = std::chrono::sys_days(std::chrono::year(9999) / 12 / 31);
  EXPECT_TRUE(refusal(claims).contains("the claim exp is not a date"));
  claims = good();
  claims.issued_at = now + seconds(20);
  claims.expires_at = now + seconds(20);
  EXPECT_EQ(refusal(claims), "the token expires before it was issued");
}

TEST_F(TokenVerifierTest, TheAudienceMustBeOurs) {
  TestClaims claims = good();
  claims.audiences = {"x"};
  EXPECT_EQ(refusal(claims),
            "the token's audience is \"x\"; this node accepts \"meridian\", \"shop\"");
  claims.audiences = {"x", "y"};
  EXPECT_TRUE(refusal(claims).contains("\"x\", \"y\""));
  claims.audiences = {"x", "shop"};
  EXPECT_EQ(refusal(claims), "");
  for (const std::string almost : {"Meridian", "meridian ", "meridian2", "meridia"}) {
    claims.audiences = {almost};
    EXPECT_NE(refusal(claims), "") << almost;
  }
}

TEST_F(TokenVerifierTest, EveryRequiredClaimIsMissed) {
  TestClaims claims = good();
  claims.issuer.clear();
  EXPECT_EQ(refusal(claims), "the claim iss is missing");
  claims = good();
  claims.subject.clear();
  EXPECT_EQ(refusal(claims), "the claim sub is missing");
  claims = good();
  claims.audiences.clear();
  EXPECT_EQ(refusal(claims), "the claim aud is missing");
  claims = good();
  claims.expires_at = std::nullopt;
  EXPECT_EQ(refusal(claims), "the claim exp is missing");
}

TEST_F(TokenVerifierTest, AnUnknownIssuerIsRefusedWithoutAskingForKeys) {
  for (const std::string url : {"https://evil.example.com",
                                "https://login.example.com/",
                                "http://login.example.com",
                                "HTTPS://login.example.com",
                                "corp"}) {
    TestClaims claims = good();
    claims.issuer = url;
    const auto verdict = verifier_.verify(issuer_.mint(claims), now);
    ASSERT_FALSE(verdict.token);
    EXPECT_EQ(verdict.token.error().code(), Errc::unauthenticated);
    EXPECT_TRUE(verdict.token.error().detail().contains("is not trusted here"));
    EXPECT_FALSE(verdict.missing_key);
  }
}

TEST_F(TokenVerifierTest, AKeyOfAnotherIssuerIsNoKeyOfThisOne) {
  // Signed by "other", claimed to be from "corp".
  const std::string forged = jose::sign_jws(good().to_json(), other_key_of(Algorithm::es256));
  const auto verdict = verifier_.verify(forged, now);
  ASSERT_FALSE(verdict.token);
  ASSERT_TRUE(verdict.missing_key);
  EXPECT_EQ(verdict.missing_key->issuer_url, issuer_.url());
  EXPECT_EQ(verdict.missing_key->kid, other_key_of(Algorithm::es256).kid());
  // Signed by "other" under the kid of a key of "corp".
  EXPECT_EQ(
      refusal(testing::sign(
          header_of(key_of(Algorithm::es256)), good().to_json(), other_key_of(Algorithm::es256))),
      "the token's signature is wrong");
  // And as itself it is good.
  TestClaims claims = good();
  claims.issuer = "https://other.example.com";
  EXPECT_EQ(refusal(jose::sign_jws(claims.to_json(), other_key_of(Algorithm::es256))), "");
}

TEST_F(TokenVerifierTest, AlgorithmsAreNotConfused) {
  const jose::SigningKey& rsa = key_of(Algorithm::rs256);
  const std::string payload = good().to_json();
  const auto header = [&](std::string_view algorithm) {
    return R"({"alg":")" + std::string(algorithm) + R"(","kid":")" + rsa.kid() + R"("})";
  };
  EXPECT_EQ(refusal(testing::sign(header("RS256"), payload, rsa)), "");
  for (const std::string& secret : {testing::public_pem_of(rsa), std::string(), rsa.kid()}) {
    EXPECT_TRUE(refusal(testing::sign_hs256(header("HS256"), payload, secret))
                    .contains("\"HS256\" is not accepted"));
    EXPECT_EQ(refusal(testing::sign_hs256(header("RS256"), payload, secret)),
              "the token's signature is wrong");
  }
  EXPECT_TRUE(
      refusal(testing::unsigned_token(header("none"), payload)).contains("is not accepted"));
  EXPECT_EQ(refusal(testing::unsigned_token(header("RS256"), payload)),
            "the token's signature is wrong");
  EXPECT_EQ(refusal(testing::sign(header("RS512"), payload, rsa)),
            "the token's algorithm is RS512; its key is for RS256 alone");
  EXPECT_EQ(refusal(testing::sign(header("PS256"), payload, rsa)),
            "the token's algorithm is PS256; its key is for RS256 alone");
  EXPECT_EQ(refusal(testing::sign(header("ES256"), payload, key_of(Algorithm::es256))),
            "the token's algorithm is ES256; its key is for RS256 alone");
}

TEST_F(TokenVerifierTest, StrangePayloadsAreRefused) {
  const jose::SigningKey& key = key_of(Algorithm::es256);
  const std::string good_claims = good().to_json();
  const std::string inner = good_claims.substr(1, good_claims.size() - 2);
  for (const std::string& payload : {"{" + inner + R"(,"sub":"root"})",
                                     "{" + inner + R"(,"\u0073ub":"root"})",
                                     good_claims + "x",
                                     "[" + good_claims + "]",
                                     "\xef\xbb\xbf" + good_claims,
                                     good_claims + std::string(1, '\0'),
                                     std::string("null"),
                                     std::string()}) {
    EXPECT_NE(refusal(testing::sign(header_of(key), payload, key)), "") << payload;
  }
  for (const std::string value : {"1e400",
                                  "-1",
                                  "99999999999999999999999",
                                  "\"1900000000\"",
                                  "null",
                                  "true",
                                  "[1900000000]",
                                  "1e308"}) {
    TestClaims claims = good();
    claims.expires_at = std::nullopt;
    std::string payload = claims.to_json();
    payload.replace(payload.size() - 1, 1, ",\"exp\":" + value + "}");
    EXPECT_NE(refusal(testing::sign(header_of(key), payload, key)), "") << value;
  }
}

TEST_F(TokenVerifierTest, GarbageIsRefused) {
  for (const std::string token : {"", ".", "..", "...", "a.b.c", "password", "e30.e30.e30"})
    EXPECT_NE(verifier_.verify(token, now).token.error().detail(), "") << token;
  const auto verdict = verifier_.verify(std::string(jose::token_size_max + 1, 'A'), now);
  EXPECT_EQ(verdict.token.error().code(), Errc::exhausted);
}

TEST_F(TokenVerifierTest, OnlyATokenThatCouldBeGoodAsksForAKey) {
  const jose::SigningKey& unknown = key_of(Algorithm::eddsa);
  TestClaims claims = good();
  EXPECT_TRUE(verifier_.verify(jose::sign_jws(claims.to_json(), unknown), now).missing_key);
  claims.audiences = {"x"};
  EXPECT_FALSE(verifier_.verify(jose::sign_jws(claims.to_json(), unknown), now).missing_key);
  claims = good();
  claims.expires_at = now - hours(1);
  claims.issued_at = now - hours(2);
  EXPECT_FALSE(verifier_.verify(jose::sign_jws(claims.to_json(), unknown), now).missing_key);
}

TEST_F(TokenVerifierTest, KeysThatAreTooOldAreNotBelieved) {
  const WallTime later = now + hours(24);
  const auto verdict = verifier_.verify(issuer_.mint(later), later);
  ASSERT_FALSE(verdict.token);
  EXPECT_EQ(verdict.token.error().code(), Errc::unavailable);
  EXPECT_EQ(verdict.token.error().detail(),
            "the keys of issuer corp were last fetched 1 d ago, which is longer than keys_age_max");
  EXPECT_EQ(refusal(issuer_.mint(later - seconds(1)), later - seconds(1)), "");
}

TEST_F(TokenVerifierTest, ATokenIsVerifiedOnce) {
  const std::string token = issuer_.mint(good());
  const auto first = verifier_.verify(token, now);
  const auto second = verifier_.verify(token, now + seconds(1));
  EXPECT_EQ(*first.token, *second.token);
  EXPECT_EQ(count("verified"), 1U);
  EXPECT_EQ(count("remembered"), 1U);
  // What was remembered is the token, not its beginning.
  EXPECT_EQ(refusal(token + "A"), "the token's signature is wrong");
}

TEST_F(TokenVerifierTest, FailuresAreNotRemembered) {
  const jose::SigningKey& fresh = key_of(Algorithm::eddsa);
  const std::string token = jose::sign_jws(good().to_json(), fresh);
  EXPECT_NE(refusal(token), "");
  EXPECT_EQ(verifier_.cached_count(), 0U);
  trust({&key_of(Algorithm::es256), &fresh});
  EXPECT_EQ(refusal(token), "");
}

TEST_F(TokenVerifierTest, ATokenIsForgottenWithItsKey) {
  const std::string token = issuer_.mint(good());
  EXPECT_EQ(refusal(token), "");
  // Other keys may come and go.
  trust({&key_of(Algorithm::eddsa), &key_of(Algorithm::es256)});
  EXPECT_EQ(refusal(token), "");
  EXPECT_EQ(count("remembered"), 1U);
  trust({&key_of(Algorithm::eddsa)});
  EXPECT_TRUE(refusal(token).contains("is not among the 1 keys"));
  EXPECT_EQ(verifier_.cached_count(), 0U);
  // So is one whose issuer is not trusted any more.
  trust({&key_of(Algorithm::es256)});
  EXPECT_EQ(refusal(token), "");
  trust_.publish(std::make_shared<const Trust>());
  EXPECT_TRUE(refusal(token).contains("is not trusted here"));
}

TEST_F(TokenVerifierTest, AnotherKeyUnderTheSameKidForgetsTheToken) {
  const std::string token = issuer_.mint(good());
  EXPECT_EQ(refusal(token), "");
  auto set = std::make_shared<jose::KeySet>();
  set->keys.push_back(std::make_shared<const jose::PublicKey>(
      other_key_of(Algorithm::es256).public_key().with_kid(issuer_.key().kid())));
  corp_keys_ = set;
  publish();
  EXPECT_EQ(refusal(token), "the token's signature is wrong");
}

TEST_F(TokenVerifierTest, RemembersABoundedNumber) {
  std::vector<std::string> tokens;
  for (int i = 0; i < 5; ++i)
    tokens.push_back(issuer_.mint(now, "user" + std::to_string(i)));
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(refusal(tokens[static_cast<std::size_t>(i)]), "");
  EXPECT_EQ(refusal(tokens[0]), "");  // Used again, so that tokens[1] is the oldest.
  EXPECT_EQ(refusal(tokens[4]), "");
  EXPECT_EQ(verifier_.cached_count(), 4U);
  EXPECT_EQ(count("remembered"), 1U);
  EXPECT_EQ(refusal(tokens[0]), "");
  EXPECT_EQ(count("remembered"), 2U);
  EXPECT_EQ(refusal(tokens[1]), "");
  EXPECT_EQ(count("remembered"), 2U);
}

}  // namespace
}  // namespace meridian
