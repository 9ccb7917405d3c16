// A login is admitted when every step says yes, refused with the step's reason when one says no,
// recorded either way, and never admitted unrecorded.

#include "gate/gate.h"

#include "test/identity/gate_world.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::GateWorld;
using testing::key_of;

RoleConfig role_of(std::string name, std::string subject) {
  return {.name = std::move(name),
          .bindings =
              {{.issuer = "corp", .subject = std::move(subject), .claims = {}, .review_by = {}}},
          .postgres = PostgresConfig{.databases = {"shop"}, .visits_max = 2},
          .redis = {}};
}

class GateTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override {
    world_.set_roles({role_of("checkout", "alice")});
    world_.pass(seconds(1));
  }

  std::string good() { return world_.issuer.mint(world_.loop.wall_now()); }
  std::vector<std::string> take_lines() { return std::exchange(world_.log.lines, {}); }

  GateWorld world_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Seeds, GateTest, ::testing::Range<std::uint64_t>(0, 10));

TEST_P(GateTest, AGoodLoginIsAdmittedAndRecorded) {
  const auto admission = world_.login({.token = good()});
  ASSERT_TRUE(admission) << admission.error().detail();
  EXPECT_TRUE(admission->slot.held());
  const Principal& principal = *admission->principal;
  EXPECT_EQ(principal.issuer, "corp");
  EXPECT_EQ(principal.issuer_url, world_.issuer.url());
  EXPECT_EQ(principal.subject, "alice");
  EXPECT_EQ(principal.role_name, "checkout");
  EXPECT_EQ(principal.role->name, "checkout");
  EXPECT_EQ(principal.expires_at, *principal.issued_at + minutes(5) + seconds(30));
  EXPECT_EQ(principal.claims->string_at("sub"), "alice");
  EXPECT_EQ(
      take_lines(),
      (std::vector<std::string>{"attempt postgres",
                                "admitted checkout, alice, by issuer corp, subject \"alice\""}));
  EXPECT_TRUE(Gate::decide(principal, DoorName::postgres, Action::connect, "shop").allowed);
  EXPECT_FALSE(Gate::decide(principal, DoorName::postgres, Action::connect, "other").allowed);
  EXPECT_EQ(world_.metrics.total("meridian_admissions_total",
                                 {{"door", "postgres"}, {"outcome", "admitted"}}),
            1U);
}

TEST_P(GateTest, EachStepRefusesWithItsReason) {
  EXPECT_EQ(world_.refusal({.token = ""}), "unauthenticated: no token was given");
  EXPECT_EQ(world_.refusal({.token = "password"}),
            "unauthenticated: the token is not three parts joined by dots");
  EXPECT_EQ(world_.refusal({.token = good(), .database = "other"}),
            "denied: role \"checkout\" may not connect to database \"other\" (role \"checkout\", "
            "postgres connect: it is not listed)");
  EXPECT_EQ(world_.refusal({.token = good(), .door = DoorName::redis}),
            "denied: role \"checkout\" has no way in through the redis door");
  EXPECT_EQ(world_.refusal({.token = good(), .door = DoorName::http}),
            "denied: role \"checkout\" has no way in through the http door");
  EXPECT_TRUE(
      world_.refusal({.token = good(), .wanted_role = "admin"}).starts_with("denied: the role"));
  EXPECT_TRUE(world_.refusal({.token = world_.issuer.mint(world_.loop.wall_now(), "bob")})
                  .starts_with("denied: no role is bound to issuer corp, subject \"bob\""));
  for (std::size_t i = 0; i < world_.log.lines.size(); ++i)
    EXPECT_TRUE(world_.log.lines[i].starts_with(i % 2 == 0 ? "attempt" : "refused"))
        << world_.log.lines[i];
  EXPECT_TRUE(world_.log.lines.back().ends_with("[bob]"));
}

TEST_P(GateTest, NothingHappensUnrecorded) {
  world_.log.failing = "attempt";
  EXPECT_EQ(world_.refusal({.token = good()}), "unavailable: the login could not be recorded");
  world_.log.failing = "admitted";
  EXPECT_EQ(world_.refusal({.token = good()}), "unavailable: the admission could not be recorded");
  // The place among the visits was given back.
  world_.log.failing.clear();
  const auto first = world_.login({.token = good()});
  const auto second = world_.login({.token = good()});
  EXPECT_TRUE(first && second);
  // A refusal stays one.
  world_.log.failing = "refused";
  EXPECT_TRUE(world_.refusal({.token = "x"}).starts_with("unauthenticated"));
}

TEST_P(GateTest, TheRecordComesBeforeTheAnswer) {
  world_.log.delay = seconds(2);
  const Time start = world_.loop.now();
  EXPECT_TRUE(world_.login({.token = good()}));
  EXPECT_GE(world_.loop.now() - start, seconds(4));
}

