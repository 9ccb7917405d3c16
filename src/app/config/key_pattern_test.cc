// Key patterns: a key belongs to a pattern in one way only, and two patterns overlap exactly when
// some key belongs to both. The second is compared with trying all short keys.

#include "app/config/key_pattern.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::config {
namespace {

KeyPattern pattern(std::string_view text) {
  auto parsed = KeyPattern::parse(text);
  EXPECT_TRUE(parsed) << parsed.error();
  return *std::move(parsed);
}

bool overlap(std::string_view a, std::string_view b) {
  const bool found = pattern(a).overlaps(pattern(b));
  EXPECT_EQ(found, pattern(b).overlaps(pattern(a))) << a << " and " << b;
  return found;
}

// Whether a key belongs to a pattern, straight from the definition in the header: literal text is
// itself; a part is characters that are neither ':' nor what follows it.
bool belongs(std::string_view key, std::string_view text) {
  while (!text.empty()) {
    if (text.front() != '{') {
      if (key.empty() || key.front() != text.front()) return false;
      key.remove_prefix(1);
      text.remove_prefix(1);
      continue;
    }
    text.remove_prefix(text.find('}') + 1);
    const std::string ends = text.empty() ? ":" : std::string(":") + text.front();
    const std::size_t size = std::min(key.find_first_of(ends), key.size());
    if (size == 0) return false;
    key.remove_prefix(size);
  }
  return key.empty();
}

TEST(KeyPattern, PartsAreNamedInOrder) {
  EXPECT_EQ(pattern("user:{id}").parts(), std::vector<std::string>({"id"}));
  EXPECT_EQ(pattern("user:{id}:orders:{year}-{month_2}").parts(),
            std::vector<std::string>({"id", "year", "month_2"}));
}

TEST(KeyPattern, AmbiguousOrMisshapenPatternsAreRefused) {
  for (const std::string text : {"",
                                 "user",
                                 "{id}",
                                 "user:{id}{other}",
                                 "user:{id",
                                 "user:id}",
                                 "user:{}",
                                 "user:{Id}",
                                 "user:{1d}",
                                 "user:{i d}",
                                 "user:{{id}}",
                                 "user:{id}:{id}",
                                 "user:*",
                                 "user:?",
                                 "us er:{id}",
                                 "k{a}:{b}:{c}:{d}:{e}:{f}:{g}:{h}:{i}"}) {
    EXPECT_FALSE(KeyPattern::parse(text)) << text;
  }
  EXPECT_FALSE(KeyPattern::parse(std::string(KeyPattern::size_max, 'k') + "{id}"));
  EXPECT_FALSE(KeyPattern::parse("k:{" + std::string(64, 'a') + "}"));
  EXPECT_TRUE(KeyPattern::parse("k:{" + std::string(63, 'a') + "}"));
}

TEST(KeyPattern, OverlapsAreFound) {
  EXPECT_TRUE(overlap("order:{id}", "order:{number}"));
  EXPECT_TRUE(overlap("order:{id}", "ord{kind}:7"));
  EXPECT_TRUE(overlap("a{x}c", "ab{y}"));
  EXPECT_TRUE(overlap("k:{a}-{b}",
                      "k:{a}-7"
                      "{b}"));
  EXPECT_FALSE(overlap("order:{id}", "order:{id}:lines"));
  EXPECT_FALSE(overlap("order:{id}", "orders:{id}"));
  EXPECT_FALSE(overlap("order:{id}", "order:{id}:{line}"));
  EXPECT_FALSE(overlap("order:{id}:a", "order:{id}:b"));
  EXPECT_FALSE(overlap("order:{id}x", "order:{id}y"));
}

TEST(KeyPattern, OverlapIsWhatTryingAllKeysFinds) {
  const std::vector<std::string> patterns{"a{x}",
                                          "a:{x}",
                                          "a{x}:",
                                          "a{x}b",
                                          "a{x}:{y}",
                                          "ab{x}",
                                          "aa{x}a",
                                          "a{x}a{y}",
                                          "b{x}",
                                          "a{x}b{y}:"};
  std::vector<std::string> keys{""};
  const std::string letters = "ab:c";
  constexpr std::size_t size_max = 6;
  for (std::size_t i = 0; keys[i].size() < size_max; ++i) {
    for (const char c : letters) {
      keys.push_back(keys[i] + c);
    }
  }
  for (const std::string& a : patterns) {
    for (const std::string& b : patterns) {
      bool common = false;
      for (const std::string& key : keys) {
        common = common || (belongs(key, a) && belongs(key, b));
      }
      EXPECT_EQ(overlap(a, b), common) << a << " and " << b;
    }
  }
}

TEST(KeyPattern, TheLargestPatternsAreComparedInTime) {
  const std::string prefix(200, 'k');
  const KeyPattern a = pattern(prefix + "{a}-{b}-{c}-{d}-{e}-{f}");
  const KeyPattern b = pattern(prefix + "{a}+{b}+{c}+{d}+{e}+{f}");
  for (int i = 0; i < 1'000; ++i) {
    EXPECT_TRUE(a.overlaps(b));
  }
}

TEST(KeyPattern, PartsOfAQueryAreItsNamesInBraces) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(parts_of_query("SELECT * FROM a WHERE b = {b} AND c = {c_2}"), Names({"b", "c_2"}));
  EXPECT_EQ(parts_of_query("SELECT {a}, {b}, {a}"), Names({"a", "b"}));
  EXPECT_EQ(parts_of_query("SELECT '{1,2}', '{}', '{\"a\": 1}', {A}, { a }, {{x}}"), Names({"x"}));
  EXPECT_EQ(parts_of_query("{"), Names());
  EXPECT_EQ(parts_of_query("{a"), Names());
  EXPECT_EQ(parts_of_query("a}"), Names());
  EXPECT_EQ(parts_of_query(""), Names());
  EXPECT_EQ(parts_of_query(std::string(100'000, '{') + "a}"), Names({"a"}));
}

}  // namespace
}  // namespace meridian::config
