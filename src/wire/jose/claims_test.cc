// Claims are complete and of their types, or the token says nothing.

#include "wire/jose/claims.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::jose {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

std::string refusal(std::string_view payload) {
  const auto claims = parse_claims(payload);
  return claims ? "" : claims.error().detail();
}

// Good claims with this text in the place of exp's value.
std::string with_expiry(std::string_view value) {
  return R"({"iss":"i","sub":"s","aud":"a","exp":)" + std::string(value) + "}";
}

TEST(Claims, AreReadWithTheirTypes) {
  const auto claims =
      parse_claims(R"({"iss":"https://i","sub":"s","aud":["a","b"],"exp":100.5,"nbf":90,"iat":80,)"
                   R"("jti":"t","x":1})");
  ASSERT_TRUE(claims) << claims.error().detail();
  EXPECT_EQ(claims->issuer, "https://i");
  EXPECT_EQ(claims->subject, "s");
  EXPECT_EQ(claims->audiences, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(claims->expires_at, WallTime(microseconds(100'500'000)));
  EXPECT_EQ(claims->not_before, WallTime(seconds(90)));
  EXPECT_EQ(claims->issued_at, WallTime(seconds(80)));
  EXPECT_EQ(claims->token_id, "t");
  EXPECT_EQ(claims->all->find("x")->integer(), 1);
}

TEST(Claims, OptionalOnesMayBeAbsent) {
  const auto claims = parse_claims(R"({"iss":"i","sub":"s","aud":"a","exp":1})");
  ASSERT_TRUE(claims) << claims.error().detail();
  EXPECT_FALSE(claims->issued_at);
  EXPECT_FALSE(claims->not_before);
  EXPECT_EQ(claims->token_id, "");
}

TEST(Claims, RequiredOnesMayNot) {
  EXPECT_EQ(refusal(R"({"sub":"s","aud":"a","exp":1})"), "the claim iss is missing");
  EXPECT_EQ(refusal(R"({"iss":"i","aud":"a","exp":1})"), "the claim sub is missing");
  EXPECT_EQ(refusal(R"({"iss":"i","sub":"s","exp":1})"), "the claim aud is missing");
  EXPECT_EQ(refusal(R"({"iss":"i","sub":"s","aud":"a"})"), "the claim exp is missing");
}

TEST(Claims, OfOtherTypesAreRefused) {
  for (const std::string value : {"null", "1", "true", "[]", "{}", R"(["s"])", R"("")"}) {
    EXPECT_NE(refusal(R"({"iss":)" + value + R"(,"sub":"s","aud":"a","exp":1})"), "") << value;
    EXPECT_NE(refusal(R"({"iss":"i","sub":)" + value + R"(,"aud":"a","exp":1})"), "") << value;
    EXPECT_NE(refusal(R"({"iss":"i","sub":"s","aud":"a","exp":1,"jti":)" + value + "}"), "")
        << value;
  }
  for (const std::string value :
       {"null", "1", "[]", "{}", R"("")", R"([1])", R"(["a",""])", R"([["a"]])"})
    EXPECT_NE(refusal(R"({"iss":"i","sub":"s","exp":1,"aud":)" + value + "}"), "") << value;
}

TEST(Claims, DatesAreFiniteAndInRange) {
  EXPECT_EQ(refusal(with_expiry("0")), "");
  EXPECT_EQ(refusal(with_expiry("9000000000")), "");
  EXPECT_EQ(refusal(with_expiry("1.7e9")), "");
  for (const std::string value : {"-1",
                                  "-0.5",
                                  "9000000001",
                                  "253402300799",
                                  "1e300",
                                  "9223372036854775807",
                                  "99999999999999999999",
                                  "-9223372036854775808",
                                  "1e999",
                                  "NaN",
                                  R"("1700000000")",
                                  "null",
                                  "true",
                                  "[1]",
                                  "{}"}) {
    EXPECT_NE(refusal(with_expiry(value)), "") << value;
  }
  for (const std::string name : {"nbf", "iat"}) {
    for (const std::string value : {"-1", "1e300", R"("1")", "null"}) {
      EXPECT_NE(refusal(R"({"iss":"i","sub":"s","aud":"a","exp":1,")" + name + "\":" + value + "}"),
                "")
          << name << value;
    }
  }
}

TEST(Claims, TextsAreBoundedAndPrintable) {
  const auto subject = [](const std::string& text) {
    return refusal(R"({"iss":"i","sub":")" + text + R"(","aud":"a","exp":1})");
  };
  EXPECT_EQ(subject(std::string(2'048, 's')), "");
  EXPECT_NE(subject(std::string(2'049, 's')), "");
  EXPECT_EQ(subject(R"(caf\u00e9 \u4e2d)"), "");
  for (const std::string text : {R"(a\u0000b)", R"(\n)", R"(\u001b[31m)", R"(\u007f)"})
    EXPECT_NE(subject(text), "") << text;
  std::string many = R"(["a")";
  for (int i = 1; i < 33; ++i)
    many += R"(,"a")";
  EXPECT_NE(refusal(R"({"iss":"i","sub":"s","exp":1,"aud":)" + many + "]}"), "");
}

TEST(Claims, PayloadsThatAreNoObjectAreRefused) {
  for (const std::string payload : {"",
                                    "[]",
                                    "\"x\"",
                                    "{",
                                    R"({"iss":"i","sub":"s","aud":"a","exp":1}x)",
                                    R"({"iss":"i","sub":"s","aud":"a","exp":1,"exp":2})",
                                    R"({"iss":"i","sub":"s","sub":"admin","aud":"a","exp":1})"}) {
    EXPECT_NE(refusal(payload), "") << payload;
  }
}

}  // namespace
}  // namespace meridian::jose
