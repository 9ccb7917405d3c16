// The query of a view: parts become parameters wherever they are parts, and a condition is reported
// only where every row that fails it is without effect on the result.

#include "wire/postgres/sql/view_query.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

const std::vector<std::string> id_part = {"id"};
const std::vector<std::string> two_parts = {"tenant", "id"};

ViewQuery parsed(std::string_view query, const std::vector<std::string>& parts = id_part) {
  auto view = parse_view_query(query, parts);
  EXPECT_TRUE(view) << query << ": " << (view ? "" : view.error().detail());
  return view ? *std::move(view) : ViewQuery();
}

// "o[id=0] l[]": each place with its conditions.
std::string sources(std::string_view query, const std::vector<std::string>& parts = id_part) {
  std::string text;
  for (const ViewSource& source : parsed(query, parts).sources) {
    text += (text.empty() ? "" : " ") + source.relation.name + "[";
    for (const ViewCondition& condition : source.conditions) {
      text += text.ends_with('[') ? "" : ",";
      text += condition.column + "=" + std::to_string(condition.part);
      if (condition.cast) text += "::" + condition.cast->name;
    }
    text += "]";
  }
  return text;
}

std::string refusal(std::string_view query) {
  const ViewQuery view = parsed(query);
  return view.refusals.empty() ? "" : view.refusals[0];
}

TEST(ViewQuery, MakesPartsIntoParameters) {
  EXPECT_EQ(parsed("SELECT a FROM orders WHERE id = {id}").sql,
            "SELECT a FROM orders WHERE id = $1");
  EXPECT_EQ(parsed("select {id}, {tenant}, {id}", two_parts).sql, "select $2, $1, $2");
  EXPECT_EQ(parsed("select ({id})::int").sql, "select ($1)::int");
  EXPECT_EQ(parsed("select 1 where a={id}").sql, "select 1 where a=$1");
}

TEST(ViewQuery, LeavesBracesInLiteralsCommentsAndQuotedNamesAlone) {
  constexpr std::string_view rest =
      "'{id}', E'\\'{id}', $${id}$$, \"{id}\" /* {id} /* {x} */ */ -- {id}\n from t";
  EXPECT_EQ(parsed("select {id}, " + std::string(rest)).sql, "select $1, " + std::string(rest));
}

TEST(ViewQuery, RefusesPartsThatTheKeyLacksAndNamesThem) {
  EXPECT_EQ(parse_view_query("select {name}, {id}", id_part).error().detail(),
            "the query uses {name}, which the key does not have");
  EXPECT_EQ(parse_view_query("select {id}", two_parts).error().detail(),
            "the query does not use {tenant} of the key");
  EXPECT_EQ(parse_view_query("select '{id}'", id_part).error().detail(),
            "the query does not use {id} of the key");
}

TEST(ViewQuery, RefusesWhatIsNoPart) {
  for (const std::string_view query : {"select {id",
                                       "select {}, {id}",
                                       "select { id }",
                                       "select {{id}}",
                                       "select {id}}",
                                       "select {i-d}",
                                       "select $1, {id}",
                                       "select a{id}",
                                       "select {id}a",
                                       "select {id}{id}",
                                       "select 1{id}",
                                       "select ${id}",
                                       "select {id} \\",
                                       "select {id}, 'a"})
    EXPECT_FALSE(parse_view_query(query, id_part)) << query;
}

TEST(ViewQuery, FindsTheConditionOfAPlainQuery) {
  EXPECT_EQ(sources("select * from orders where id = {id}"), "orders[id=0]");
  EXPECT_EQ(sources("select * from orders where {id} = id"), "orders[id=0]");
  EXPECT_EQ(sources("select * from orders where id = {id}::bigint"), "orders[id=0::int8]");
  EXPECT_EQ(sources("select * from orders where id = cast({id} as text)"), "orders[id=0::text]");
  EXPECT_EQ(sources("select * from s.orders where orders.id = {id}"), "orders[id=0]");
  EXPECT_EQ(sources("select * from s.orders where s.orders.id = {id}"), "orders[id=0]");
  EXPECT_EQ(sources("select * from orders o where o.id = {id} and status = 'open'"),
            "orders[id=0]");
  EXPECT_EQ(
      sources("select * from orders where tenant = {tenant} and (id = {id} and a = 1)", two_parts),
      "orders[tenant=0,id=1]");
  EXPECT_EQ(sources("select * from orders where id operator(pg_catalog.=) {id}"), "orders[id=0]");
  EXPECT_EQ(sources("select count(*), max(a) from orders where id = {id} group by b having c "
                    "order by d limit 10"),
            "orders[id=0]");
}

TEST(ViewQuery, ReportsNoConditionThatNeedNotHold) {
  for (const std::string_view query :
       {"select * from orders where id = {id} or a = 1",
        "select * from orders where not id = {id}",
        "select * from orders where id <> {id}",
        "select * from orders where id > {id}",
        "select * from orders where id + 0 = {id}",
        "select * from orders where id = {id} + 0",
        "select * from orders where id::text = {id}",
        "select * from orders where lower(id) = {id}",
        "select * from orders where (id = {id}) is not false",
        "select * from orders where case when id = {id} then true end",
        "select * from orders where id = any({id})",
        "select * from orders where id = {id}::int[]",
        "select * from orders where id operator(mine.=) {id}",
        "select id = {id} from orders",
        "select * from orders group by id having id = {id}",
        "select * from orders order by id = {id}",
        "select * from orders as o (x, id) where id = {id}",
        "select * from orders as o (x, id) where o.id = {id}",
        "select * from orders tablesample system (1) where id = {id}"})
    EXPECT_EQ(sources(query), "orders[]") << query;
}

