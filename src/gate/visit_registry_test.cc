// A visit ends with its token, with a revocation, or when told, and hears of it beforehand where
// that is possible.

#include "gate/visit_registry.h"

#include "base/metrics.h"
#include "runtime/sim/sim_loop.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

// What was said to a visit, with the second at which it was.
class Heard final : public VisitControl {
 public:
  explicit Heard(Loop& loop) : loop_(loop) {}
  void end(Ending ending) override {
    add("end " + std::string(to_string(ending.reason)) +
        (ending.after_transaction ? " later" : ""));
    text = ending.text;
  }
  void expiring(Duration left) override {
    add("expiring in " + std::to_string(std::chrono::round<seconds>(left).count()));
  }
  void renewed(PrincipalPointer principal) override { add("renewed as " + principal->role->name); }

  std::vector<std::string> lines;
  std::string text;

 private:
  void add(std::string line) {
    const auto at = std::chrono::floor<seconds>(loop_.now().time_since_epoch()).count();
    lines.push_back(std::to_string(at) + ": " + std::move(line));
  }
  Loop& loop_;
};

class VisitRegistryTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void start(VisitLimits limits = {}) {
    registry_.emplace(loop_, revocations_.published(), limits);
    revocations_.watch(loop_, [this] { registry_->check_revocations(); });
    registry_->start();
  }
  void TearDown() override {
    Scope last(loop_);
    last.spawn(registry_->close());
    EXPECT_TRUE(loop_.run(loop_.now().time_since_epoch() + hours(1)));
  }

  void pass(Duration time) { (void)loop_.run(loop_.now().time_since_epoch() + time); }

  PrincipalPointer principal_of(std::string subject, Duration lifetime) {
    return std::make_shared<const Principal>(Principal{
        .issuer = "corp",
        .issuer_url = "https://corp.example.com",
        .subject = std::move(subject),
        .token_id = "t",
        .issued_at = loop_.wall_now(),
        .expires_at = loop_.wall_now() + std::chrono::floor<std::chrono::microseconds>(lifetime),
        .role_name = "checkout",
        .role = role_,
        .binding = {},
        .claims = {}});
  }
  VisitRegistry::Registration add(std::uint64_t id,
                                  std::string subject,
                                  Duration lifetime,
                                  Heard& heard) {
    return registry_->add(
        VisitId(id), DoorName::postgres, principal_of(std::move(subject), lifetime), heard);
  }
  void let_finish() {
    auto role = std::make_shared<Role>();
    role->postgres.emplace().expiry = ExpiryPolicy::finish_transaction;
    role_ = std::move(role);
  }
  void revoke(std::string subject, std::string reason = "") {
    Revocation revocation;
    revocation.id = subject;
    revocation.subject = std::move(subject);
    revocation.reason = std::move(reason);
    revocation.created_at = loop_.wall_now();
    revocation.expires_at = loop_.wall_now() + hours(2);
    ASSERT_TRUE(revocations_.add(revocation, loop_.wall_now()));
  }

  SimLoop loop_{GetParam()};
  Metrics metrics_;
  Revocations revocations_{100, seconds(30), metrics_};
  std::optional<VisitRegistry> registry_;
  std::shared_ptr<const Role> role_;
};

INSTANTIATE_TEST_SUITE_P(Seeds, VisitRegistryTest, ::testing::Range<std::uint64_t>(0, 10));

using Lines = std::vector<std::string>;

TEST_P(VisitRegistryTest, AVisitEndsWhenItsTokenExpires) {
  start();
  Heard heard(loop_);
  const auto registration = add(1, "alice", minutes(5), heard);
  pass(minutes(10));
  EXPECT_EQ(heard.lines, (Lines{"270: expiring in 30", "300: end expired"}));
  EXPECT_TRUE(heard.text.contains("log in again"));
}

TEST_P(VisitRegistryTest, AnOpenTransactionMayBeFinished) {
  start({.expiry_grace = seconds(20)});
  let_finish();
  Heard heard(loop_);
  const auto registration = add(1, "alice", minutes(5), heard);
  pass(minutes(10));
  EXPECT_EQ(heard.lines,
            (Lines{"270: expiring in 30", "300: end expired later", "320: end expired"}));
}

TEST_P(VisitRegistryTest, AVisitThatLeftHearsNothing) {
  start();
  Heard heard(loop_);
  {
    const auto registration = add(1, "alice", minutes(5), heard);
    pass(minutes(1));
    EXPECT_EQ(registry_->count(), 1U);
  }
  EXPECT_EQ(registry_->count(), 0U);
  pass(minutes(10));
  revoke("alice");
  pass(seconds(1));
  EXPECT_EQ(heard.lines, Lines());
}

TEST_P(VisitRegistryTest, ALaterVisitThatExpiresSoonerIsNotForgotten) {
  start();
  Heard first(loop_);
  Heard second(loop_);
  const auto one = add(1, "alice", hours(1), first);
  pass(seconds(3));
  const auto two = add(2, "bob", seconds(10), second);
  pass(seconds(60));
  EXPECT_EQ(first.lines, Lines());
  EXPECT_EQ(second.lines, (Lines{"3: expiring in 10", "13: end expired"}));
}

TEST_P(VisitRegistryTest, AnExpiryThatHasPassedEndsTheVisitAtOnce) {
  start();
  Heard heard(loop_);
  const auto registration = add(1, "alice", -seconds(1), heard);
  EXPECT_EQ(heard.lines, Lines());  // Not from inside add().
  pass(milliseconds(20));
  EXPECT_EQ(heard.lines, (Lines{"0: end expired"}));
}