TEST_P(GateTest, VisitsOfARoleAreBounded) {
  const auto first = world_.login({.token = good()});
  {
    const auto second = world_.login({.token = good()});
    ASSERT_TRUE(first && second);
    EXPECT_EQ(world_.refusal({.token = good()}),
              "exhausted: role \"checkout\" has reached its postgres visits_max=2 on this node");
  }
  EXPECT_TRUE(world_.login({.token = good()}));
}

TEST_P(GateTest, AKeyThatIsNewIsFetchedOnTheWay) {
  world_.pass(minutes(1));
  world_.issuer.rotate(key_of(jose::Algorithm::rs256));
  world_.issuer.delay = milliseconds(200);
  EXPECT_EQ(world_.refusal({.token = good()}), "");
  EXPECT_EQ(world_.fetcher.requests_count(world_.issuer.keys_url()), 2U);
}

TEST_P(GateTest, AnAbsentIssuerIsNotThePeersFault) {
  world_.pass(minutes(1));
  world_.fetcher.stop(world_.issuer.keys_url());
  world_.issuer.rotate(key_of(jose::Algorithm::rs256));
  for (int i = 0; i < 30; ++i)
    EXPECT_TRUE(world_.refusal({.token = good()}).starts_with("unavailable")) << i;
}

TEST_P(GateTest, ASlowIssuerIsWaitedForNoLongerThanTheDeadline) {
  world_.pass(minutes(1));
  world_.issuer.delay = hours(1);
  world_.issuer.rotate(key_of(jose::Algorithm::rs256));
  const Time start = world_.loop.now();
  EXPECT_TRUE(world_.refusal({.token = good(), .within = seconds(2)}).starts_with("timeout"));
  EXPECT_LE(world_.loop.now() - start, milliseconds(2'050));
}

TEST_P(GateTest, FailuresOfAnAddressAreBounded) {
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(world_.refusal({.token = "guess"}).starts_with("unauthenticated"));
  // Now not even a good token helps, and nothing is verified.
  EXPECT_TRUE(world_.refusal({.token = good()})
                  .starts_with("exhausted: too many failed logins from 10.0.0.7"));
  EXPECT_TRUE(world_.login({.token = good(), .peer = {.address = "10.0.0.8", .port = 1}}));
  EXPECT_TRUE(world_.log.lines[world_.log.lines.size() - 3].starts_with("refused exhausted"));
  world_.pass(seconds(7));
  EXPECT_TRUE(world_.login({.token = good()}));
}

TEST_P(GateTest, ARevokedSubjectIsRefusedUntilItsNextToken) {
  const std::string before = good();
  EXPECT_TRUE(world_.login({.token = before}));
  Revocation revocation;
  revocation.id = "1";
  revocation.subject = "alice";
  revocation.reason = "key leaked";
  revocation.created_at = world_.loop.wall_now();
  revocation.expires_at = revocation.created_at + hours(2);
  ASSERT_TRUE(world_.revocations.add(revocation, world_.loop.wall_now()));
  // Remembered or not makes no difference.
  EXPECT_EQ(world_.refusal({.token = before}), "denied: access was revoked: key leaked");
  world_.pass(seconds(32));
  EXPECT_EQ(world_.refusal({.token = before}), "denied: access was revoked: key leaked");
  EXPECT_TRUE(world_.login({.token = good()}));
}

TEST_P(GateTest, AReloadOfTheRolesCountsAtOnce) {
  const std::string token = good();
  EXPECT_TRUE(world_.login({.token = token}));
  world_.set_roles({role_of("checkout", "bob")});
  EXPECT_TRUE(world_.refusal({.token = token}).starts_with("denied: no role is bound"));
}

TEST_P(GateTest, AnOverdueReviewIsInTheRecord) {
  RoleConfig role = role_of("checkout", "alice");
  role.bindings[0].review_by = world_.loop.wall_now() - hours(24);
  world_.set_roles({role});
  const auto admission = world_.login({.token = good()});
  ASSERT_TRUE(admission);
  EXPECT_TRUE(admission->principal->binding.ends_with("(its review was due on 2025-12-31)"))
      << admission->principal->binding;
}

TEST_P(GateTest, NoRecordHoldsAToken) {
  const std::string token = good();
  (void)world_.login({.token = token});
  (void)world_.login({.token = token + "x"});
  (void)world_.login({.token = token, .database = "other"});
  const std::string signature = token.substr(token.rfind('.') + 1);
  for (const std::string& line : world_.log.lines)
    EXPECT_FALSE(line.contains(signature.substr(0, 10))) << line;
}

}  // namespace
}  // namespace meridian
