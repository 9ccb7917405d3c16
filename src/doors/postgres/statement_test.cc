// A statement is proven to leave all rows alone only when everything that it reaches is known to;
// names stand for what they were given last.

#include "doors/postgres/statement.h"

#include "doors/postgres/prepared_names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

namespace meridian {
namespace {

using postgres::StringSyntax;

std::shared_ptr<ReadOnlyCatalog> some_catalog() {
  auto catalog = std::make_shared<ReadOnlyCatalog>();
  catalog->functions = {"lower", "now"};
  catalog->operators = {"=", "+"};
  catalog->harmful_functions = {"delete_all"};
  catalog->harmful_relations = {"writing_view"};
  catalog->implicit_harm = false;
  return catalog;
}

class StatementTest : public ::testing::Test {
 protected:
  bool proven(std::string_view sql) {
    const auto classified = classifier_.classify(sql, StringSyntax::standard);
    return classifier_.proven_read_only(*classified.shape);
  }

  Published<ReadOnlyCatalog> catalog_{some_catalog()};
  StatementClassifier classifier_{catalog_};
};

TEST_F(StatementTest, WhatReadsIsProven) {
  for (const std::string_view sql : {"select 1",
                                     "select * from orders where id = 7",
                                     "select lower(name) from users",
                                     "begin",
                                     "commit",
                                     "begin; select 1; commit",
                                     "show timezone",
                                     ""})
    EXPECT_TRUE(proven(sql)) << sql;
}

TEST_F(StatementTest, WhatMayWriteIsNot) {
  for (const std::string_view sql : {"insert into orders values (1)",
                                     "select delete_all()",
                                     "select unknown(1)",
                                     "select * from writing_view",
                                     "select 1 - 2",
                                     "with x as (delete from orders returning 1) select * from x",
                                     "select * into copy from orders",
                                     "execute prepared",
                                     "call procedure()",
                                     "do $$ begin end $$",
                                     "prepare transaction 'x'",
                                     "select 1; delete from orders",
                                     "selec 1",
                                     "select (orders).delete_all from orders"})
    EXPECT_FALSE(proven(sql)) << sql;
}

TEST_F(StatementTest, ANewCatalogueIsAskedAgain) {
  EXPECT_TRUE(proven("select lower('A')"));
  auto next = some_catalog();
  next->functions.erase("lower");
  catalog_.publish(next);
  EXPECT_FALSE(proven("select lower('A')"));
  catalog_.publish(some_catalog());
  EXPECT_TRUE(proven("select lower('A')"));
  auto harmful = some_catalog();
  harmful->implicit_harm = true;
  catalog_.publish(harmful);
  EXPECT_FALSE(proven("select 1"));
}

TEST_F(StatementTest, LiteralsMakeOneShapeAndAreNotOnTheTrail) {
  const auto one =
      classifier_.classify("select * from users where name = 'alice'", StringSyntax::standard);
  const auto other =
      classifier_.classify("select * from users where name = 'bob'", StringSyntax::standard);
  EXPECT_EQ(one.shape, other.shape);
  EXPECT_FALSE(one.shape->text.contains("alice"));
  EXPECT_EQ(classifier_.count(), 1U);
}

TEST_F(StatementTest, WhatIsTooLongIsTakenToWrite) {
  const std::string sql = "select '" + std::string(StatementClassifier::text_bytes_max, 'x') + "'";
  EXPECT_FALSE(proven(sql));
  EXPECT_EQ(classifier_.count(), 0U);
}

TEST_F(StatementTest, ShapesAreBounded) {
  for (std::size_t i = 0; i < StatementClassifier::shapes_max; ++i)
    (void)classifier_.classify("select c" + std::to_string(i), StringSyntax::standard);
  EXPECT_LE(classifier_.count(), StatementClassifier::shapes_max / 2);
}

TEST_F(StatementTest, ShapesAreBoundedInBytes) {
  // Short statements, of which much is known, in long texts.
  constexpr std::size_t statements = 4'000;
  Gauge known;
  StatementClassifier classifier(catalog_, &known);
  std::size_t most = 0;
  for (std::size_t i = 0; i < 40; ++i) {
    std::string sql = "select c" + std::to_string(i) + ";";
    for (std::size_t n = 0; n < statements; ++n)
      sql += "select x;";
    (void)classifier.classify(sql, StringSyntax::standard);
    most = std::max(most, classifier.bytes());
    EXPECT_EQ(known.value(), static_cast<std::int64_t>(classifier.bytes()));
  }
  EXPECT_GT(most, StatementClassifier::shapes_bytes_max / 4);
  EXPECT_LE(most, StatementClassifier::shapes_bytes_max);
  EXPECT_GT(classifier.count(), 0U);
}

TEST_F(StatementTest, WhoTouchesSynchronousCommitMayCommitUnflushed) {
  const auto unflushed = [&](std::string_view sql) {
    return classifier_.classify(sql, StringSyntax::standard).shape->may_commit_unflushed;
  };
  EXPECT_TRUE(unflushed("set synchronous_commit = off"));
  EXPECT_TRUE(unflushed("select set_config('synchronous_commit', 'off', false)"));
  EXPECT_FALSE(unflushed("select 1"));
  EXPECT_TRUE(make_opaque_shape("?").may_commit_unflushed);
}

TEST_F(StatementTest, WhatGoesBackToTheServersSettings) {
  const auto resets = [&](std::string_view sql) {
    return classifier_.classify(sql, StringSyntax::standard).shape->resets_settings;
  };
  EXPECT_TRUE(resets("reset all"));
  EXPECT_TRUE(resets("select pg_advisory_unlock_all(); close all; unlisten *; reset all;"));
  EXPECT_TRUE(resets("discard all"));
  EXPECT_TRUE(resets("reset search_path"));
  EXPECT_TRUE(resets("set time zone default"));
  EXPECT_FALSE(resets("discard temp"));
  EXPECT_FALSE(resets("set search_path = 'all'"));
  EXPECT_FALSE(resets("select 'reset all'"));
}

TEST(PreparedNamesTest, NamesStandForTheirStatement) {
  const auto one = std::make_shared<StatementShape>(make_opaque_shape("one"));
  const auto two = std::make_shared<StatementShape>(make_opaque_shape("two"));
  PreparedNames names;
  EXPECT_EQ(names.statement("").shape, nullptr);
  EXPECT_EQ(names.statement("s").shape, nullptr);
  names.prepare("s", {.shape = one, .request = {}});
  names.bind("p", "s");
  names.prepare("s", {.shape = two, .request = {}});
  EXPECT_EQ(names.portal("p"), one);  // Bound before.
  EXPECT_EQ(names.statement("s").shape, two);
  names.close_statement("s");
  EXPECT_EQ(names.statement("s").shape, nullptr);
  EXPECT_EQ(names.portal("p"), one);
  names.close_portal("p");
  EXPECT_EQ(names.portal("p"), nullptr);
  names.prepare("", {.shape = one, .request = {}});
  EXPECT_TRUE(names.has_unnamed_statement());
  EXPECT_FALSE(names.has_unnamed_portal());
  names.bind("", "");
  EXPECT_TRUE(names.has_unnamed_portal());
  EXPECT_EQ(names.portal(""), one);
  names.drop_unnamed();
  EXPECT_FALSE(names.has_unnamed_statement());
  EXPECT_FALSE(names.has_unnamed_portal());
  EXPECT_EQ(names.statement("").shape, nullptr);
  EXPECT_EQ(names.portal(""), nullptr);
  names.bind("q", "unknown");
  EXPECT_EQ(names.portal("q"), nullptr);
}

}  // namespace
}  // namespace meridian
