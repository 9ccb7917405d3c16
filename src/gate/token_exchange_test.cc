// A token becomes one of ours exactly when a binding says so, for one allowed audience, for no
// longer than it lives itself; and a refusal tells no stranger why.

#include "gate/token_exchange.h"

#include "test/identity/gate_world.h"
#include "test/temporary_folder.h"
#include "wire/json/reader.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <unistd.h>

namespace meridian {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::GateWorld;

const std::string jwt_type = "urn:ietf:params:oauth:token-type:jwt";
const std::string access_type = "urn:ietf:params:oauth:token-type:access_token";

class TokenExchangeTest : public ::testing::Test {
 protected:
  TokenExchangeTest() {
    OwnIssuerConfig own;
    own.url = "http://127.0.0.1:8080";
    own.folder = folder_.path();
    auto opened = OwnIssuer::open(world_.loop, *world_.issuers, world_.metrics, own, seconds(30));
    EXPECT_TRUE(opened) << opened.error().detail();
    issuer_ = *std::move(opened);
    set_policy({.bindings = {{.issuer = "corp", .subject = "ci:*", .claims = {}, .new_subject = {}},
                             {.issuer = "corp",
                              .subject = {},
                              .claims = {{"team", "orders"}},
                              .new_subject = "orders-team"}},
                .audiences = {"meridian", "shop"}});
    exchange_.emplace(world_.loop, world_.gate, world_.parts(), *issuer_, policy_);
    world_.pass(seconds(1));
  }

  void set_policy(const ExchangeConfig& config) {
    auto compiled = ExchangePolicy::compile(config, world_.issuer_names);
    ASSERT_TRUE(compiled) << compiled.error().detail();
    policy_.publish(*std::move(compiled));
  }

  static std::string escape_all(std::string_view text) {
    std::string out;
    for (const char c : text) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
      constexpr std::string_view digits = "0123456789ABCDEF";
      if (plain) {
        out += c;
      } else {
        out += '%';
        out += digits[static_cast<unsigned char>(c) >> 4];
        out += digits[static_cast<unsigned char>(c) & 0x0f];
      }
    }
    return out;
  }

  using Fields = std::vector<std::pair<std::string, std::string>>;

