// The bounds: a text within them never uses more stack than promised or an absurd time, whatever it
// nests; and what people write stays within them.

#include "wire/postgres/sql/parse_bounds.h"

#include "wire/postgres/sql/analysis.h"
#include "wire/postgres/sql/view_query.h"

#include <gtest/gtest.h>

#include <pthread.h>
#include <string>
#include <utility>
#include <vector>

namespace meridian::postgres {
namespace {

std::string repeat(std::string_view text, std::size_t count) {
  std::string repeated;
  for (std::size_t i = 0; i < count; ++i)
    repeated += text;
  return repeated;
}

// One way to make a tree deep: `open` and `close` around the middle, or a chain without a close.
struct Nesting {
  std::string_view begin;
  std::string_view open;
  std::string_view middle;
  std::string_view close;
  std::string_view end;

  std::string text(std::size_t count) const {
    return std::string(begin) + repeat(open, count) + std::string(middle) + repeat(close, count) +
           std::string(end);
  }
};

const std::vector<Nesting> nestings = {
    {"select ", "(", "1", ")", ""},
    {"select ", "((", "1", ")+1)", ""},
    {"select 1", " + 1", "", "", ""},
    {"select ", "not ", "true", "", ""},
    {"select ", "+ ", "a", "", ""},
    {"select ", "@@ ", "a", "", ""},
    {"select 1", "::int", "", "", ""},
    {"select 1", " is null", "", "", ""},
    {"select 1", " isnull", "", "", ""},
    {"select 1", " notnull", "", "", ""},
    {"select 1", " is distinct from 2 is null", "", "", ""},
    {"select 'a'", " collate x", "", "", ""},
    {"select a", " at time zone 'x'", "", "", ""},
    {"select a", " between 1 and 2 is null", "", "", ""},
    {"select a", " in (1) is null", "", "", ""},
    {"select a", " like b is null", "", "", ""},
    {"select a", " operator(pg_catalog.+) 1", "", "", ""},
    {"select a", " || (b", "", ")", ""},
    {"select ", "(select ", "1", ")", ""},
    {"select ", "array(select ", "1", ")", ""},
    {"select 1 where ", "exists (select 1 where ", "true", ")", ""},
    {"select 1 ", "from (select 1 ", "", ") x", ""},
    {"", "with x as (", "select 1", ") select 1", ""},
    {"", "(with x as (", "select 1", ") select 1)", ""},
    {"select 1", " union select 1", "", "", ""},
    {"select 1", " intersect select 1", "", "", ""},
    {"", "(select 1 union ", "select 1", ")", ""},
    {"select 1 from a", " join b on true", "", "", ""},
    {"select 1 from a", " cross join b", "", "", ""},
    {"select 1 from ", "(a join ", "b", " on true)", ""},
    {"select 1 from a", " join b", "", " on true", ""},
    {"select ", "array[", "1", "]", ""},
    {"select ", "a[", "1", "]", ""},
    {"select ", "case when true then ", "1", " end", ""},
    {"select ", "case when ", "a", " or b then 1 end", ""},
    {"select ", "case when a.end then ", "1", " end", ""},
    {"select ", "case a when 1 then b else ", "1", " end", ""},
    {"select ", "not case when a or b then ", "1", " end", ""},
    {"select ", "coalesce(", "1", ")", ""},
    {"select ", "f(a => ", "1", ")", ""},
    {"select ", "row(", "1", ")", ""},
    {"select ", "cast(", "1", " as int)", ""},
    {"select ", "sum(1) over (order by ", "1", ")", ""},
    {"select ", "count(*) filter (where ", "a", ")", ""},
    {"select 1::", "x(", "1", ")", ""},
    {"select a", ".b", "", "", ""},
    {"select (a)", ".b", "", "", ""},
    {"select 1 group by ", "grouping sets (", "a", ")", ""},
    {"create table t (a int default ", "(", "1", ")", ")"},
    {"create table t () ", "partition by list ((", "a", "))", ""},
    {"explain ", "(select ", "1", ")", ""},
};

// Runs `body` on a thread with as much stack as promised. More would be a crash.
template <class Body>
void run_on_promised_stack(Body body) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, analysis_stack_bytes), 0);
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread,
                &attributes,
                [](void* function) -> void* {
                  (*static_cast<Body*>(function))();
                  return nullptr;
                },
                &body),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

