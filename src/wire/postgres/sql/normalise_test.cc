// Normalising: texts share a form exactly when they differ in literals of one class, comments and
// white space alone; whatever else could differ keeps them apart.

#include "wire/postgres/sql/normalise.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::postgres {
namespace {

std::string form(std::string_view sql, StringSyntax strings = StringSyntax::standard) {
  std::string out;
  const Normalised normalised = normalise(sql, out, strings);
  EXPECT_EQ(normalised.complete, normalised.hash != Hash128());
  return normalised.complete ? out : "incomplete";
}

TEST(Normalise, ReplacesLiteralsByTheirClass) {
  EXPECT_EQ(form("SELECT abalance FROM pgbench_accounts WHERE aid = 12345;"),
            "SELECT abalance FROM pgbench_accounts WHERE aid = {int4};");
  EXPECT_EQ(form("select 'a', E'b', U&'c', $$d$$, $x$e$x$"),
            "select {string}, {string}, {string}, {string}, {string}");
  EXPECT_EQ(form("select B'01', X'ff'"), "select {bits}, {hex}");
  EXPECT_EQ(form("select 1.5, .5, 1e5"), "select {numeric}, {numeric}, {numeric}");
  EXPECT_EQ(form("select -1, a-1, a - 1"), "select -{int4}, a-{int4}, a - {int4}");
  EXPECT_EQ(form("select N'a', date '2026-01-01'"), "select N{string}, date {string}");
}

TEST(Normalise, TellsTheSizesOfIntegersApart) {
  EXPECT_EQ(form("2147483647"), "{int4}");
  EXPECT_EQ(form("2147483648"), "{int8}");
  EXPECT_EQ(form("9223372036854775807"), "{int8}");
  EXPECT_EQ(form("9223372036854775808"), "{numeric}");
  EXPECT_EQ(form("0000000000000000000000000000001"), "{int4}");
  EXPECT_EQ(form("0000000000"), "{int4}");
}

TEST(Normalise, KeepsWhatIsNoLiteral) {
  EXPECT_EQ(form("select \"A b\", $1, null, true, a->>'k' from t where x ?| y"),
            "select \"A b\", $1, null, true, a->>{string} from t where x ?| y");
  EXPECT_NE(form("select a"), form("select A"));
  EXPECT_NE(form("select \"a\""), form("select a"));
}

TEST(Normalise, DropsCommentsAndCollapsesWhiteSpace) {
  EXPECT_EQ(form("  select\t1 \n -- one\n , /* two /* deep */ */ 2  "), "select {int4} , {int4}");
  EXPECT_EQ(form("select/**/1"), "select {int4}");
  EXPECT_EQ(form("select +/**/+ 1"), "select + + {int4}");
  EXPECT_EQ(form("/* only */ -- this"), "");
}

TEST(Normalise, KeepsTokensApartThatAreApart) {
  EXPECT_NE(form("select a b"), form("select ab"));
  EXPECT_NE(form("select - - 1"), form("select -\n-1"));
  EXPECT_NE(form("select N'a'"), form("select N 'a'"));
  EXPECT_EQ(form("select 1.5.5"), "select {numeric}{numeric}");
}

// A literal behind a line's end continues the one before it; on the same line it does not.
TEST(Normalise, MindsTheLineEndBetweenStrings) {
  EXPECT_EQ(form("select 'a'\n'b'"), "select {string}");
  EXPECT_EQ(form("select 'a' -- c\n'b'"), "select {string}");
  EXPECT_EQ(form("select 'a' 'b'"), "select {string} {string}");
}

// The form must not be written by hand: braces are no token, and stay apart inside of quotes.
TEST(Normalise, CannotBeDeceivedByPlaceholdersInTheText) {
  EXPECT_EQ(form("select {int4}"), "incomplete");
  EXPECT_EQ(form("select \"{int4}\""), "select \"{int4}\"");
  EXPECT_EQ(form("select '{int4}'"), "select {string}");
  EXPECT_EQ(form("/* {int4} */ select a"), "select a");
  EXPECT_NE(form("select ? s"), form("select 's'"));
}

// U&"d!0061t" UESCAPE '!' names another column than with another escape character.
TEST(Normalise, KeepsTheStringBehindUescape) {
  EXPECT_NE(form("select U&\"d!0061t\" UESCAPE '!'"), form("select U&\"d!0061t\" uescape '?'"));
  EXPECT_EQ(form("select U&\"d!0061t\" UESCAPE '!' , '!'"),
            "select U&\"d!0061t\" UESCAPE '!' , {string}");
}

TEST(Normalise, IsIncompleteWhereItIsUnsure) {
  for (const std::string_view text : {"select 'a",
                                      "select 1a",
                                      "select 0x1F",
                                      "select \\",
                                      "select /* a",
                                      "select $$a",
                                      "select \"a"})
    EXPECT_EQ(form(text), "incomplete") << text;
  EXPECT_EQ(form(std::string_view("select 1\0", 9)), "incomplete");
  EXPECT_EQ(form(std::string_view("select 'a\0b'", 12)), "incomplete");
}

TEST(Normalise, ReadsBackslashesAsTheSessionDoes) {
  constexpr std::string_view text = "select 'a\\', 'b'";
  EXPECT_EQ(form(text), "select {string}, {string}");
  EXPECT_EQ(form(text, StringSyntax::escaped), "incomplete");
  EXPECT_EQ(form(text, StringSyntax::unknown), "incomplete");
  EXPECT_EQ(form("select 'a\\'', 'b'", StringSyntax::escaped), "select {string}, {string}");
  EXPECT_EQ(form("select 'a', 'b'", StringSyntax::unknown), "select {string}, {string}");
}

TEST(Normalise, LeavesTheBufferAsItWasWhenIncomplete) {
  std::string out = "before ";
  EXPECT_FALSE(normalise("select 1, 'a", out).complete);
  EXPECT_EQ(out, "before ");
  const Normalised appended = normalise("select 1", out);
  EXPECT_EQ(out, "before select {int4}");
  std::string alone;
  EXPECT_EQ(normalise("select 2", alone).hash, appended.hash);
}

TEST(Normalise, CountsStatementsFromAbove) {
  const auto count = [](std::string_view sql) {
    std::string out;
    return normalise(sql, out).statements_max;
  };
  EXPECT_EQ(count(""), 0U);
  EXPECT_EQ(count(" ; ; "), 0U);
  EXPECT_EQ(count("select 1"), 1U);
  EXPECT_EQ(count("select 1;"), 1U);
  EXPECT_EQ(count("select 1; -- done"), 1U);
  EXPECT_EQ(count("select ';'; delete from t;"), 2U);
  EXPECT_EQ(count("select E'O\\'Brien'; delete from t"), 2U);
  EXPECT_EQ(count(";;select 1;;select 2;;"), 2U);
}

TEST(Normalise, FindsTheTraceparentOfSqlcommenter) {
  const auto request = [](std::string_view sql) {
    std::string out;
    return normalise(sql, out).request.to_hex();
  };
  constexpr std::string_view id = "0af7651916cd43dd8448eb211c80319c";
  const std::string none(32, '0');
  EXPECT_EQ(request("select 1 /*action='a',traceparent='00-0af7651916cd43dd8448eb211c80319c-"
                    "b7ad6b7169203331-01'*/"),
            id);
  EXPECT_EQ(request("/*traceparent='00%2D0af7651916cd43dd8448eb211c80319c%2Db7ad6b7169203331-01'*/"
                    "select 1"),
            id);
  EXPECT_EQ(request("select 'traceparent=''00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
                    "01''' -- no comment"),
            none);
  EXPECT_EQ(request("/*traceparent='00-0af7651916cd43dd'*/ select 1"), none);
  EXPECT_EQ(request("/*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01*/ 1"),
            none);
  EXPECT_EQ(request("/*xtraceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/ 1"),
            none);
  EXPECT_EQ(request("/*traceparent='%'*/ 1"), none);
  EXPECT_EQ(request("/*traceparent='%0'*/ 1"), none);
}

}  // namespace
}  // namespace meridian::postgres
