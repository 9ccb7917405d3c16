// Keys come from the issuer that was configured, over a connection that nobody can change.

#include "gate/discovery.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

bool accepted(std::string_view url, bool insecure = false) {
  return check_issuer_url(url, insecure).has_value();
}

TEST(IssuerUrl, IsHttpsOrOnTheLoopbackInterface) {
  EXPECT_TRUE(accepted("https://login.example.com"));
  EXPECT_TRUE(accepted("https://login.example.com:8443/realms/a"));
  EXPECT_TRUE(accepted("http://127.0.0.1:8080"));
  EXPECT_TRUE(accepted("http://localhost:8080/x"));
  EXPECT_TRUE(accepted("http://[::1]:8080"));
  EXPECT_TRUE(accepted("http://issuer.internal", true));
  for (const std::string url : {"http://login.example.com",
                                "http://127.0.0.1.example.com",
                                "http://127.evil.example.com",
                                "http://localhost.example.com",
                                "http://10.0.0.1",
                                "http://[::2]"}) {
    EXPECT_FALSE(accepted(url)) << url;
  }
  for (const std::string url : {"",
                                "login.example.com",
                                "ftp://a",
                                "file:///etc/passwd",
                                "https://",
                                "https://user@a",
                                "https://a\\@b",
                                "https://a#f",
                                "https://a?q",
                                "https://a b",
                                "https://a\n",
                                "https:///x",
                                "HTTPS://a",
                                "https://:1"}) {
    EXPECT_FALSE(accepted(url, true)) << url;
  }
  EXPECT_FALSE(accepted("https://a/" + std::string(3'000, 'x')));
}

TEST(DiscoveryUrl, LiesBelowTheIssuer) {
  EXPECT_EQ(discovery_url_of("https://a"), "https://a/.well-known/openid-configuration");
  EXPECT_EQ(discovery_url_of("https://a/b/"), "https://a/b/.well-known/openid-configuration");
}

std::string document(std::string_view issuer, std::string_view keys) {
  return R"({"issuer":")" + std::string(issuer) + R"(","jwks_uri":")" + std::string(keys) + R"("})";
}

TEST(Discovery, IsOfTheVeryIssuer) {
  const std::string issuer = "https://a.example.com";
  EXPECT_EQ(read_discovery(document(issuer, "https://keys.example.com/1"), issuer, false),
            "https://keys.example.com/1");
  for (const std::string other :
       {"https://b.example.com", "https://a.example.com/", "https://A.example.com", ""}) {
    EXPECT_FALSE(read_discovery(document(other, "https://a.example.com/k"), issuer, false))
        << other;
  }
}

TEST(Discovery, KeysAreNotFetchedInClear) {
  const auto read = [](std::string_view issuer, std::string_view keys, bool insecure = false) {
    return read_discovery(document(issuer, keys), issuer, insecure).has_value();
  };
  EXPECT_FALSE(read("https://a.example.com", "http://a.example.com/keys"));
  EXPECT_FALSE(read("https://a.example.com", "http://127.0.0.1/keys"));
  EXPECT_TRUE(read("http://127.0.0.1:1", "http://127.0.0.1:2/keys"));
  EXPECT_TRUE(read("http://127.0.0.1:1", "https://a.example.com/keys"));
  EXPECT_FALSE(read("http://127.0.0.1:1", "http://a.example.com/keys"));
  EXPECT_TRUE(read("http://a.internal", "http://a.internal/keys", true));
  for (const std::string keys : {"", "file:///etc/shadow", "https://u@a/k", "keys", "//a/k"})
    EXPECT_FALSE(read("http://a.internal", keys, true)) << keys;
}

TEST(Discovery, OtherDocumentsAreRefused) {
  for (const std::string text :
       {"",
        "{}",
        "[]",
        "<html>",
        R"({"issuer":"https://a"})",
        R"({"jwks_uri":"https://a/k"})",
        R"({"issuer":1,"jwks_uri":2})",
        R"({"issuer":"https://a","issuer":"https://a","jwks_uri":"https://a/k"})"}) {
    EXPECT_FALSE(read_discovery(text, "https://a", false)) << text;
  }
  EXPECT_FALSE(read_discovery(
      document("https://a", "https://a/k") + std::string(70'000, ' '), "https://a", false));
}

}  // namespace
}  // namespace meridian
