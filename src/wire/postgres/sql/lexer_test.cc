// The lexer: tokens are PostgreSQL's own, and what cannot be told for sure is an unknown token. The
// fuzz target normalise_fuzz.cc holds it against PostgreSQL's scanner.

#include "wire/postgres/sql/lexer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

using Kind = TokenKind;

struct Expected {
  Kind kind;
  std::string text;
  friend bool operator==(const Expected&, const Expected&) = default;
};

void PrintTo(const Expected& token, std::ostream* out) {
  *out << static_cast<int>(token.kind) << ":" << token.text;
}

// All tokens but white space.
std::vector<Expected> tokens(std::string_view sql, StringSyntax strings = StringSyntax::standard) {
  Lexer lexer(sql, strings);
  std::vector<Expected> found;
  for (Token token = lexer.next(); token.kind != Kind::end; token = lexer.next()) {
    if (token.kind != Kind::space) found.push_back({token.kind, std::string(lexer.text(token))});
  }
  return found;
}

Kind only_kind(std::string_view sql, StringSyntax strings = StringSyntax::standard) {
  const auto found = tokens(sql, strings);
  return found.size() == 1 ? found[0].kind : Kind::end;
}

TEST(Lexer, TellsTheKindsOfStringsApart) {
  EXPECT_EQ(only_kind("'it''s'"), Kind::string);
  EXPECT_EQ(only_kind("'back\\'"), Kind::string);
  EXPECT_EQ(only_kind("E'it\\'s'"), Kind::escape_string);
  EXPECT_EQ(only_kind("e'it''s \\\\'"), Kind::escape_string);
  EXPECT_EQ(only_kind("U&'d\\0061t'"), Kind::unicode_string);
  EXPECT_EQ(only_kind("B'01'"), Kind::bit_string);
  EXPECT_EQ(only_kind("x'1F'"), Kind::hex_string);
  EXPECT_EQ(only_kind("$$it's$$"), Kind::dollar_string);
  EXPECT_EQ(only_kind("$a_1$ $$ $b$ $a_1$"), Kind::dollar_string);
  EXPECT_EQ(tokens("N'a'"), (std::vector<Expected>{{Kind::word, "N"}, {Kind::string, "'a'"}}));
  EXPECT_EQ(tokens("xe'a'"), (std::vector<Expected>{{Kind::word, "xe"}, {Kind::string, "'a'"}}));
  EXPECT_EQ(tokens("B'0''1'"),
            (std::vector<Expected>{{Kind::bit_string, "B'0'"}, {Kind::string, "'1'"}}));
}

// A classifier that reads E'O\'Brien' like a plain string sees a second statement, or none.
TEST(Lexer, EndsStringsWherePostgresEndsThem) {
  EXPECT_EQ(tokens("E'O\\'Brien'; delete").size(), 3U);
  EXPECT_EQ(tokens("'O\\'; delete").size(), 3U);
  EXPECT_EQ(tokens("$x$ ; $y$ ; $x$;").size(), 2U);
}

TEST(Lexer, ContinuesAStringBehindALinesEndAlone) {
  EXPECT_EQ(only_kind("'a'\n'b'"), Kind::string);
  EXPECT_EQ(only_kind("'a' -- remark\n \t\r\n 'b'"), Kind::string);
  EXPECT_EQ(only_kind("'a'\n-- remark\n'b'"), Kind::string);
  EXPECT_EQ(only_kind("E'a\\''\n'\\'b'"), Kind::escape_string);
  EXPECT_EQ(only_kind("x'1'\n'f'"), Kind::hex_string);
  EXPECT_EQ(tokens("'a' 'b'").size(), 2U);
  EXPECT_EQ(tokens("'a' /*\n*/ 'b'").size(), 3U);
  EXPECT_EQ(tokens("'a'\nE'b'").size(), 2U);
  EXPECT_EQ(tokens("'a'\n- 'b'").size(), 3U);
  EXPECT_EQ(tokens("$$a$$\n'b'").size(), 2U);
}

TEST(Lexer, ReadsPlainStringsAsTheSessionDoes) {
  EXPECT_EQ(only_kind("'it\\'s'", StringSyntax::escaped), Kind::escape_string);
  EXPECT_EQ(only_kind("'its'", StringSyntax::unknown), Kind::string);
  EXPECT_EQ(only_kind("'it\\s'", StringSyntax::unknown), Kind::unknown);
  EXPECT_EQ(only_kind("E'it\\'s'", StringSyntax::unknown), Kind::escape_string);
  EXPECT_EQ(only_kind("'a'\n'\\'", StringSyntax::unknown), Kind::unknown);
}

TEST(Lexer, ReadsNumbers) {
  for (const std::string_view text : {"0", "42", "00012345678901234567890"})
    EXPECT_EQ(only_kind(text), Kind::integer) << text;
  for (const std::string_view text : {"1.5", "1.", ".5", "1e5", "1.e5", ".5E-5", "1E+05"})
    EXPECT_EQ(only_kind(text), Kind::decimal) << text;
  EXPECT_EQ(tokens("1..2"),
            (std::vector<Expected>{
                {Kind::integer, "1"}, {Kind::punctuation, ".."}, {Kind::integer, "2"}}));
  EXPECT_EQ(tokens("1.5.5"),
            (std::vector<Expected>{{Kind::decimal, "1.5"}, {Kind::decimal, ".5"}}));
}

