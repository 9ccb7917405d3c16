// What is printed reads back as the same configuration, and what differs from the defaults is shown
// alone.

#include "app/config/print.h"

#include "app/config/documentation.h"
#include "app/config/reader.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

namespace meridian::config {
namespace {

const Surroundings surroundings{};

Config read(std::string_view text) {
  auto config = read_config(text, {}, surroundings);
  EXPECT_TRUE(config) << text << "\n" << config.error().detail();
  return config ? *std::move(config) : Config();
}

std::string shop_text() {
  std::ifstream stream(std::string(MERIDIAN_SOURCE_DIR) + "/test/config/good/shop.yaml");
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void expect_round_trip(const Config& config) {
  const std::string all = to_yaml(config);
  EXPECT_EQ(read(all), config) << all;
  EXPECT_EQ(to_yaml(read(all)), all);
  const std::string changed = to_yaml(config, default_config(surroundings));
  EXPECT_EQ(read(changed), config) << changed;
}

TEST(Print, ReadsBackAsTheSame) {
  expect_round_trip(default_config(surroundings));
  expect_round_trip(read(shop_text()));
  expect_round_trip(read(starter_file()));
  expect_round_trip(read("timeline: {manage_roles: true, url: postgres://db/shop}"));
}

TEST(Print, OddTextsReadBackAsTheSame) {
  Config config = default_config(surroundings);
  config.roles["null"];
  config.exchange.audiences = {"null", "~",        "a: b", "a #b", "- a", "'",  "\"",
                               "\\",   "{x}",      "[a]",  "*",    "&a",  "!t", "%",
                               "@",    "`",        "a,b",  "a:",   ":a",  "-",  "?",
                               "1",    "\xc3\xa9", "a/",   "..",   "0x1", "=",  "<<"};
  config.tls.certificate = "/s.pem";
  config.tls.key = "/s.key";
  config.tls.client_ca = "/c.pem";
  config.roles["true"].bind.push_back({.issuer = "meridian",
                                       .subject = "tab\xc2\xa0or \xe2\x80\xa8 line",
                                       .claims = {{"null", "null"}, {"a.b", ""}, {"~", "~"}},
                                       .certificate = "cn:~: {y}",
                                       .review_by = {},
                                       .on_overdue = OnOverdue::warn});
  config.roles["true"].bind[0].claims["a.b"] = "- x: {y}";
  config.views["v"] = {.key = "v:{id}",
                       .query = "a\n\tb {id}\n\n c \\ \" ' # : {id}\n",
                       .as = "true",
                       .database = "x y"};
  expect_round_trip(config);
}

TEST(Print, ShowsWhatDiffersAlone) {
  const Config defaults = default_config(surroundings);
  EXPECT_EQ(to_yaml(defaults, defaults), "");
  EXPECT_EQ(to_yaml(read("cache: {bytes_max: 1GiB}\nlimits: {visits_max: 10000}"), defaults),
            "cache:\n  bytes_max: 1GiB\n");
  EXPECT_EQ(to_yaml(read("roles: {a: , b: {redis: {read: [x]}}}"), defaults),
            "roles:\n  a:\n  b:\n    redis:\n      read: [x]\n");
}

TEST(Print, AListOfEntriesBeginsEachWithADash) {
  const std::string text = to_yaml(
      read("roles: {a: {bind: [{issuer: meridian, subject: x}, {subject: y, issuer: meridian}]}}"),
      default_config(surroundings));
  EXPECT_EQ(text,
            "roles:\n"
            "  a:\n"
            "    bind:\n"
            "      - issuer: meridian\n"
            "        subject: x\n"
            "      - issuer: meridian\n"
            "        subject: y\n");
}

TEST(Print, TheReportSaysWhatIsSetUp) {
  const Config defaults = default_config(surroundings);
  EXPECT_EQ(check_report("meridian.yaml", defaults, defaults),
            "meridian.yaml: the configuration is valid\n"
            "  Postgres door: 127.0.0.1:6432\n"
            "  Redis door: 127.0.0.1:6380\n"
            "  NATS door: 127.0.0.1:4222\n"
            "  HTTP door: 127.0.0.1:8080\n"
            "  timeline: an owned PostgreSQL\n"
            "  redis: an owned redis-server\n"
            "  nats: an owned nats-server\n"
            "  0 issuers besides its own, 0 roles, 0 views\n"
            "everything is left at its default\n");
  const std::string report = check_report("shop.yaml", read(shop_text()), defaults);
  EXPECT_TRUE(report.contains("  Postgres door: 0.0.0.0:6432, unix:/run/meridian/postgres.sock\n"));
  EXPECT_TRUE(report.contains("  HTTP door: off\n"));
  EXPECT_TRUE(report.contains("  3 issuers besides its own, 3 roles, 2 views\n"));
  EXPECT_TRUE(report.contains("\nwhat is not left at its default:\n\nnode:\n  name: front-1"));
}

}  // namespace
}  // namespace meridian::config
