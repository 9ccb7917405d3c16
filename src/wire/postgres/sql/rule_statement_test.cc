// A rule's statement is cut where PostgreSQL would see the cut, and what cannot be many rows at
// once says why.

#include "wire/postgres/sql/rule_statement.h"

#include <gtest/gtest.h>

namespace meridian::postgres {
namespace {

TEST(RuleStatement, AnInsertIsCutIntoItsParts) {
  const auto rule = parse_rule_statement(
      "INSERT INTO shop.orders AS o (id, note) /* {x} */\n"
      " VALUES ({id}, upper({note?}) || ')VALUES({id})' || {id}::text)\n"
      " ON CONFLICT (id) DO UPDATE SET note = excluded.note;");
  ASSERT_TRUE(rule) << rule.error().detail();
  EXPECT_EQ(rule->fields, (std::vector<std::string>{"id", "note?"}));
  ASSERT_TRUE(rule->insert) << rule->one_by_one;
  EXPECT_EQ(rule->insert->before, "INSERT INTO ");
  EXPECT_EQ(rule->insert->relation, "shop.orders");
  EXPECT_EQ(rule->insert->columns, " AS o (id, note) /* {x} */\n ");
  EXPECT_EQ(rule->insert->values, "$1, upper($2) || ')VALUES({id})' || $1::text");
  EXPECT_EQ(rule->insert->tail, "\n ON CONFLICT (id) DO UPDATE SET note = excluded.note");
  EXPECT_TRUE(rule->repeatable);
  EXPECT_EQ(replace_parameters(rule->insert->values,
                               [](std::size_t n) { return "f" + std::to_string(n); }),
            "f1, upper(f2) || ')VALUES({id})' || f1::text");
}

TEST(RuleStatement, SaysWhyRowsGoOneByOne) {
  const auto why = [](std::string_view text) {
    const auto rule = parse_rule_statement(text);
    return rule ? rule->one_by_one : "refused: " + rule.error().detail();
  };
  EXPECT_EQ(why("INSERT INTO t VALUES ({a.b[0]}, {meridian.subject})"), "");
  EXPECT_EQ(why("INSERT INTO \"values\" (a) VALUES ({a})"), "");
  EXPECT_EQ(why("UPDATE t SET a = {a} WHERE id = {id}"), "it is no INSERT");
  EXPECT_EQ(why("SELECT put({a})"), "it is no INSERT");
  EXPECT_EQ(why("INSERT INTO t VALUES ({a}) RETURNING a"), "it has a RETURNING");
  EXPECT_EQ(why("INSERT INTO t VALUES ({a}), ({b})"), "it has not one list of VALUES");
  EXPECT_EQ(why("INSERT INTO t SELECT {a}"), "it has not one list of VALUES");
  EXPECT_EQ(why("INSERT INTO t VALUES ((SELECT max(a) FROM t) + {a})"), "a value is a query");
  EXPECT_EQ(why("INSERT INTO t VALUES ({a}, DEFAULT)"), "a value is DEFAULT");
  EXPECT_EQ(why("WITH x AS (SELECT 1) INSERT INTO t VALUES ({a})"), "it has a WITH");
  EXPECT_EQ(why("INSERT INTO t VALUES ({a}) ON CONFLICT (a) DO UPDATE SET a = {a}"),
            "a field stands behind VALUES; write excluded.column there");
}

TEST(RuleStatement, RefusesWhatIsNoneOrSeveral) {
  for (const char* const text : {"",
                                 "INSERT INTO t VALUES ({a}); DELETE FROM t",
                                 "DROP TABLE t",
                                 "INSERT INTO t VALUES ($1)",
                                 "INSERT INTO t VALUES ({a}b)",
                                 "INSERT INTO t VALUES ({a b})",
                                 "INSERT INTO t VALUES ({})",
                                 "INSERT INTO t VALUES ({a",
                                 "INSERT t VALUES ({a})",
                                 "SET ROLE x"}) {
    EXPECT_FALSE(parse_rule_statement(text)) << text;
  }
}

}  // namespace
}  // namespace meridian::postgres
