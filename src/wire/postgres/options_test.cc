// The language of `options`: what drivers write is read as PostgreSQL reads it, everything else is
// refused, and no text makes the parser loop.

#include "wire/postgres/options.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

using Settings = std::vector<Setting>;

TEST(Options, ReadsTheThreeForms) {
  const Settings expected = {{"geqo", "off"}};
  EXPECT_EQ(*parse_options("-c geqo=off"), expected);
  EXPECT_EQ(*parse_options("-cgeqo=off"), expected);
  EXPECT_EQ(*parse_options("--geqo=off"), expected);
  EXPECT_EQ(*parse_options("  \t-c\n geqo=off  "), expected);
  EXPECT_EQ(*parse_options("-c search_path=a,b --statement-timeout=5s -c app.key=1"),
            (Settings{{"search_path", "a,b"}, {"statement_timeout", "5s"}, {"app.key", "1"}}));
  EXPECT_EQ(*parse_options(""), Settings());
}

TEST(Options, TakesBackslashesAway) {
  EXPECT_EQ(*parse_options("-c search_path=my\\ schema"), (Settings{{"search_path", "my schema"}}));
  EXPECT_EQ(*parse_options("-c x=a\\\\b"), (Settings{{"x", "a\\b"}}));
  EXPECT_EQ(*parse_options("-c x=\\"), (Settings{{"x", ""}}));
  EXPECT_EQ(*parse_options("-c x="), (Settings{{"x", ""}}));
  EXPECT_EQ(*parse_options("-c DateStyle=a=b"), (Settings{{"datestyle", "a=b"}}));
}

// CVE-2026-107349: an empty option name looped for ever.
TEST(Options, RefusesEmptyNames) {
  for (const std::string_view text : {"-c=", "-c =", "--=", "-c =x", "--=x", "-c= -c="})
    EXPECT_FALSE(parse_options(text)) << text;
}

TEST(Options, RefusesWhatIsNoSetting) {
  for (const std::string_view text : {"-c",
                                      "-c geqo",
                                      "--geqo",
                                      "--",
                                      "-",
                                      "-d 5",
                                      "-B10",
                                      "geqo=off",
                                      "\\",
                                      "-c a;b=1",
                                      "-c \"a\"=1",
                                      "-c a=1 b=2"})
    EXPECT_FALSE(parse_options(text)) << text;
}

TEST(Options, HoldsItsBounds) {
  std::string many;
  for (std::size_t i = 0; i < options_settings_max; ++i)
    many += "-ca=1 ";
  EXPECT_EQ(parse_options(many)->size(), options_settings_max);
  EXPECT_FALSE(parse_options(many + "-ca=1"));
  EXPECT_FALSE(parse_options("-c a=" + std::string(options_bytes_max, 'x')));
}

}  // namespace
}  // namespace meridian::postgres
