// Keys are fetched in the background, one fetch at a time and never too often; they outlive their
// issuer's absence and lies, but not for ever; a new key is found when a token needs it.

#include "gate/issuers.h"

#include "base/metrics.h"
#include "gate/token_verifier.h"
#include "runtime/sim/sim_loop.h"
#include "test/identity/issuer.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace meridian {
namespace {

using jose::Algorithm;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::key_of;
using testing::TestIssuer;

class IssuersTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override {
    issuer_.serve(fetcher_);
    auto made = Issuers::make(loop_,
                              fetcher_,
                              metrics_,
                              std::vector<IssuerConfig>{{.name = "corp", .url = issuer_.url()}},
                              {});
    ASSERT_TRUE(made) << made.error().detail();
    issuers_ = *std::move(made);
    verifier_.emplace(issuers_->published(),
                      TokenVerifier::Options{.clock_skew = seconds(30), .tokens_cached_max = 100},
                      metrics_);
    issuers_->start();
  }
  void TearDown() override {
    Scope last(loop_);
    last.spawn(issuers_->close());
    EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + hours(1)));
  }

  // Lets this much time pass.
  void pass(Duration time) { (void)loop_.run(loop_.now().time_since_epoch() + time); }

  // Why a token of now is not good; "" when it is.
  std::string refusal() {
    const auto verdict = verifier_->verify(issuer_.mint(loop_.wall_now()), loop_.wall_now());
    return verdict.token ? "" : verdict.token.error().detail();
  }

  // Asks for a key and puts the outcome's text into `out`: "" for success.
  void want(std::string kid, Duration within, std::string& out) {
    out = "waiting";
    scope_.spawn([](Issuers& issuers,
                    std::string url,
                    std::string id,
                    Deadline until,
                    std::string& text) -> Async<> {
      const auto found = co_await issuers.want_key(std::move(url), std::move(id), until);
      text =
          found ? "" : std::string(to_string(found.error().code())) + ": " + found.error().detail();
    }(*issuers_, issuer_.url(), std::move(kid), loop_.after(within), out));
  }

  std::size_t fetches() { return fetcher_.requests_count(issuer_.keys_url()); }

  // Makes the keys' URL answer this from now on.
  void answer_keys(std::function<SimFetcher::Answer()> answer) {
    fetcher_.serve(issuer_.keys_url(), std::move(answer));
  }
  void answer_keys(std::string body, int status = 200) {
    answer_keys([body = std::move(body), status] {
      return SimFetcher::Answer{FetchResponse{.status = status, .body = body}};
    });
  }

  SimLoop loop_{GetParam()};
  SimFetcher fetcher_{loop_};
  Metrics metrics_;
  TestIssuer issuer_;
  std::unique_ptr<Issuers> issuers_;
  std::optional<TokenVerifier> verifier_;
  Scope scope_{loop_};
};

INSTANTIATE_TEST_SUITE_P(Seeds, IssuersTest, ::testing::Range<std::uint64_t>(0, 10));

TEST_P(IssuersTest, KeysAreFetchedAtStartAndKeptFresh) {
  EXPECT_TRUE(refusal().contains("is not among the 0 keys"));
  pass(seconds(1));
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(fetches(), 1U);
  pass(hours(1));
  EXPECT_EQ(refusal(), "");
  // Every five minutes, less at most a tenth.
  EXPECT_GE(fetches(), 12U);
  EXPECT_LE(fetches(), 15U);
  // The discovery document hourly.
  EXPECT_LE(fetcher_.requests_count(issuer_.discovery_url()), 3U);
}

