// Patterns mean what the server means by them; subset and overlap agree with matching on every
// subject of a small alphabet.

#include "wire/nats/subject.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::nats {
namespace {

TEST(Subject, WhatIsOne) {
  for (const auto* const good : {"a", "a.b", "a.*", "a.>", "a.b*.>c", "$JS.API.INFO", ">"})
    EXPECT_TRUE(is_subject(good)) << good;
  for (const auto* const bad : {"", ".", "a.", ".a", "a..b", "a b", "a\tb", "a.\r"})
    EXPECT_FALSE(is_subject(bad)) << bad;
  EXPECT_TRUE(is_pattern("a.*.c"));
  EXPECT_TRUE(is_pattern("a.>"));
  EXPECT_TRUE(is_pattern("a.>b.c"));
  EXPECT_FALSE(is_pattern("a.>.c"));
}

TEST(Subject, Matching) {
  EXPECT_TRUE(matches("a.b", "a.b"));
  EXPECT_FALSE(matches("a.b", "a.B"));
  EXPECT_FALSE(matches("a.b", "a"));
  EXPECT_FALSE(matches("a", "a.b"));
  EXPECT_TRUE(matches("a.*", "a.b"));
  EXPECT_FALSE(matches("a.*", "a.b.c"));
  EXPECT_FALSE(matches("a.*", "a"));
  EXPECT_TRUE(matches("a.>", "a.b.c"));
  EXPECT_FALSE(matches("a.>", "a"));
  EXPECT_FALSE(matches("a.>", "a..b"));
  EXPECT_TRUE(matches("*.b*", "x.b*"));
  EXPECT_FALSE(matches("*.b*", "x.bc"));
}

std::vector<std::string> all(const std::vector<std::string>& tokens, bool patterns) {
  std::vector<std::string> made;
  std::vector<std::string> previous{""};
  for (int size = 1; size <= 3; ++size) {
    std::vector<std::string> next;
    for (const std::string& front : previous) {
      for (const std::string& token : tokens)
        next.push_back(front.empty() ? token : front + "." + token);
    }
    made.insert(made.end(), next.begin(), next.end());
    previous = std::move(next);
  }
  if (patterns) std::erase_if(made, [](const std::string& text) { return !is_pattern(text); });
  return made;
}

// Subjects of up to four tokens tell all patterns of up to three apart.
TEST(Subject, SubsetAndOverlapAgreeWithMatching) {
  const auto patterns = all({"a", "b", "*", ">"}, true);
  auto subjects = all({"a", "b", "c"}, false);
  for (const std::string& subject : all({"a", "b", "c"}, false))
    subjects.push_back(subject + ".a");
  for (const std::string& one : patterns) {
    for (const std::string& other : patterns) {
      bool subset = true;
      bool common = false;
      for (const std::string& subject : subjects) {
        const bool in_one = matches(one, subject);
        const bool in_other = matches(other, subject);
        subset = subset && (!in_one || in_other);
        common = common || (in_one && in_other);
      }
      EXPECT_EQ(is_subset(one, other), subset) << one << " in " << other;
      EXPECT_EQ(overlaps(one, other), common) << one << " and " << other;
    }
  }
}

TEST(Subject, Literal) {
  for (const auto* const good : {"a", "a.b", "a*.b", "*a", "a>"})
    EXPECT_TRUE(is_literal(good)) << good;
  for (const auto* const bad : {"", ".", "a.", ".a", "a..b", "*", "a.*", ">", "a.>.b"})
    EXPECT_FALSE(is_literal(bad)) << bad;
}

}  // namespace
}  // namespace meridian::nats
