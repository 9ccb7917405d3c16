// A reload says every change, once, and whether it counts at once.

#include "app/config/changes.h"

#include "app/config/reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::config {
namespace {

Config read(std::string_view text) {
  auto config = read_config(text, {}, {});
  EXPECT_TRUE(config) << text << "\n" << config.error().detail();
  return config ? *std::move(config) : Config();
}

std::vector<std::string> changes(std::string_view before, std::string_view after) {
  std::vector<std::string> texts;
  for (const Change& change : changes_between(read(before), read(after))) {
    texts.push_back(to_text(change));
  }
  return texts;
}

using Texts = std::vector<std::string>;

TEST(Changes, NoneBetweenEquals) {
  EXPECT_EQ(changes("", ""), Texts());
  EXPECT_EQ(changes("limits: {visits_max: 10000}", "# the default\n"), Texts());
  EXPECT_EQ(changes("trail: {retention: 1d}", "trail: {retention: 24h}"), Texts());
}

TEST(Changes, ASettingSaysWhenItCounts) {
  EXPECT_EQ(changes("", "log: {level: debug}"), Texts({"log.level: info -> debug (at once)"}));
  EXPECT_EQ(changes("limits: {visits_max: 5}", ""),
            Texts({"limits.visits_max: 5 -> 10000 (after a restart)"}));
  EXPECT_EQ(changes("", "tls: {certificate: a.pem, key: a.key}"),
            Texts({"tls.certificate: (not set) -> /a.pem (after a restart)",
                   "tls.key: (not set) -> /a.key (after a restart)"}));
}

TEST(Changes, AnEntryThatCameOrWentIsOneChange) {
  const std::string_view one =
      "roles: {a: {postgres: {databases: [x]}, bind: [{issuer: meridian, subject: s}]}}";
  EXPECT_EQ(changes("", one), Texts({"roles.a: (not set) -> (entry) (at once)"}));
  EXPECT_EQ(changes(one, ""), Texts({"roles.a: (entry) -> (not set) (at once)"}));
  EXPECT_EQ(changes("roles: {a: , ab: }", "roles: {ab: , b: }"),
            Texts({"roles.a: (entry) -> (not set) (at once)",
                   "roles.b: (not set) -> (entry) (at once)"}));
  EXPECT_EQ(changes("roles: {a: , ab: }", ""),
            Texts({"roles.a: (entry) -> (not set) (at once)",
                   "roles.ab: (entry) -> (not set) (at once)"}))
      << "one name begins the other";
}

TEST(Changes, AnEntryThatStaysSaysWhatChangedInIt) {
  EXPECT_EQ(
      changes("roles: {a: {bind: [{issuer: meridian, subject: x}]}}",
              "roles: {a: {bind: [{issuer: meridian, subject: y}, {issuer: meridian, subject: "
              "x}], redis: {read: [k]}}}"),
      Texts({"roles.a.bind[0].subject: x -> y (at once)",
             "roles.a.bind[1]: (not set) -> (entry) (at once)",
             "roles.a.redis.read: [] -> [k] (at once)"}));
  EXPECT_EQ(changes("roles: {a: {bind: [{issuer: meridian, subject: x, review_by: 2027-01-31}]}}",
                    "roles: {a: {bind: [{issuer: meridian, subject: x}]}}"),
            Texts({"roles.a.bind[0].review_by: 2027-01-31 -> (not set) (at once)"}));
}

TEST(Changes, WhatIsReloadedIsRolesTheirTrustAndViews) {
  const Config before = read("");
  const Config after = read(
      "issuers: {i: {url: \"https://example.com\"}}\n"
      "roles: {r: }\n"
      "views: {v: {key: \"v:{id}\", query: \"{id}\", as: r}}\n"
      "exchange: {audiences: [a], bind: [{issuer: i, subject: s}]}\n");
  const std::vector<Change> found = changes_between(before, after);
  EXPECT_EQ(found.size(), 5U);
  for (const Change& change : found) {
    const bool waits = change.path.starts_with("issuers");
    EXPECT_EQ(change.applies, waits ? Applies::after_restart : Applies::at_once) << change.path;
  }
}

}  // namespace
}  // namespace meridian::config
