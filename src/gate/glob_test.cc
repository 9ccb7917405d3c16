// Patterns match what Redis's own matcher matches, in bounded time.

#include "gate/glob.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

bool matches(std::string_view pattern, std::string_view text) {
  const auto glob = Glob::compile(pattern);
  EXPECT_TRUE(glob) << pattern;
  return glob && glob->matches(text);
}

TEST(Glob, MatchesAsRedisDoes) {
  struct Case {
    std::string_view pattern;
    std::string_view text;
    bool match;
  };
  constexpr Case cases[] = {
      {"order:1", "order:1", true},
      {"order:1", "order:12", false},
      {"order:1", "order:", false},
      {"order:*", "order:1", true},
      {"order:*", "order:", true},
      {"order:*", "orders:1", false},
      {"order:*", "xorder:1", false},
      {"*", "", true},
      {"*", "anything", true},
      {"**", "anything", true},
      {"*:1", "order:1", true},
      {"*:1", "order:12", false},
      {"a*b*c", "abc", true},
      {"a*b*c", "aXbXbXc", true},
      {"a*b*c", "acb", false},
      {"a*bc", "abcbc", true},
      {"?", "x", true},
      {"?", "", false},
      {"?", "xy", false},
      {"h?llo", "hello", true},
      {"h[ae]llo", "hallo", true},
      {"h[ae]llo", "hillo", false},
      {"h[^e]llo", "hallo", true},
      {"h[^e]llo", "hello", false},
      {"h[a-c]llo", "hbllo", true},
      {"h[a-c]llo", "hdllo", false},
      {"h[c-a]llo", "hbllo", true},
      {"[a-]", "-", true},
      {"[\\]]", "]", true},
      {"[\\-a]", "-", true},
      {"a\\*b", "a*b", true},
      {"a\\*b", "axb", false},
      {"a\\*", "a*", true},
      {"a\\*", "ab", false},
      {"\\[x", "[x", true},
      {"[^a]", "b", true},
      {"a*", "b", false},
      {"user:?:*", "user:1:x", true},
      {"user:?:*", "user:12:x", false},
      {"*a", "aaaa", true},
      {"*ab", "aab", true},
  };
  for (const Case& test : cases) {
    EXPECT_EQ(matches(test.pattern, test.text), test.match) << test.pattern << " " << test.text;
  }
  // "[^]" is any byte, then a literal "]".
  EXPECT_TRUE(matches("[^]]", "a]"));
  EXPECT_FALSE(matches("[^]]", "a"));
}

TEST(Glob, MatchesAnyBytes) {
  EXPECT_TRUE(matches("a*", std::string("a\0b\xff", 4)));
  EXPECT_TRUE(matches("?", std::string("\0", 1)));
  EXPECT_TRUE(matches("[^a]", "\xff"));
  EXPECT_FALSE(matches("a", std::string("a\0", 2)));
}

TEST(Glob, RefusesPatternsThatAreNotFinished) {
  for (const std::string pattern : {"", "[", "[a", "[^", "a\\", "[a\\", "[]", "x[]y"})
    EXPECT_FALSE(Glob::compile(pattern)) << pattern;
  EXPECT_FALSE(Glob::compile(std::string(257, 'a')));
  EXPECT_TRUE(Glob::compile(std::string(256, 'a')));
}

// A backtracking matcher would take 2^60 steps here.
TEST(Glob, TakesBoundedTime) {
  std::string pattern;
  for (int i = 0; i < 60; ++i)
    pattern += "*a";
  pattern += "*b";
  EXPECT_FALSE(matches(pattern, std::string(20'000, 'a')));
}

}  // namespace
}  // namespace meridian
