// A suggestion is made for a slip of the pen, and none where it would be a guess.

#include "app/config/spelling.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace meridian::config {
namespace {

constexpr std::array<std::string_view, 6> words{
    "postgres", "redis", "commit_wait", "commit_wait_max", "url", "password_file"};

TEST(Spelling, OneSlipOfEachKindIsFound) {
  EXPECT_EQ(nearest_word("postgrs", words), "postgres");    // Left out.
  EXPECT_EQ(nearest_word("posttgres", words), "postgres");  // Added.
  EXPECT_EQ(nearest_word("pustgres", words), "postgres");   // Replaced.
  EXPECT_EQ(nearest_word("psotgres", words), "postgres");   // Swapped.
  EXPECT_EQ(nearest_word("rdeis", words), "redis");
}

TEST(Spelling, CaseAndDashesDoNotCount) {
  EXPECT_EQ(nearest_word("Commit-Wait", words), "commit_wait");
  EXPECT_EQ(nearest_word("URL", words), "url");
}

TEST(Spelling, TheNearestOfSeveralWins) {
  EXPECT_EQ(nearest_word("commit_wait_mx", words), "commit_wait_max");
  EXPECT_EQ(nearest_word("comit_wait", words), "commit_wait");
}

TEST(Spelling, TheBeginningOfOneWordIsFound) {
  EXPECT_EQ(nearest_word("password", words), "password_file");
  EXPECT_EQ(nearest_word("pass", words), "password_file");
  EXPECT_EQ(nearest_word("pas", words), "");
  constexpr std::array<std::string_view, 2> twins{"visits_maximum", "visits_per_address"};
  EXPECT_EQ(nearest_word("visits", twins), "") << "it begins two";
}

TEST(Spelling, NothingIsGuessed) {
  EXPECT_EQ(nearest_word("", words), "");
  EXPECT_EQ(nearest_word("color", words), "");
  EXPECT_EQ(nearest_word("uri_of_it", words), "");
  EXPECT_EQ(nearest_word("x", words), "");
  EXPECT_EQ(nearest_word("postgres", {}), "");
  EXPECT_EQ(nearest_word(std::string(65, 'a'), words), "");
  constexpr std::array<std::string_view, 1> one_letter{"a"};
  EXPECT_EQ(nearest_word("b", one_letter), "") << "every letter is one slip from every other";
}

TEST(Spelling, QuestionAndListReadAsText) {
  EXPECT_EQ(did_you_mean("redsi", words), "; did you mean \"redis\"?");
  EXPECT_EQ(did_you_mean("color", words), "");
  constexpr std::array<std::string_view, 4> four{"a", "b", "c", "d"};
  EXPECT_EQ(list_words(std::span(four).first(0), " or "), "");
  EXPECT_EQ(list_words(std::span(four).first(1), " or "), "a");
  EXPECT_EQ(list_words(std::span(four).first(2), " or "), "a or b");
  EXPECT_EQ(list_words(four, " and "), "a, b, c and d");
  EXPECT_EQ(list_words(four, " and ", 2), "a, b, ... (4 in all)");
}

}  // namespace
}  // namespace meridian::config
