// Failures of one source are bounded; others are not affected, and memory is bounded.

#include "gate/login_limiter.h"

#include "runtime/stream.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

using std::chrono::seconds;

TEST(LoginLimiter, BoundsTheFailuresOfASource) {
  LoginLimiter limiter({.failures_per_minute = 10, .failures_burst = 20});
  const Time start{};
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(limiter.check("a", start)) << i;
    limiter.failed("a", start);
  }
  const auto refused = limiter.check("a", start);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::exhausted);
  EXPECT_EQ(refused.error().detail(), "too many failed logins from a; try again in 6 s");
  EXPECT_TRUE(limiter.check("b", start));
  // Ten a minute come back.
  EXPECT_FALSE(limiter.check("a", start + seconds(5)));
  EXPECT_TRUE(limiter.check("a", start + seconds(6)));
  limiter.failed("a", start + seconds(6));
  EXPECT_FALSE(limiter.check("a", start + seconds(6)));
  // Never more than the burst, however long the pause.
  const Time later = start + std::chrono::hours(10);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(limiter.check("a", later));
    limiter.failed("a", later);
  }
  EXPECT_FALSE(limiter.check("a", later));
}

TEST(LoginLimiter, SuccessesCostNothing) {
  LoginLimiter limiter({.failures_per_minute = 1, .failures_burst = 1});
  for (int i = 0; i < 1'000; ++i)
    EXPECT_TRUE(limiter.check("a", Time{}));
  EXPECT_EQ(limiter.sources_count(), 0U);
}

TEST(LoginLimiter, RemembersABoundedNumberOfSources) {
  LoginLimiter limiter({.addresses_max = 160});
  for (int i = 0; i < 10'000; ++i)
    limiter.failed("10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256), Time{});
  EXPECT_LE(limiter.sources_count(), 160U);
  EXPECT_GT(limiter.sources_count(), 100U);
}

TEST(LoginSource, IsAHostOrAUser) {
  const auto source = [](std::string address) {
    return login_source_of({.address = std::move(address), .port = 1});
  };
  EXPECT_EQ(source("10.0.0.7"), "10.0.0.7");
  EXPECT_EQ(source("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  EXPECT_EQ(source("2001:db8:1:2::ffff"), "2001:db8:1:2::/64");
  EXPECT_NE(source("2001:db8:1:3::1"), source("2001:db8:1:2::1"));
  EXPECT_EQ(source("::ffff:10.0.0.7"), "10.0.0.7");
  EXPECT_EQ(source("fe80::1%eth0"), "fe80::/64");
  EXPECT_EQ(login_source_of({.address = "/run/x", .unix_socket = true, .user = 1'000}), "uid 1000");
}

TEST(LoginFailures, AreThoseThatAPeerCauses) {
  EXPECT_TRUE(counts_as_failed_login(Errc::unauthenticated));
  EXPECT_TRUE(counts_as_failed_login(Errc::denied));
  EXPECT_FALSE(counts_as_failed_login(Errc::unavailable));
  EXPECT_FALSE(counts_as_failed_login(Errc::timeout));
  EXPECT_FALSE(counts_as_failed_login(Errc::exhausted));
}

}  // namespace
}  // namespace meridian