// The deepest text of this kind that the bounds allow.
std::string deepest(const Nesting& nesting, const ParseBounds& bounds) {
  std::size_t low = 1;
  std::size_t high = 20'000;
  while (low + 1 < high) {
    const std::size_t middle = (low + high) / 2;
    (check_parse_bounds(nesting.text(middle), bounds) ? low : high) = middle;
  }
  return nesting.text(low);
}

TEST(ParseBounds, KeepTheStackWithinWhatIsPromised) {
  const ParseBounds bounds;
  run_on_promised_stack([&] {
    for (const Nesting& nesting : nestings) {
      const std::string text = deepest(nesting, bounds);
      (void)analyse(text);
      (void)parse_view_query(text, {});
    }
  });
}

TEST(ParseBounds, CountWhatStandsBelowWhatWasReadBefore) {
  // Each bracket's chain lies below the one that grows around it afterwards.
  const Nesting nesting{"select ", "(", "1", ") + 1 + 1", ""};
  const ParseBounds bounds{.nesting_max = 100};
  EXPECT_TRUE(check_parse_bounds(nesting.text(30), bounds));
  EXPECT_FALSE(check_parse_bounds(nesting.text(40), bounds));
  // A label named like the end of CASE closes nothing.
  EXPECT_FALSE(check_parse_bounds(
      Nesting{"select ", "case when a.end then ", "1", " end", ""}.text(101), bounds));
  // The AND of BETWEEN begins no new operand.
  EXPECT_FALSE(check_parse_bounds(
      Nesting{"select a", " between 1 and 2 is null", "", "", ""}.text(101), bounds));
}

TEST(ParseBounds, AllowLongLists) {
  const ParseBounds bounds;
  EXPECT_TRUE(check_parse_bounds("select 1" + repeat(", a + 1", 5000), bounds));
  EXPECT_TRUE(
      check_parse_bounds("insert into t values (1)" + repeat(", (1, -2, 'x')", 5000), bounds));
  EXPECT_TRUE(
      check_parse_bounds("select 1 where a = 1" + repeat(" or a = 1 and b < 2", 3000), bounds));
  EXPECT_TRUE(
      check_parse_bounds("select case" + repeat(" when a = 1 then 2", 3000) + " end", bounds));
  EXPECT_TRUE(check_parse_bounds(repeat("select 1 + 1;", 5000), bounds));
  EXPECT_TRUE(check_parse_bounds("select a from t" + repeat(" join u on t.a = u.a", 200), bounds));
}

TEST(ParseBounds, RefuseTextsThatAreTooLong) {
  EXPECT_FALSE(check_parse_bounds(std::string(256 * 1024 + 1, ' '), {}));
  EXPECT_TRUE(check_parse_bounds(std::string(256 * 1024, ' '), {}));
}

// libpg_query writes the right side of (a, b, c) = (...) once for each column; nested, such
// statements multiply. 30 columns nested 10 deep would be 30^10 copies.
TEST(ParseBounds, RefuseWhatTheParserWouldMultiply) {
  const std::string columns = "(a" + repeat(", a", 29) + ")";
  const auto nested = [&](std::size_t count) {
    return repeat("update t set " + columns + " = (with x as (", count) + "select 1" +
           repeat(") select 1)", count);
  };
  EXPECT_TRUE(check_parse_bounds(nested(1), {}));
  EXPECT_FALSE(check_parse_bounds(nested(4), {}));
  EXPECT_TRUE(analyse(nested(2)));
  // What such statements look like when people write them.
  EXPECT_TRUE(check_parse_bounds(
      "update t set " + columns + " = (select 1" + repeat(", a + b", 29) + " from u)", {}));
  EXPECT_TRUE(check_parse_bounds(
      "select 1 where (a, b) = (1, 2)" + repeat(" or (a, b) = (1, 2)", 500), {}));
}

TEST(ParseBounds, RefuseTokensThatAreNotUnderstood) {
  EXPECT_FALSE(check_parse_bounds("select 1a", {}));
  EXPECT_FALSE(check_parse_bounds("select " + repeat("+", 100) + "1", {}));
  EXPECT_TRUE(check_parse_bounds("select 'a\\b'", {}));
  EXPECT_FALSE(check_parse_bounds("select 'a\\b'", {}, StringSyntax::escaped));
  EXPECT_FALSE(check_parse_bounds("select 'a\\b'", {}, StringSyntax::unknown));
}

}  // namespace
}  // namespace meridian::postgres
