// What a client may ask for at start-up is applied, told or left alone by name; what needs no
// backend to answer is known.

#include "doors/postgres/client_settings.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian {
namespace {

Result<ClientSettings> read(std::vector<postgres::Parameter> parameters) {
  parameters.insert(parameters.begin(), {.name = "user", .value = "checkout"});
  return ClientSettings::read({.version = postgres::version_3_0, .parameters = parameters});
}

std::string applied(const ClientSettings& settings) {
  std::string text;
  for (const auto& setting : settings.applied)
    text += setting.name + "=" + setting.value + ";";
  return text;
}

ReportedSettings at_login() {
  ReportedSettings login;
  EXPECT_TRUE(login.set("client_encoding", "UTF8"));
  EXPECT_TRUE(login.set("DateStyle", "ISO, MDY"));
  EXPECT_TRUE(login.set("TimeZone", "UTC"));
  EXPECT_TRUE(login.set("application_name", ""));
  return login;
}

TEST(ClientSettingsTest, KnownNamesAreAppliedOthersAreNamed) {
  const auto settings = read({{"database", "shop"},
                              {"application_name", "psql"},
                              {"TimeZone", "CET"},
                              {"session_preload_libraries", "evil"},
                              {"_pq_.feature", "1"},
                              {"timezone", "UTC"}});
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->application_name, "psql");
  EXPECT_EQ(applied(*settings), "timezone=UTC;");  // The last one counts.
  EXPECT_EQ(settings->ignored, std::vector<std::string>{"session_preload_libraries"});
}

TEST(ClientSettingsTest, OptionsAreReadLikeTheServerDoes) {
  const auto settings = read({{"options", "-c statement_timeout=5s --search_path=a\\ b"}});
  ASSERT_TRUE(settings) << settings.error().detail();
  EXPECT_EQ(applied(*settings), "statement_timeout=5s;search_path=a b;");
  EXPECT_FALSE(read({{"options", "-c"}}));
}

TEST(ClientSettingsTest, NobodyBecomesAReplica) {
  for (const std::string_view on : {"true", "on", "database", "1", "yes", "what"}) {
    const auto settings = read({{"replication", on}});
    ASSERT_FALSE(settings) << on;
    EXPECT_EQ(settings.error().code(), Errc::denied);
  }
  for (const std::string_view off : {"false", "off", "no", "0", "OFF"})
    EXPECT_TRUE(read({{"replication", off}})) << off;
}

TEST(ClientSettingsTest, WhatTheServerSaysAnywayNeedsNoBackend) {
  const ReportedSettings login = at_login();
  EXPECT_TRUE(read({})->trivial(login));
  EXPECT_TRUE(read({{"client_encoding", "utf-8"}, {"datestyle", "ISO, MDY"}})->trivial(login));
  EXPECT_TRUE(read({{"extra_float_digits", "3"}})->trivial(login));
  EXPECT_FALSE(read({{"extra_float_digits", "4"}})->trivial(login));
  EXPECT_FALSE(read({{"client_encoding", "LATIN1"}})->trivial(login));
  EXPECT_FALSE(read({{"timezone", "CET"}})->trivial(login));
  EXPECT_FALSE(read({{"search_path", "x"}})->trivial(login));
  const auto named = read({{"application_name", "psql"}});
  EXPECT_TRUE(named->trivial(login));
  EXPECT_EQ(*named->reported(login).find("application_name"), "psql");
}

}  // namespace
}  // namespace meridian
