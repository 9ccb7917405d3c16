// A revocation refuses the tokens that it names, those issued before it, and no others; and is in
// force everywhere at once.

#include "gate/revocations.h"

#include "base/metrics.h"
#include "runtime/sim/sim_loop.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr WallTime now = std::chrono::sys_days(std::chrono::year(2026) / 6 / 1);
constexpr Duration skew = seconds(30);

class RevocationsTest : public ::testing::Test {
 protected:
  bool refused(const RevocationSubject& who, WallTime at = now + seconds(1)) {
    return revocations_.published().get()->find(who, at) != nullptr;
  }

  Metrics metrics_;
  Revocations revocations_{3, skew, metrics_};
};

Revocation revocation_of(std::string id) {
  Revocation revocation;
  revocation.id = std::move(id);
  revocation.created_at = now;
  revocation.expires_at = now + hours(2);
  return revocation;
}

RevocationSubject alice() {
  return {.issuer = "k8s",
          .issuer_url = "https://k8s.example.com",
          .subject = "alice",
          .token_id = "t1",
          .role = "checkout",
          .issued_at = now - seconds(60)};
}

TEST_F(RevocationsTest, EachPartNamesWhatItRefuses) {
  EXPECT_FALSE(refused(alice()));
  const auto alone = [&](auto set, auto other) {
    Revocation revocation = revocation_of("1");
    set(revocation);
    ASSERT_TRUE(revocations_.add(revocation, now));
    EXPECT_TRUE(refused(alice()));
    RevocationSubject somebody = alice();
    other(somebody);
    EXPECT_FALSE(refused(somebody));
    EXPECT_TRUE(revocations_.remove("1", now));
    EXPECT_FALSE(refused(alice()));
  };
  alone([](Revocation& r) { r.subject = "alice"; },
        [](RevocationSubject& s) { s.subject = "bob"; });
  alone([](Revocation& r) { r.token_id = "t1"; }, [](RevocationSubject& s) { s.token_id = "t2"; });
  alone([](Revocation& r) { r.role = "checkout"; },
        [](RevocationSubject& s) { s.role = "reader"; });
  alone([](Revocation& r) { r.role = "checkout"; }, [](RevocationSubject& s) { s.role = ""; });
  alone([](Revocation& r) { r.issuer = "k8s"; },
        [](RevocationSubject& s) { s.issuer = s.issuer_url = "corp"; });
  alone([](Revocation& r) { r.issuer = "https://k8s.example.com"; },
        [](RevocationSubject& s) { s.issuer = s.issuer_url = "corp"; });
}

TEST_F(RevocationsTest, AllPartsTogetherMustMatch) {
  Revocation revocation = revocation_of("1");
  revocation.issuer = "k8s";
  revocation.subject = "alice";
  revocation.role = "checkout";
  ASSERT_TRUE(revocations_.add(revocation, now));
  EXPECT_TRUE(refused(alice()));
  RevocationSubject other = alice();
  other.issuer = "corp";
  other.issuer_url = "https://corp.example.com";
  EXPECT_FALSE(refused(other));
  other = alice();
  other.role = "reader";
  EXPECT_FALSE(refused(other));
}

TEST_F(RevocationsTest, ALaterTokenIsAdmittedAgain) {
  Revocation revocation = revocation_of("1");
  revocation.subject = "alice";
  ASSERT_TRUE(revocations_.add(revocation, now));
  RevocationSubject who = alice();
  who.issued_at = now;
  EXPECT_TRUE(refused(who));
  // The issuer's clock may be ahead of ours by as much as is allowed.
  who.issued_at = now + seconds(30);
  EXPECT_TRUE(refused(who));
  who.issued_at = now + seconds(31);
  EXPECT_FALSE(refused(who));
  // Who does not say when it was issued may be old.
  who.issued_at = std::nullopt;
  EXPECT_TRUE(refused(who));
}

TEST_F(RevocationsTest, UntilATimeEveryTokenIsRefused) {
  Revocation revocation = revocation_of("1");
  revocation.subject = "alice";
  revocation.until = now + hours(1);
  ASSERT_TRUE(revocations_.add(revocation, now));
  RevocationSubject who = alice();
  who.issued_at = now + seconds(600);
  EXPECT_TRUE(refused(who, now + seconds(601)));
  EXPECT_TRUE(refused(who, now + hours(1) - seconds(1)));
  EXPECT_FALSE(refused(who, now + hours(1)));
}

TEST_F(RevocationsTest, ExpiredOnesAreForgotten) {
  Revocation revocation = revocation_of("1");
  revocation.subject = "alice";
  ASSERT_TRUE(revocations_.add(revocation, now));
  EXPECT_FALSE(refused(alice(), now + hours(2)));
  Revocation other = revocation_of("2");
  other.subject = "bob";
  other.expires_at = now + hours(9);
  ASSERT_TRUE(revocations_.add(other, now + hours(3)));
  EXPECT_EQ(revocations_.published().get()->count(), 1U);
}

TEST_F(RevocationsTest, TheBoundIsKeptAndSaysSo) {
  for (const char* const id : {"1", "2", "3"}) {
    Revocation revocation = revocation_of(id);
    revocation.token_id = id;
    ASSERT_TRUE(revocations_.add(revocation, now));
  }
  Revocation revocation = revocation_of("4");
  revocation.subject = "alice";
  EXPECT_EQ(revocations_.add(revocation, now).error().code(), Errc::exhausted);
  EXPECT_EQ(revocations_.published().get()->count(), 3U);
  EXPECT_EQ(metrics_.total("meridian_revocations_refused_total"), 1U);
  // The same id again is no new one.
  revocation.id = "3";
  EXPECT_TRUE(revocations_.add(revocation, now));
  EXPECT_TRUE(refused(alice()));
}

TEST_F(RevocationsTest, ThatNameNothingAreRefused) {
  EXPECT_EQ(revocations_.add(revocation_of("1"), now).error().code(), Errc::invalid);
  const Revocation rows[] = {revocation_of("1")};
  EXPECT_EQ(revocations_.replace(rows, now).error().code(), Errc::invalid);
}

TEST_F(RevocationsTest, ReplacingForgetsWhatIsNotThere) {
  Revocation old = revocation_of("1");
  old.subject = "bob";
  ASSERT_TRUE(revocations_.add(old, now));
  Revocation fresh = revocation_of("2");
  fresh.subject = "alice";
  fresh.reason = "laptop lost";
  const Revocation rows[] = {fresh};
  ASSERT_TRUE(revocations_.replace(rows, now));
  EXPECT_EQ(revocations_.published().get()->count(), 1U);
  EXPECT_EQ(revocation_text(*revocations_.published().get()->find(alice(), now)),
            "access was revoked: laptop lost");
  EXPECT_FALSE(revocations_.remove("1", now));
}

TEST_F(RevocationsTest, WatchersAreToldOnTheirLoop) {
  SimLoop loop(1);
  int told = 0;
  revocations_.watch(loop, [&] { ++told; });
  Revocation revocation = revocation_of("1");
  revocation.subject = "alice";
  ASSERT_TRUE(revocations_.add(revocation, now));
  EXPECT_EQ(told, 0);
  EXPECT_TRUE(loop.run(seconds(1)));
  EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace meridian