TEST_P(IssuersTest, ALoginBeforeTheFirstFetchWaitsForIt) {
  issuer_.delay = seconds(1);
  std::string outcome;
  want(issuer_.key().kid(), seconds(5), outcome);
  pass(milliseconds(1'900));
  EXPECT_EQ(outcome, "waiting");
  pass(milliseconds(200));
  EXPECT_EQ(outcome, "");
  EXPECT_EQ(fetches(), 1U);
}

TEST_P(IssuersTest, ARotatedKeyIsFoundWhenATokenNeedsIt) {
  pass(minutes(1));
  const std::string old = issuer_.mint(loop_.wall_now());
  issuer_.rotate(key_of(Algorithm::rs256));
  EXPECT_NE(refusal(), "");
  std::string outcome;
  want(issuer_.key().kid(), seconds(5), outcome);
  pass(milliseconds(100));
  EXPECT_EQ(outcome, "");
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(fetches(), 2U);
  // While both are published, both are good.
  EXPECT_TRUE(verifier_->verify(old, loop_.wall_now()).token);
  // Withdrawn, the old one is not, even for a token that was seen.
  issuer_.rotate(key_of(Algorithm::rs256), false);
  pass(minutes(6));
  EXPECT_FALSE(verifier_->verify(old, loop_.wall_now()).token);
}

TEST_P(IssuersTest, AStormOfUnknownKeyIdsStaysWithinTheBound) {
  std::vector<Time> starts;
  answer_keys([&] {
    starts.push_back(loop_.now());
    return SimFetcher::Answer{FetchResponse{.body = issuer_.jwks()}};
  });
  pass(minutes(1));
  const std::size_t before = fetches();
  std::vector<std::string> outcomes(6'000);
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    want("no-such-key-" + std::to_string(i), seconds(5), outcomes[i]);
    pass(milliseconds(10));
  }
  pass(minutes(1));
  // A minute of a hundred a second: a fetch each ten seconds at most.
  EXPECT_LE(fetches() - before, 13U);
  for (std::size_t i = 1; i < starts.size(); ++i)
    EXPECT_GE(starts[i] - starts[i - 1], seconds(10));
  answer_keys(issuer_.jwks());
  EXPECT_GE(fetches() - before, 6U);
  EXPECT_EQ(fetcher_.in_flight_max(), 1U);
  // Those that a fetch was made for are told so; the others that it cannot be known yet.
  std::size_t decided = 0;
  for (const std::string& outcome : outcomes) {
    decided += outcome.starts_with("unauthenticated: its key id \"no-such-key-") ? 1 : 0;
    EXPECT_TRUE(outcome.contains(": its key id \"no-such-key-")) << outcome;
  }
  EXPECT_GE(decided, outcomes.size() / 3);
  EXPECT_TRUE(metrics_.to_prometheus().contains("meridian_issuer_waiters{issuer=\"corp\"} 0"));
  EXPECT_EQ(refusal(), "");
}

TEST_P(IssuersTest, OneBadTokenRepeatedCausesFewFetches) {
  pass(minutes(1));
  const std::size_t before = fetches();
  std::string outcome;
  for (int i = 0; i < 120; ++i) {
    want("no-such-key", seconds(1), outcome);
    pass(seconds(1));
    EXPECT_NE(outcome, "");
  }
  // Asked for at the beginning and after a minute; the rest is the plan's.
  EXPECT_LE(fetches() - before, 4U);
}

TEST_P(IssuersTest, ALoginThatCannotWaitForTheNextFetchIsToldAtOnce) {
  pass(seconds(1));
  std::string outcome;
  want("no-such-key", seconds(5), outcome);
  pass(milliseconds(1));
  // Its key may be new: it has not failed.
  EXPECT_EQ(outcome,
            "unavailable: its key id \"no-such-key\" is not among the 1 keys of issuer corp that "
            "were fetched last; the next fetch may begin in 9 s");
  // One that can wait is served by the next permitted fetch.
  issuer_.rotate(key_of(Algorithm::rs256));
  want(issuer_.key().kid(), seconds(20), outcome);
  pass(seconds(12));
  EXPECT_EQ(outcome, "");
  EXPECT_EQ(fetches(), 2U);
}

TEST_P(IssuersTest, AKeyThatIsPublishedDuringAFetchIsNotTakenForUnknown) {
  pass(minutes(1));
  // The issuer reads its keys, and takes a while to answer with them.
  answer_keys(
      [this] { return SimFetcher::Answer{FetchResponse{.body = issuer_.jwks()}, seconds(2)}; });
  std::string other;
  want("no-such-key", seconds(5), other);
  pass(seconds(1));
  issuer_.rotate(key_of(Algorithm::rs256));
  std::string outcome;
  want(issuer_.key().kid(), seconds(20), outcome);
  std::string hasty;
  want(issuer_.key().kid(), seconds(3), hasty);
  pass(milliseconds(1'500));
  EXPECT_TRUE(other.starts_with("unauthenticated")) << other;
  EXPECT_TRUE(hasty.starts_with("unavailable: its key id")) << hasty;
  EXPECT_EQ(outcome, "waiting");
  pass(seconds(11));
  EXPECT_EQ(outcome, "");
}

TEST_P(IssuersTest, WhateverIsWrongWithAnIssuerItsTokensAreUndecided) {
  pass(minutes(1));
  answer_keys("<html>", 200);
  std::string outcome;
  for (int i = 0; i < 3; ++i) {
    want("new-key", seconds(5), outcome);
    pass(milliseconds(500));
    EXPECT_TRUE(outcome.starts_with("unavailable: the keys of issuer corp cannot be fetched: "))
        << outcome;
  }
}

TEST_P(IssuersTest, KeysOutliveTheirIssuersAbsence) {
  pass(minutes(1));
  fetcher_.stop(issuer_.keys_url());
  fetcher_.stop(issuer_.discovery_url());
  pass(hours(23));
  EXPECT_EQ(refusal(), "");
  EXPECT_TRUE(metrics_.to_prometheus().contains("meridian_issuer_keys_stale{issuer=\"corp\"} 1"));
  // Not hammered meanwhile.
  EXPECT_LE(fetcher_.requests_count(issuer_.discovery_url()), 23U * 14U);
  pass(hours(2));
  EXPECT_TRUE(refusal().contains("longer than keys_age_max")) << refusal();
  issuer_.serve(fetcher_);
  pass(minutes(6));
  EXPECT_EQ(refusal(), "");
  EXPECT_TRUE(metrics_.to_prometheus().contains("meridian_issuer_keys_stale{issuer=\"corp\"} 0"));
}

TEST_P(IssuersTest, AnUnknownKeyOfAnAbsentIssuerIsUnavailable) {
  pass(minutes(1));
  fetcher_.stop(issuer_.keys_url());
  std::string outcome;
  want("new-key", seconds(5), outcome);
  pass(seconds(1));
  EXPECT_TRUE(outcome.starts_with("unavailable: the keys of issuer corp cannot be fetched"))
      << outcome;
  // And again, with no fetch in reach.
  want("new-key", seconds(5), outcome);
  pass(milliseconds(1));
  EXPECT_TRUE(outcome.starts_with("unavailable")) << outcome;
}

TEST_P(IssuersTest, ASlowIssuerDelaysNobodyWhoseKeyIsKnown) {
  pass(minutes(1));
  issuer_.delay = minutes(10);
  issuer_.rotate(key_of(Algorithm::rs256));
  std::string outcome;
  want(issuer_.key().kid(), seconds(3), outcome);
  pass(milliseconds(3'050));
  EXPECT_TRUE(outcome.starts_with("timeout")) << outcome;
  want(key_of(Algorithm::es256).kid(), seconds(3), outcome);
  pass(milliseconds(1));
  EXPECT_EQ(outcome, "");
  pass(hours(1));
  EXPECT_EQ(fetcher_.in_flight_max(), 1U);
}

TEST_P(IssuersTest, LiesDoNotReplaceGoodKeys) {
  pass(minutes(1));
  const std::string other =
      R"({"issuer":"https://evil.example.com","jwks_uri":")" + issuer_.keys_url() + R"("})";
  const std::string in_clear =
      R"({"issuer":")" + issuer_.url() + R"(","jwks_uri":"http://login.example.com/keys"})";
  const std::function<void()> lies[] = {
      [&] { answer_keys("<html>sign in</html>"); },
      [&] { answer_keys(R"({"keys":[]})"); },
      [&] { answer_keys(R"({"keys":[{"kty":"oct","kid":"1","k":"AAAA"}]})"); },
      [&] { answer_keys(R"({"keys":[],"keys":[]})"); },
      [&] { answer_keys(R"({"keys":[]})" + std::string(70'000, ' ')); },
      [&] { answer_keys(issuer_.jwks(), 302); },
      [&] { answer_keys(issuer_.jwks(), 500); },
      [&] { answer_keys("", 204); },
      [&] { fetcher_.serve(issuer_.discovery_url(), other); },
      [&] { fetcher_.serve(issuer_.discovery_url(), in_clear); },
  };
  std::uint64_t failed_before = 0;
  for (const auto& lie : lies) {
    lie();
    pass(hours(2));  // At least one fetch of each document.
    EXPECT_EQ(refusal(), "");
    const std::uint64_t failed = metrics_.total("meridian_issuer_fetches_total",
                                                {{"issuer", "corp"}, {"outcome", "failed"}});
    EXPECT_GT(failed, failed_before);
    failed_before = failed;
    issuer_.serve(fetcher_);
    pass(minutes(6));
  }
}

TEST_P(IssuersTest, AnIssuerMayAskForFresherKeysButNotForStaler) {
  const auto with_age = [&](Duration age) {
    answer_keys([this, age] {
      return SimFetcher::Answer{FetchResponse{.body = issuer_.jwks(), .max_age = age}};
    });
  };
  with_age(seconds(60));
  pass(hours(1));
  EXPECT_GE(fetches(), 60U);
  EXPECT_LE(fetches(), 68U);
  with_age(hours(6));
  pass(minutes(10));
  const std::size_t before = fetches();
  pass(hours(1));
  EXPECT_GE(fetches() - before, 12U);
  with_age(Duration::zero());
  pass(minutes(10));
  const std::size_t eager = fetches();
  pass(minutes(10));
  EXPECT_LE(fetches() - eager, 61U);  // Ten seconds apart all the same.
}

TEST_P(IssuersTest, KeysOfThisNodeAreTrustedWithoutFetching) {
  auto set = std::make_shared<jose::KeySet>();
  set->keys.push_back(
      std::make_shared<const jose::PublicKey>(key_of(Algorithm::eddsa).public_key()));
  issuers_->trust({.name = "meridian",
                   .url = "http://127.0.0.1:8080",
                   .audiences = {"meridian"},
                   .lifetime_max = hours(1),
                   .keys = set,
                   .keys_fetched_at = loop_.wall_now(),
                   .keys_trusted_until = WallTime::max()});
  testing::TestClaims claims = issuer_.claims(loop_.wall_now());
  claims.issuer = "http://127.0.0.1:8080";
  EXPECT_TRUE(
      verifier_
          ->verify(jose::sign_jws(claims.to_json(), key_of(Algorithm::eddsa)), loop_.wall_now())
          .token);
  std::string outcome;
  scope_.spawn([](Issuers& issuers, std::string& text) -> Async<> {
    const auto found = co_await issuers.want_key("http://127.0.0.1:8080", "x", Deadline::never());
    text = found.error().detail();
  }(*issuers_, outcome));
  pass(seconds(1));
  EXPECT_EQ(outcome, "its key id \"x\" is not one of this node's");
}

TEST_P(IssuersTest, OtherLoopsAskAcross) {
  SimLoop elsewhere(GetParam() + 100);
  Scope scope(elsewhere);
  std::vector<std::string> outcomes(2);
  for (std::size_t i = 0; i < 2; ++i) {
    scope.spawn(
        [](Issuers& issuers, std::string url, std::string kid, std::string& text) -> Async<> {
          const auto found = co_await issuers.want_key(
              std::move(url), std::move(kid), Deadline::at(Time(seconds(5))));
          text = found ? "found" : found.error().detail();
        }(*issuers_, issuer_.url(), i == 0 ? issuer_.key().kid() : "no-such-key", outcomes[i]));
  }
  for (int i = 0; i < 10; ++i) {
    (void)elsewhere.run(milliseconds(i));
    (void)loop_.run(milliseconds(i));
  }
  EXPECT_EQ(outcomes[0], "found");
  EXPECT_TRUE(outcomes[1].contains("is not among the 1 keys")) << outcomes[1];
}

TEST_P(IssuersTest, ClosingEndsThoseThatWait) {
  issuer_.delay = seconds(4);
  std::string outcome;
  want("some-key", hours(1), outcome);
  pass(milliseconds(10));
  scope_.spawn([](Issuers& issuers) -> Async<> { co_await issuers.close(); }(*issuers_));
  pass(milliseconds(10));
  EXPECT_TRUE(outcome.starts_with("cancelled")) << outcome;
}

TEST(IssuersConfig, ThatCannotBeMeantIsRefused) {
  SimLoop loop(1);
  SimFetcher fetcher(loop);
  Metrics metrics;
  const auto refusal = [&](std::vector<IssuerConfig> issuers) {
    const auto made = Issuers::make(loop, fetcher, metrics, issuers, {});
    return made ? "" : made.error().detail();
  };
  EXPECT_TRUE(refusal({{.name = "a", .url = "http://a.example.com"}}).contains("issuer a: "));
  EXPECT_EQ(refusal({{.name = "a", .url = "http://a.example.com", .allow_insecure_http = true}}),
            "");
  EXPECT_TRUE(refusal({{.name = "a", .url = "https://a"}, {.name = "a", .url = "https://b"}})
                  .contains("twice"));
  EXPECT_TRUE(refusal({{.name = "a", .url = "https://a"}, {.name = "b", .url = "https://a"}})
                  .contains("twice"));
}

}  // namespace
}  // namespace meridian