  // The fields of a good request, changed by `changes`; an empty value leaves a field out.
  http::Response ask(const std::string& token, const Fields& changes = {}) {
    Fields fields{{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"},
                  {"subject_token", token},
                  {"subject_token_type", jwt_type},
                  {"audience", "shop"}};
    for (const auto& [name, value] : changes) {
      std::erase_if(fields, [&](const auto& field) { return field.first == name; });
      fields.emplace_back(name, value);
    }
    std::string body;
    for (const auto& [name, value] : fields) {
      if (!value.empty()) body += name + "=" + escape_all(value) + "&";
    }
    auto form = http::parse_parameters(body);
    EXPECT_TRUE(form);
    std::optional<http::Response> response;
    world_.scope.spawn([](TokenExchangeTest& test,
                          http::Parameters given,
                          std::optional<http::Response>& out) -> Async<> {
      Peer peer{.address = "10.0.0.7", .port = 1};
      out = co_await test.exchange_->exchange(
          std::move(given),
          {.request = RequestId(), .visit = VisitId(1), .door = DoorName::http, .peer = &peer},
          test.world_.loop.after(seconds(5)));
    }(*this, *std::move(form), response));
    for (int i = 0; i < 1'000 && !response; ++i)
      world_.pass(std::chrono::milliseconds(10));
    EXPECT_TRUE(response);
    return *std::move(response);
  }

  // "400 invalid_request"
  std::string refusal(const std::string& token, const Fields& changes = {}) {
    const http::Response response = ask(token, changes);
    const auto body = json::parse(response.body);
    EXPECT_TRUE(body);
    return std::to_string(response.status) + " " +
           std::string(body->string_at("error").value_or("(no error)"));
  }

  std::string mint(std::string subject) {
    return world_.issuer.mint(world_.loop.wall_now(), std::move(subject));
  }

  GateWorld world_{1};
  TemporaryFolder folder_;
  std::unique_ptr<OwnIssuer> issuer_;
  Published<ExchangePolicy> policy_{std::make_shared<const ExchangePolicy>()};
  std::optional<TokenExchange> exchange_;
};

// The claims of a token, unverified.
json::Value claims_of(std::string_view token) {
  return *json::parse(jose::parse_jws(token)->payload);
}

TEST_F(TokenExchangeTest, ABoundTokenBecomesOneOfOurs) {
  const http::Response response = ask(mint("ci:shop"));
  ASSERT_EQ(response.status, 200) << response.body;
  const json::Value body = *json::parse(response.body);
  EXPECT_EQ(body.string_at("issued_token_type"), access_type);
  EXPECT_EQ(body.string_at("token_type"), "Bearer");
  EXPECT_NEAR(static_cast<double>(*body.find("expires_in")->integer()), 300, 2);
  EXPECT_EQ(body.find("scope"), nullptr);
  const json::Value claims = claims_of(*body.string_at("access_token"));
  EXPECT_EQ(claims.string_at("iss"), "http://127.0.0.1:8080");
  EXPECT_EQ(claims.string_at("sub"), "ci:shop");
  EXPECT_EQ(claims.string_at("aud"), "shop");
  EXPECT_EQ(claims.find("origin")->string_at("iss"), world_.issuer.url());
  EXPECT_EQ(claims.find("origin")->string_at("sub"), "ci:shop");
  EXPECT_EQ(world_.log.lines.back(),
            "exchanged corp ci:shop -> ci:shop for shop, by issuer corp, subject \"ci:*\"");
  // RFC 6749, section 5.1.
  EXPECT_TRUE(std::ranges::any_of(response.headers, [](const http::Header& header) {
    return header.name == "Cache-Control" && header.value == "no-store";
  }));
}

TEST_F(TokenExchangeTest, TheNewTokenIsGoodHereForItsAudience) {
  world_.set_roles(
      {{.name = "builder",
        .bindings = {{.issuer = "meridian", .subject = "ci:*", .claims = {}, .review_by = {}}},
        .postgres = PostgresConfig{.databases = {"shop"}},
        .redis = {}}});
  const auto token = [&](std::string audience) {
    return std::string(*json::parse(ask(mint("ci:shop"), {{"audience", std::move(audience)}}).body)
                            ->string_at("access_token"));
  };
  EXPECT_EQ(world_.refusal({.token = token("meridian")}), "");
  EXPECT_TRUE(world_.refusal({.token = token("shop")}).contains("audience is \"shop\""));
}

TEST_F(TokenExchangeTest, ABindingMayRenameTheSubject) {
  testing::TestClaims claims = world_.issuer.claims(world_.loop.wall_now());
  claims.subject = "bob";
  claims.others = {{"team", json::Value("orders")}};
  const json::Value body = *json::parse(ask(world_.issuer.mint(claims)).body);
  const json::Value minted = claims_of(*body.string_at("access_token"));
  EXPECT_EQ(minted.string_at("sub"), "orders-team");
  EXPECT_EQ(minted.find("origin")->string_at("sub"), "bob");
}

TEST_F(TokenExchangeTest, TheNewTokenDoesNotOutliveTheOld) {
  testing::TestClaims claims = world_.issuer.claims(world_.loop.wall_now());
  claims.subject = "ci:shop";
  claims.expires_at = world_.loop.wall_now() + seconds(60);
  const std::string old = world_.issuer.mint(claims);
  const json::Value body = *json::parse(ask(old).body);
  const json::Value minted = claims_of(*body.string_at("access_token"));
  EXPECT_LE(*minted.find("exp")->integer(), claims_of(old).find("exp")->integer());
  // Within the skew it would still log in, but makes no more tokens.
  world_.pass(seconds(65));
  EXPECT_EQ(refusal(old), "400 invalid_request");
}

TEST_F(TokenExchangeTest, OwnTokensAreExchangedOnlyWhereABindingSaysSo) {
  const std::string own(*json::parse(ask(mint("ci:shop"), {{"audience", "meridian"}}).body)
                             ->string_at("access_token"));
  EXPECT_EQ(refusal(own), "400 invalid_request");
  set_policy(
      {.bindings = {{.issuer = "meridian", .subject = "ci:*", .claims = {}, .new_subject = {}}},
       .audiences = {"shop"}});
  world_.pass(minutes(3));
  const json::Value body = *json::parse(ask(own).body);
  // And do not renew themselves.
  EXPECT_LE(*body.find("expires_in")->integer(), 121);
}

TEST_F(TokenExchangeTest, RequestsThatAreNotWellFormedAreRefusedByTheirCode) {
  const std::string token = mint("ci:shop");
  EXPECT_EQ(refusal(token, {{"grant_type", ""}}), "400 invalid_request");
  EXPECT_EQ(refusal(token, {{"grant_type", "password"}}), "400 unsupported_grant_type");
  EXPECT_EQ(refusal(token, {{"subject_token", ""}}), "400 invalid_request");
  EXPECT_EQ(refusal(token, {{"subject_token_type", ""}}), "400 invalid_request");
  EXPECT_EQ(refusal(token, {{"subject_token_type", "urn:ietf:params:oauth:token-type:saml2"}}),
            "400 invalid_request");
  EXPECT_EQ(
      refusal(token, {{"requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"}}),
      "400 invalid_request");
  EXPECT_EQ(refusal(token, {{"actor_token", token}, {"actor_token_type", jwt_type}}),
            "400 invalid_request");
  EXPECT_EQ(refusal(token, {{"audience", ""}}), "400 invalid_request");
  EXPECT_EQ(refusal(token, {{"audience", "elsewhere"}}), "400 invalid_target");
  EXPECT_EQ(refusal(token, {{"resource", "https://a.example.com"}}), "400 invalid_target");
  EXPECT_TRUE(world_.log.lines.empty());  // None of them is about anybody.
}

TEST_F(TokenExchangeTest, AcceptedTypesAreAnsweredInKind) {
  const std::string token = mint("ci:shop");
  const auto issued = [&](const Fields& changes) {
    return std::string(
        json::parse(ask(token, changes).body)->string_at("issued_token_type").value_or("(none)"));
  };
  EXPECT_EQ(issued({{"requested_token_type", jwt_type}}), jwt_type);
  EXPECT_EQ(issued({{"requested_token_type", access_type}}), access_type);
  EXPECT_EQ(issued({{"subject_token_type", access_type}}), access_type);
  EXPECT_EQ(issued({{"subject_token_type", "urn:ietf:params:oauth:token-type:id_token"}}),
            access_type);
  // A scope that was asked for was not given, and that is said.
  EXPECT_EQ(json::parse(ask(token, {{"scope", "read write"}}).body)->string_at("scope"), "");
}

TEST_F(TokenExchangeTest, TokensThatAreRefusedTellNoStrangerWhy) {
  testing::TestClaims expired = world_.issuer.claims(world_.loop.wall_now() - hours(2));
  expired.subject = "ci:shop";
  testing::TestClaims elsewhere = world_.issuer.claims(world_.loop.wall_now());
  elsewhere.subject = "ci:shop";
  elsewhere.audiences = {"elsewhere"};
  testing::TestClaims stranger = world_.issuer.claims(world_.loop.wall_now());
  stranger.issuer = "https://evil.example.com";
  std::string body;
  for (const std::string& token : {world_.issuer.mint(expired),
                                   world_.issuer.mint(elsewhere),
                                   world_.issuer.mint(stranger),
                                   mint("bob"),
                                   std::string("garbage"),
                                   mint("ci:shop") + "A"}) {
    const http::Response response = ask(token);
    EXPECT_EQ(response.status, 400);
    if (body.empty()) body = response.body;
    EXPECT_EQ(response.body, body);  // All alike.
    EXPECT_TRUE(world_.log.lines.back().starts_with("refused")) << world_.log.lines.back();
  }
  EXPECT_TRUE(body.contains("invalid_request"));
  EXPECT_TRUE(body.contains(RequestId().to_string()));
}

TEST_F(TokenExchangeTest, ARevokedSubjectGetsNoToken) {
  const std::string token = mint("ci:shop");
  Revocation revocation;
  revocation.id = "1";
  revocation.subject = "ci:shop";
  revocation.created_at = world_.loop.wall_now();
  revocation.expires_at = revocation.created_at + hours(2);
  ASSERT_TRUE(world_.revocations.add(revocation, world_.loop.wall_now()));
  EXPECT_EQ(refusal(token), "400 invalid_request");
  EXPECT_EQ(world_.log.lines.back(), "refused denied: access was revoked [ci:shop]");
}

TEST_F(TokenExchangeTest, WhatCannotBeRecordedIsNotIssued) {
  const std::string token = mint("ci:shop");
  for (const std::string kind : {"attempt", "exchanged", "refused"}) {
    world_.log.failing = kind;
    EXPECT_EQ(refusal(kind == "refused" ? "garbage" : token), "503 temporarily_unavailable")
        << kind;
  }
}

TEST_F(TokenExchangeTest, AnAbsentIssuerIsNotTheClientsFault) {
  world_.pass(minutes(1));
  world_.fetcher.stop(world_.issuer.keys_url());
  world_.issuer.rotate(testing::key_of(jose::Algorithm::rs256));
  EXPECT_EQ(refusal(mint("ci:shop")), "503 temporarily_unavailable");
}

TEST_F(TokenExchangeTest, FailuresOfAnAddressAreBounded) {
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(refusal("garbage"), "400 invalid_request");
  EXPECT_EQ(refusal(mint("ci:shop")), "429 temporarily_unavailable");
}

TEST_F(TokenExchangeTest, AConfigurationThatCannotBeMeantIsRefused) {
  const auto refused = [&](ExchangeBindingConfig binding) {
    const auto compiled =
        ExchangePolicy::compile({.bindings = {std::move(binding)}}, world_.issuer_names);
    return compiled ? "" : compiled.error().detail();
  };
  EXPECT_TRUE(refused({.issuer = "other", .subject = "a", .claims = {}, .new_subject = {}})
                  .contains("not configured"));
  EXPECT_TRUE(refused({.issuer = "corp", .subject = "", .claims = {}, .new_subject = {}})
                  .contains("all of issuer"));
  EXPECT_TRUE(refused({.issuer = "corp", .subject = "a*", .claims = {}, .new_subject = {}})
                  .contains("exchange binding 1"));
}

}  // namespace
}  // namespace meridian