// Up to version 14 a number and a name, an error in 15, partly numbers from 16 on.
TEST(Lexer, CallsNumbersWithLettersBehindThemUnknown) {
  for (const std::string_view text :
       {"0x1F", "0o17", "0b1", "1_000", "1a", "1e", "1e+", "1.5x", "$1a", "123abc", "1.e"})
    EXPECT_EQ(only_kind(text), Kind::unknown) << text;
}

TEST(Lexer, ReadsParameters) {
  EXPECT_EQ(only_kind("$1"), Kind::parameter);
  EXPECT_EQ(tokens("$1$2").size(), 2U);
  EXPECT_EQ(only_kind("a$1"), Kind::word);
  EXPECT_EQ(only_kind("a$b$c"), Kind::word);
}

TEST(Lexer, CutsOperatorsAsPostgresDoes) {
  const auto op = [](std::string text) { return Expected{Kind::op, std::move(text)}; };
  EXPECT_EQ(tokens("@-"), std::vector<Expected>{op("@-")});
  EXPECT_EQ(tokens("=-"), (std::vector<Expected>{op("="), op("-")}));
  EXPECT_EQ(tokens("<=+-"), (std::vector<Expected>{op("<="), op("+"), op("-")}));
  EXPECT_EQ(tokens("->>"), std::vector<Expected>{op("->>")});
  EXPECT_EQ(tokens("?|"), std::vector<Expected>{op("?|")});
  EXPECT_EQ(tokens("*/**/+"), (std::vector<Expected>{op("*"), {Kind::comment, "/**/"}, op("+")}));
  EXPECT_EQ(tokens("+--x"), (std::vector<Expected>{op("+"), {Kind::comment, "--x"}}));
  EXPECT_EQ(only_kind(std::string(63, '|')), Kind::op);
  EXPECT_EQ(only_kind(std::string(64, '|')), Kind::unknown);
}

TEST(Lexer, NestsComments) {
  EXPECT_EQ(only_kind("/* a /* b */ c */"), Kind::comment);
  EXPECT_EQ(only_kind("/* a /* b */"), Kind::unknown);
  EXPECT_EQ(only_kind("/*/"), Kind::unknown);
  EXPECT_EQ(only_kind("/**/"), Kind::comment);
  EXPECT_EQ(only_kind("/*//**/*/"), Kind::comment);
  EXPECT_EQ(tokens("--a\nb"), (std::vector<Expected>{{Kind::comment, "--a"}, {Kind::word, "b"}}));
  EXPECT_EQ(tokens("--a\rb").size(), 2U);
}

TEST(Lexer, ReadsQuotedIdentifiers) {
  EXPECT_EQ(only_kind("\"a\"\"b\""), Kind::quoted_identifier);
  EXPECT_EQ(only_kind("U&\"d\\0061t\""), Kind::unicode_identifier);
  EXPECT_EQ(only_kind("\"a\nb\""), Kind::quoted_identifier);
  EXPECT_EQ(tokens("\"a\"\n\"b\"").size(), 2U);
}

TEST(Lexer, CallsUnfinishedTokensUnknown) {
  for (const std::string_view text : {"'a",
                                      "E'a\\'",
                                      "\"a",
                                      "$$a",
                                      "$a$ $b$",
                                      "/* a",
                                      "B'0",
                                      "U&'a",
                                      "'a'\n'",
                                      "\"a\"\"",
                                      "E'\\"})
    EXPECT_EQ(only_kind(text), Kind::unknown) << text;
}

TEST(Lexer, CallsStrayBytesUnknownAndGoesOn) {
  EXPECT_EQ(tokens("{a}"),
            (std::vector<Expected>{{Kind::unknown, "{"}, {Kind::word, "a"}, {Kind::unknown, "}"}}));
  EXPECT_EQ(only_kind("\\"), Kind::unknown);
  EXPECT_EQ(only_kind("\v"), Kind::unknown);  // White space from version 16 on.
  EXPECT_EQ(only_kind(std::string_view("\0", 1)), Kind::unknown);
}

TEST(Lexer, TakesLettersBeyondAsciiForLetters) {
  EXPECT_EQ(only_kind("größe"), Kind::word);
  EXPECT_EQ(only_kind("\xff\x80"), Kind::word);
}

// Long runs must not be read again for each token.
TEST(Lexer, ReadsHostileTextsInLinearTime) {
  constexpr std::size_t size = 1 << 20;
  EXPECT_EQ(only_kind(std::string(size, '+')), Kind::unknown);
  EXPECT_EQ(only_kind(std::string(size, '$')), Kind::end);
  std::string strings;
  while (strings.size() < size)
    strings += "'a'\n";
  EXPECT_EQ(only_kind(strings), Kind::string);
  EXPECT_EQ(only_kind("'a'" + std::string(size, ' ')), Kind::string);
}

}  // namespace
}  // namespace meridian::postgres
