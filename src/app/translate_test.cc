// Each role is told what was configured for it and nothing of another's; names of databases and
// roles are found.

#include "app/translate.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian {
namespace {

config::RoleConfig role_for(std::vector<std::string> databases) {
  config::RoleConfig role;
  role.bind.emplace_back();
  role.bind.back().issuer = "corp";
  role.bind.back().subject = "x";
  role.postgres.databases = std::move(databases);
  return role;
}

const RoleConfig& find(const GateConfig& told, std::string_view name) {
  return *std::ranges::find(told.roles, name, &RoleConfig::name);
}

TEST(TranslateTest, ARoleHasOnlyTheDoorsItWasGiven) {
  config::Config config;
  config.roles["neither"] = role_for({});
  config.roles["sql"] = role_for({"shop"});
  config.roles["keys"] = role_for({});
  config.roles["keys"].redis.read = {"order:*"};
  config.roles["keys"].redis.commands = {"CONFIG|GET", "DbSize"};
  const GateConfig told = to_gate_config(config, "https://node", "/keys");
  EXPECT_FALSE(find(told, "neither").postgres || find(told, "neither").redis);
  EXPECT_TRUE(find(told, "sql").postgres && !find(told, "sql").redis);
  EXPECT_TRUE(!find(told, "keys").postgres && find(told, "keys").redis);
  EXPECT_EQ(find(told, "keys").redis->commands, (std::vector<std::string>{"config|get", "dbsize"}));
  EXPECT_EQ(told.own_issuer.url, "https://node");
  EXPECT_EQ(told.own_issuer.folder, "/keys");
}

// One role that may finish its transaction does not let all others outlive their tokens.
TEST(TranslateTest, ExpiryIsEachRolesOwn) {
  config::Config config;
  config.roles["batch"] = role_for({"shop"});
  config.roles["batch"].postgres.expiry = config::Expiry::finish_transaction;
  config.roles["strict"] = role_for({"shop"});
  config.roles["strict"].postgres.expiry = config::Expiry::end;
  const GateConfig told = to_gate_config(config, {}, {});
  EXPECT_EQ(find(told, "batch").postgres->expiry, ExpiryPolicy::finish_transaction);
  EXPECT_EQ(find(told, "strict").postgres->expiry, ExpiryPolicy::end);
}

TEST(TranslateTest, TheDayOfAReviewStillCounts) {
  config::Config config;
  config.roles["r"] = role_for({"shop"});
  const auto day = std::chrono::sys_days(std::chrono::year(2026) / 3 / 31);
  config.roles["r"].bind.front().review_by = day;
  config.roles["r"].bind.front().on_overdue = config::OnOverdue::stop;
  const GateConfig told = to_gate_config(config, {}, {});
  EXPECT_EQ(find(told, "r").bindings.front().review_by, day + std::chrono::days(1));
  EXPECT_EQ(find(told, "r").bindings.front().after_review, AfterReview::stop);
}

TEST(TranslateTest, PoolsHaveTheBoundsOfTheirRole) {
  config::Config config;
  config.roles["r"] = role_for({"shop"});
  config.roles["r"].postgres.backends_max = 7;
  config.roles["r"].postgres.backends_min = 2;
  const auto options = to_pool_options(config);
  ASSERT_TRUE(options.contains("r"));
  EXPECT_EQ(options.at("r").backends_max, 7U);
  EXPECT_EQ(options.at("r").backends_min, 2U);
}

TEST(TranslateTest, TheTimelineIsWhatViewsSayElseTheOnlyDatabase) {
  config::Config config;
  EXPECT_EQ(timeline_database(config), "postgres");
  config.roles["all"] = role_for({"*"});
  EXPECT_EQ(timeline_database(config), "postgres");
  config.roles["a"] = role_for({"shop"});
  EXPECT_EQ(timeline_database(config), "shop");
  config.roles["b"] = role_for({"other", "shop"});
  EXPECT_EQ(timeline_database(config), "postgres");
  config.views["order"].database = "shop";
  config.views["order"].as = "viewer";
  EXPECT_EQ(timeline_database(config), "shop");
  EXPECT_EQ(named_databases(config), (std::vector<std::string>{"shop", "other"}));
  EXPECT_EQ(database_roles(config), (std::vector<std::string>{"a", "all", "b", "viewer"}));
}

}  // namespace
}  // namespace meridian