TEST(ViewQuery, TellsTheTablesOfAJoinApart) {
  EXPECT_EQ(sources("select * from orders o join lines l on l.order_id = o.id where o.id = {id}"),
            "orders[id=0] lines[]");
  EXPECT_EQ(sources("select * from orders o join lines l on l.order_id = {id} where o.id = {id}"),
            "orders[id=0] lines[order_id=0]");
  EXPECT_EQ(sources("select * from orders o, lines l where o.id = {id} and l.order_id = {id}"),
            "orders[id=0] lines[order_id=0]");
  EXPECT_EQ(sources("select * from people a, people b where a.id = {id}"), "people[id=0] people[]");
  // Without a qualifier it could be a column of either.
  EXPECT_EQ(sources("select * from orders, lines where id = {id}"), "orders[] lines[]");
  EXPECT_EQ(sources("select * from orders, f() where id = {id}"), "orders[]");
  EXPECT_EQ(sources("select * from orders, (select 1 as id) x where id = {id}"), "orders[]");
  EXPECT_EQ(sources("select * from a.t, b.t where t.id = {id}"), "t[] t[]");
  EXPECT_EQ(sources("select * from a.t, b.t where b.t.id = {id}"), "t[] t[id=0]");
  // The alias of a join hides those inside.
  EXPECT_EQ(sources("select * from (orders o join lines l on true) as j where o.id = {id}"),
            "orders[] lines[]");
}

// ON keeps rows of the preserved side whatever it says; the other side's rows count only where it
// holds. WHERE holds for every row of the result.
TEST(ViewQuery, KnowsWhatAnOuterJoinKeeps) {
  EXPECT_EQ(sources("select * from orders o left join lines l on o.id = {id} where true"),
            "orders[] lines[]");
  EXPECT_EQ(sources("select * from orders o left join lines l on l.order_id = {id}"),
            "orders[] lines[order_id=0]");
  EXPECT_EQ(sources("select * from orders o right join lines l on o.id = {id}"),
            "orders[id=0] lines[]");
  EXPECT_EQ(sources("select * from orders o right join lines l on l.order_id = {id}"),
            "orders[] lines[]");
  EXPECT_EQ(
      sources("select * from orders o full join lines l on o.id = {id} and l.order_id = {id}"),
      "orders[] lines[]");
  EXPECT_EQ(sources("select * from orders o full join lines l on true where l.order_id = {id}"),
            "orders[] lines[order_id=0]");
  EXPECT_EQ(sources("select * from a left join (b join c on b.x = {id}) on true"),
            "a[] b[x=0] c[]");
  EXPECT_EQ(sources("select * from a left join (b left join c on b.x = {id}) on true"),
            "a[] b[] c[]");
  EXPECT_EQ(sources("select * from a left join (b left join c on true) on c.x = {id}"),
            "a[] b[] c[x=0]");
  EXPECT_EQ(sources("select * from (a left join b on true) join c on b.x = {id}"),
            "a[] b[x=0] c[]");
}

TEST(ViewQuery, ReportsNoConditionForTablesBelowTheOutermostQuery) {
  EXPECT_EQ(sources("select * from (select * from orders where id = {id}) x"), "orders[]");
  EXPECT_EQ(sources("select (select max(a) from lines where order_id = {id}) from orders where id "
                    "= {id}"),
            "lines[] orders[id=0]");
  EXPECT_EQ(sources("with x as (select * from orders where id = {id}) select * from x"),
            "orders[]");
  EXPECT_EQ(sources("with orders as (select 1 as id) select * from orders where id = {id}"), "");
  EXPECT_EQ(sources("select * from a where id = {id} union select * from b where id = {id}"),
            "a[] b[]");
  EXPECT_EQ(sources("select * from orders where id = {id} and exists (select 1 from orders)"),
            "orders[id=0] orders[]");
}

TEST(ViewQuery, SaysWhatMayNotBeCached) {
  EXPECT_EQ(refusal("select * from orders where id = {id}"), "");
  EXPECT_EQ(refusal("select {id}; select 2"), "it has 2 statements instead of one");
  EXPECT_EQ(refusal("delete from orders where id = {id}"), "it is no SELECT");
  EXPECT_EQ(refusal("with x as (delete from t returning *) select * from x where id = {id}"),
            "it changes rows");
  EXPECT_EQ(refusal("select * into x from orders where id = {id}"), "it changes rows");
  EXPECT_EQ(refusal("select * from orders where id = {id} for update"),
            "it locks rows (FOR UPDATE, FOR SHARE)");
  EXPECT_EQ(refusal("select * from pg_temp.orders where id = {id}"), "it names a temporary table");
  EXPECT_EQ(refusal("select xmlforest(a) from orders where id = {id}"),
            "it has a construct that is not understood (XmlExpr)");
  EXPECT_FALSE(parse_view_query("", {}));
  EXPECT_FALSE(parse_view_query("selec {id}", id_part));
}

TEST(ViewQuery, NamesWhatTheCatalogueMustCheck) {
  const Names names =
      parsed("select now(), current_user, o.total + 1 from orders o where id = {id}").names;
  ASSERT_EQ(names.functions.size(), 1U);
  EXPECT_EQ(names.functions[0].name, "now");
  EXPECT_EQ(names.value_functions, std::vector<std::string>{"current_user"});
  EXPECT_EQ(names.attributes, std::vector<std::string>{"total"});
}

}  // namespace
}  // namespace meridian::postgres