TEST_P(VisitRegistryTest, ARevocationEndsTheVisitsThatItNames) {
  start();
  Heard first(loop_);
  Heard second(loop_);
  const auto one = add(1, "alice", hours(1), first);
  const auto two = add(2, "bob", hours(1), second);
  pass(seconds(5));
  revoke("alice", "laptop lost");
  pass(milliseconds(1));
  EXPECT_EQ(first.lines, (Lines{"5: end revoked"}));
  EXPECT_EQ(first.text, "access was revoked: laptop lost");
  EXPECT_EQ(second.lines, Lines());
  // It was told; it need not hear more.
  revoke("carol");
  pass(hours(2));
  EXPECT_EQ(first.lines.size(), 1U);
}

// Between the gate's answer and the registration a revocation may come.
TEST_P(VisitRegistryTest, ARevocationJustBeforeTheVisitBeganIsNotMissed) {
  start();
  Heard heard(loop_);
  const PrincipalPointer principal = principal_of("alice", hours(1));
  revoke("alice");
  pass(milliseconds(1));
  const auto registration = registry_->add(VisitId(1), DoorName::redis, principal, heard);
  EXPECT_EQ(heard.lines, Lines());
  pass(milliseconds(1));
  EXPECT_EQ(heard.lines, (Lines{"0: end revoked"}));
}

TEST_P(VisitRegistryTest, AnUrgentEndOverridesTheOneAfterTheTransaction) {
  start({.expiry_grace = minutes(10)});
  let_finish();
  Heard heard(loop_);
  const auto registration = add(1, "alice", minutes(1), heard);
  pass(seconds(61));
  revoke("alice");
  pass(hours(1));
  EXPECT_EQ(heard.lines, (Lines{"30: expiring in 30", "60: end expired later", "61: end revoked"}));
}

TEST_P(VisitRegistryTest, AChangedPolicyEndsWhoHasNoRoleAnyMore) {
  start();
  VisitCounts counts(metrics_);
  const std::string issuers[]{"corp"};
  RoleConfig role{
      .name = "checkout",
      .bindings = {{.issuer = "corp", .subject = "alice", .claims = {}, .review_by = {}}},
      .postgres = PostgresConfig{.databases = {"shop"}},
      .redis = {}};
  Heard alice(loop_);
  Heard bob(loop_);
  const auto first = add(1, "alice", hours(1), alice);
  const auto second = add(2, "bob", hours(1), bob);
  auto policy = Policy::compile({&role, 1}, issuers, counts);
  ASSERT_TRUE(policy);
  registry_->check_policy(**policy);
  EXPECT_EQ(alice.lines, (Lines{"0: renewed as checkout"}));
  EXPECT_EQ(bob.lines, (Lines{"0: end unbound"}));

  // The way in is gone.
  role.postgres.reset();
  policy = Policy::compile({&role, 1}, issuers, counts);
  ASSERT_TRUE(policy);
  registry_->check_policy(**policy);
  EXPECT_EQ(alice.lines, (Lines{"0: renewed as checkout", "0: end unbound"}));
}

// A role that may use one door has no way in through the others.
TEST_P(VisitRegistryTest, AChangedPolicyIsAskedForTheVisitsOwnDoor) {
  start();
  VisitCounts counts(metrics_);
  const std::string issuers[]{"corp"};
  RoleConfig role{
      .name = "checkout",
      .bindings = {{.issuer = "corp", .subject = "alice", .claims = {}, .review_by = {}}},
      .postgres = {},
      .redis = {}};
  role.nats.emplace().publish = {"orders.>"};
  Heard nats(loop_);
  Heard redis(loop_);
  Heard postgres(loop_);
  const PrincipalPointer alice = principal_of("alice", hours(1));
  const auto first = registry_->add(VisitId(1), DoorName::nats, alice, nats);
  const auto second = registry_->add(VisitId(2), DoorName::redis, alice, redis);
  const auto third = registry_->add(VisitId(3), DoorName::postgres, alice, postgres);
  const auto policy = Policy::compile({&role, 1}, issuers, counts);
  ASSERT_TRUE(policy);
  registry_->check_policy(**policy);
  EXPECT_EQ(nats.lines, (Lines{"0: renewed as checkout"}));
  EXPECT_EQ(redis.lines, (Lines{"0: end unbound"}));
  EXPECT_EQ(postgres.lines, (Lines{"0: end unbound"}));
}

TEST_P(VisitRegistryTest, AnOperatorEndsAVisitByItsId) {
  start();
  Heard heard(loop_);
  const auto registration = add(7, "alice", hours(1), heard);
  EXPECT_FALSE(registry_->end(VisitId(8), {.reason = EndReason::operator_request, .text = "x"}));
  EXPECT_TRUE(registry_->end(VisitId(7), {.reason = EndReason::operator_request, .text = "x"}));
  EXPECT_EQ(heard.lines, (Lines{"0: end operator_request"}));
  ASSERT_EQ(registry_->visits().size(), 1U);
  EXPECT_EQ(registry_->visits()[0].id, VisitId(7));
  EXPECT_EQ(registry_->visits()[0].principal->subject, "alice");
}

TEST_P(VisitRegistryTest, ManyVisitsEndEachAtItsTime) {
  start({.expiry_notice = Duration::zero()});
  std::vector<std::unique_ptr<Heard>> heard;
  std::vector<VisitRegistry::Registration> registrations;
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    heard.push_back(std::make_unique<Heard>(loop_));
    registrations.push_back(add(i, "alice", seconds(1 + (i * 7'919) % 600), *heard.back()));
  }
  pass(minutes(11));
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    EXPECT_EQ(heard[i]->lines, (Lines{std::to_string(1 + (i * 7'919) % 600) + ": end expired"}));
  }
}

}  // namespace
}  // namespace meridian
