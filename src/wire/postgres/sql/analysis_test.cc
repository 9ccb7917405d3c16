// The analysis: what a text does is found through every disguise that the grammar allows, and what
// is not understood is said to be so.

#include "wire/postgres/sql/analysis.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

Analysis analysed(std::string_view sql) {
  auto analysis = analyse(sql);
  EXPECT_TRUE(analysis) << sql << ": " << (analysis ? "" : analysis.error().detail());
  return analysis ? *std::move(analysis) : Analysis();
}

Statement only(std::string_view sql) {
  Analysis analysis = analysed(sql);
  EXPECT_EQ(analysis.statements.size(), 1U) << sql;
  return analysis.statements.empty() ? Statement() : std::move(analysis.statements[0]);
}

// "schema.name" or "name", separated by spaces.
std::string names(const std::vector<QualifiedName>& names) {
  std::string text;
  for (const QualifiedName& name : names) {
    text += text.empty() ? "" : " ";
    text += (name.schema.empty() ? "" : name.schema + ".") + name.name;
  }
  return text;
}

TEST(Analysis, NamesTheKindsOfStatements) {
  EXPECT_EQ(only("select 1").kind, StatementKind::select);
  EXPECT_EQ(only("values (1)").kind, StatementKind::select);
  EXPECT_EQ(only("table t").kind, StatementKind::select);
  EXPECT_EQ(only("insert into t values (1)").kind, StatementKind::insert);
  EXPECT_EQ(only("update t set a = 1").kind, StatementKind::update);
  EXPECT_EQ(only("delete from t").kind, StatementKind::delete_);
  EXPECT_EQ(only("merge into t using s on true when matched then delete").kind,
            StatementKind::merge);
  EXPECT_EQ(only("create table t ()").kind, StatementKind::utility);
  EXPECT_EQ(only("create table t ()").node, "CreateStmt");
}

TEST(Analysis, FindsEachStatementOfAText) {
  constexpr std::string_view text = "select 1; ; delete from t ;\nselect E'O\\'Brien'";
  const Analysis analysis = analysed(text);
  ASSERT_EQ(analysis.statements.size(), 3U);
  const auto piece = [&](std::size_t i) {
    return text.substr(analysis.statements[i].begin, analysis.statements[i].size);
  };
  EXPECT_TRUE(piece(0).contains("select 1"));
  EXPECT_TRUE(piece(1).contains("delete from t"));
  EXPECT_TRUE(piece(2).contains("O\\'Brien"));
  EXPECT_TRUE(analysed("").statements.empty());
  EXPECT_TRUE(analysed(" -- nothing\n;").statements.empty());
}

TEST(Analysis, CallsStatementsReadersThatChangeNoRows) {
  for (const std::string_view sql : {"select * from t",
                                     "values (1)",
                                     "with x as (select 1) select * from x",
                                     "select 1 union select 2",
                                     "show all",
                                     "explain delete from t",
                                     "explain (verbose) insert into t values (1)",
                                     "explain analyze select 1",
                                     "copy t to stdout",
                                     "copy (select 1) to stdout",
                                     "begin",
                                     "commit",
                                     "rollback to savepoint x",
                                     "set a = 1",
                                     "reset a",
                                     "listen c",
                                     "notify c, 'x'",
                                     "declare c cursor for select 1",
                                     "prepare p as delete from t",
                                     "deallocate p",
                                     "close c"}) {
    EXPECT_TRUE(only(sql).reads_only) << sql;
    EXPECT_TRUE(only(sql).complete) << sql;
  }
}

// The disguises that a classifier must see through (security reference, section 7).
TEST(Analysis, SeesThroughTheDisguisesOfChanges) {
  for (const std::string_view sql :
       {"insert into t values (1)",
        "with x as (delete from t returning *) select * from x",
        "with x as (insert into t values (1) returning *) select * from x",
        "with x as (update t set a = 1 returning *) select * from x",
        "select * from (with x as (delete from t returning *) select * from x) y",
        "with \"delete\" as (delete from t returning *) select * from \"delete\"",
        "merge into t using s on true when matched then delete",
        "copy (delete from t returning *) to stdout",
        "copy t from stdin",
        "copy t to '/tmp/file'",
        "copy t to program 'sh'",
        "explain analyze delete from t",
        "explain (analyze) delete from t",
        "explain (analyze false) delete from t",
        "explain (ANALYZE 0, verbose) delete from t",
        "explain analyze execute p",
        "explain analyze create table t as select 1",
        "select 1 into t",
        "select 1 into temp t union select 2",
        "create table t as select 1",
        "execute p",
        "fetch 1 from c",
        "do $$ begin delete from t; end $$",
        "call p()",
        "load 'library'",
        "truncate t",
        "lock table t",
        "refresh materialized view v",
        "commit prepared 'x'",
        "prepare transaction 'x'",
        "set constraints all immediate"})
    EXPECT_FALSE(only(sql).reads_only) << sql;
  EXPECT_TRUE(only("select 'delete from t', $$ delete from t $$").reads_only);
  EXPECT_TRUE(only("with \"delete\" as (select 1) select * from \"delete\"").reads_only);
}

TEST(Analysis, TellsLocksOfRowsFromChanges) {
  for (const std::string_view sql : {"select * from t for update",
                                     "select * from t for no key update",
                                     "select * from t for share of t nowait",
                                     "select * from (select * from t for key share) x",
                                     "with x as (select * from t for update) select * from x"}) {
    EXPECT_TRUE(only(sql).locks_rows) << sql;
    EXPECT_TRUE(only(sql).reads_only) << sql;
  }
  EXPECT_FALSE(only("select * from t").locks_rows);
}

TEST(Analysis, ListsRelationsButNoCommonTables) {
  const auto relations = [](std::string_view sql) { return names(only(sql).names.relations); };
  EXPECT_EQ(relations("select * from b, s.a, b"), "b s.a");
  EXPECT_EQ(relations("with x as (select * from a) select * from x, b"), "a b");
  EXPECT_EQ(relations("with x as (select * from x) select * from x"), "x");
  EXPECT_EQ(relations("with recursive x as (select * from x) select * from x"), "");
  EXPECT_EQ(relations("with x as (select 1), y as (select * from x, z) select * from y"), "z");
  EXPECT_EQ(relations("with x as (select 1) select * from s.x"), "s.x");
  EXPECT_EQ(relations("select (with x as (select 1) select 1 from x) from x"), "x");
  EXPECT_EQ(relations("with x as (select 1) insert into x select * from x"), "x");
  EXPECT_EQ(relations("with x as (select 1) update x set a = 1"), "x");
  EXPECT_EQ(relations("with x as (select 1) delete from x using x as y"), "x");
  EXPECT_EQ(relations("select * from t for update of t"), "t");
  EXPECT_EQ(relations("select 1 where exists (select 1 from a where b in (select c from d))"),
            "a d");
  EXPECT_EQ(relations("insert into a select * from b on conflict (c) do update set d = (select 1 "
                      "from e) returning (select 1 from f)"),
            "a b e f");
  EXPECT_EQ(relations("merge into a using b on a.x = b.x when matched then update set y = (select "
                      "1 from c)"),
            "a b c");
  EXPECT_EQ(relations("select * from a natural join (b left join lateral (select * from c) d on "
                      "true)"),
            "a b c");
  EXPECT_EQ(relations("select * from a union (select * from b intersect table c)"), "a b c");
  EXPECT_EQ(relations("copy a (b) to stdout"), "a");
  EXPECT_EQ(relations("select * from a tablesample system (1)"), "a");
  EXPECT_EQ(relations("select * from \"A b\".\"C\""), "A b.C");
}

TEST(Analysis, ListsFunctionsHoweverTheyAreCalled) {
  const auto functions = [](std::string_view sql) { return names(only(sql).names.functions); };
  EXPECT_EQ(functions("select f(g(1)), s.h(), F(2)"), "f g s.h");
  EXPECT_EQ(
      functions("select * from f(1) with ordinality, rows from (g(), h() as (a int)), lateral "
                "i(1)"),
      "f g h i");
  EXPECT_EQ(functions("select count(*) filter (where f(a)) over (partition by g(b) order by h(c)) "
                      "from t"),
            "count f g h");
  EXPECT_EQ(
      functions("select 1 from t where f(a) group by g(b) having h(c) order by i(d) limit j(1) "
                "offset k(1)"),
      "f g h i j k");
  EXPECT_EQ(functions("insert into t values (f(1)) on conflict (g(a)) do update set b = h(1) where "
                      "i(1) returning j(1)"),
            "f g h i j");
  EXPECT_EQ(functions("select case when f(1) then g(1) else h(1) end, array[i(1)], row(j(1)), "
                      "k(1)::text, a[l(1)], coalesce(m(1)), greatest(n(1))"),
            "f g h i j k l m n");
  EXPECT_EQ(
      functions("select extract(year from a), a at time zone 'x', overlay(a placing b from 1), "
                "a like b escape 'c'"),
      "pg_catalog.extract pg_catalog.like_escape pg_catalog.overlay pg_catalog.timezone");
  EXPECT_EQ(functions("select * from t tablesample my_method(f(1)) repeatable (g(1))"),
            "f g my_method");
  EXPECT_EQ(functions("create index on t (f(a)) where g(a)"), "f g");
  EXPECT_EQ(functions("create table t as select f(1)"), "f");
  EXPECT_EQ(functions("declare c cursor for select f(1)"), "f");
  EXPECT_EQ(functions("explain select f(1)"), "f");
  EXPECT_EQ(functions("prepare p as select f(1)"), "f");
  EXPECT_EQ(functions("execute p(f(1))"), "f");
  EXPECT_EQ(functions("call s.p(f(1))"), "f s.p");
}

// a.b is b(a) where a has no column b, so it may call a function that changes rows.
TEST(Analysis, ListsColumnsThatMayBeFunctions) {
  const auto attributes = [](std::string_view sql) { return only(sql).names.attributes; };
  using List = std::vector<std::string>;
  EXPECT_EQ(attributes("select t.empty_the_table from t"), List{"empty_the_table"});
  EXPECT_EQ(attributes("select s.t.f, (g(1)).h, (a.b).c from t"), (List{"b", "c", "f", "h"}));
  EXPECT_EQ(attributes("select a, t.* from t"), List());
}

TEST(Analysis, ListsValueFunctions) {
  EXPECT_EQ(only("select current_user, user, current_timestamp(3), localtime, current_schema")
                .names.value_functions,
            (std::vector<std::string>{
                "current_schema", "current_timestamp", "current_user", "localtime", "user"}));
  EXPECT_TRUE(only("select \"current_user\"").names.value_functions.empty());
}

TEST(Analysis, ListsOperatorsAlsoThoseBehindWords) {
  const auto operators = [](std::string_view sql) { return names(only(sql).names.operators); };
  EXPECT_EQ(operators("select a + b, - c, d operator(s.@@) e"), "+ - s.@@");
  EXPECT_EQ(operators("select a between 1 and 2"), "< <= > >=");
  EXPECT_EQ(operators("select a in (1), b not in (2)"), "<> =");
  EXPECT_EQ(operators("select a like b, a not ilike b"), "!~~* ~~");
  EXPECT_EQ(operators("select a = any(b), a <> all(select 1)"), "<> =");
  EXPECT_EQ(operators("select a in (select 1)"), "=");
  EXPECT_EQ(operators("select case a when 1 then 2 end, nullif(a, b)"), "=");
  EXPECT_EQ(operators("select a is distinct from b"), "=");
  EXPECT_EQ(operators("select 1 from a join b using (c)"), "=");
  EXPECT_EQ(operators("select 1 from a natural join b"), "=");
  EXPECT_EQ(operators("select 1 from a order by b using operator(s.<)"), "s.<");
  EXPECT_EQ(operators("select a is null, not b"), "");
}

TEST(Analysis, ListsTypes) {
  const auto types = [](std::string_view sql) { return names(only(sql).names.types); };
  EXPECT_EQ(types("select a::int, cast(b as s.mood), '1'::\"Odd\"[], date '2026-01-01'"),
            "Odd date pg_catalog.int4 s.mood");
  EXPECT_EQ(types("select * from f() as (a mood)"), "mood");
  EXPECT_EQ(types("prepare p (mood) as select $1"), "mood");
}

TEST(Analysis, IsIncompleteForWhatItDoesNotKnow) {
  for (const std::string_view sql : {"select xmlelement(name a, f(1))",
                                     "select xmlserialize(content a as text)",
                                     "select * from xmltable('/a' passing b columns c int)",
                                     "create rule r as on insert to t do instead delete from u",
                                     "security label on table t is 'x'",
                                     "create subscription s connection 'x' publication p"}) {
    EXPECT_FALSE(only(sql).complete) << sql;
    EXPECT_FALSE(only(sql).unknown.empty()) << sql;
    EXPECT_FALSE(analysed(sql).complete()) << sql;
  }
}

// What most applications and their migrations write.
TEST(Analysis, IsCompleteForUsualDefinitions) {
  for (
      const std::string_view sql :
      {"create table t (a int primary key default f(1) check (a > 0), b text not null references u "
       "on delete cascade, c int generated always as identity, unique (a, b)) partition by range "
       "(a)",
       "create table t partition of u for values from (1) to (2)",
       "create unique index concurrently i on t using gin (lower(a) text_pattern_ops desc) where b",
       "alter table t add column a int default 1, drop column b, alter c type text using c::text, "
       "add constraint d foreign key (a) references u (b)",
       "alter table t attach partition p default",
       "create or replace view v as select 1 with check option",
       "create function f(a int, variadic b text[] default null, out c int) returns setof t "
       "language "
       "plpgsql called on null input set search_path = x as $$ begin end $$",
       "create function f() returns int language sql return 1",
       "create procedure p() language sql begin atomic select 1; end",
       "alter function f(int) owner to r",
       "create trigger x after insert or update of a on t referencing new table as n for each row "
       "when (new.a > 1) execute function f('x')",
       "create type mood as enum ('a')",
       "create type pair as (a int, b text)",
       "alter type mood add value 'b' after 'a'",
       "create domain d as int check (value > 0)",
       "create sequence s increment by 2 owned by t.a",
       "create schema s authorization r create table t ()",
       "create policy p on t for select to r using (a = current_user) with check (true)",
       "create role r login password 'x' in role s",
       "alter role r set search_path = x",
       "grant select (a), update on t to r with grant option",
       "revoke all on schema s from public",
       "grant r to s",
       "comment on column t.a is 'x'",
       "drop table if exists t, u cascade",
       "alter table t rename column a to b",
       "alter table t set schema s",
       "refresh materialized view concurrently v",
       "truncate t restart identity cascade",
       "vacuum (analyze) t (a)",
       "reindex index concurrently i"}) {
    EXPECT_TRUE(only(sql).complete) << sql << ": " << only(sql).unknown;
    EXPECT_FALSE(only(sql).reads_only) << sql;
    EXPECT_TRUE(only(sql).effects.none()) << sql;
  }
}

TEST(Analysis, ReadsTransactionControl) {
  using Verb = TransactionControl::Verb;
  const auto verb = [](std::string_view sql) { return only(sql).transaction.verb; };
  EXPECT_EQ(verb("begin"), Verb::begin);
  EXPECT_EQ(verb("start transaction"), Verb::begin);
  EXPECT_EQ(verb("commit"), Verb::commit);
  EXPECT_EQ(verb("end"), Verb::commit);
  EXPECT_EQ(verb("rollback"), Verb::rollback);
  EXPECT_EQ(verb("abort"), Verb::rollback);
  EXPECT_EQ(verb("savepoint x"), Verb::savepoint);
  EXPECT_EQ(verb("release x"), Verb::release);
  EXPECT_EQ(verb("rollback to x"), Verb::rollback_to);
  EXPECT_EQ(verb("prepare transaction 'x'"), Verb::prepare);
  EXPECT_EQ(verb("commit prepared 'x'"), Verb::commit_prepared);
  EXPECT_EQ(verb("rollback prepared 'x'"), Verb::rollback_prepared);
  EXPECT_EQ(verb("select 1"), Verb::none);
  EXPECT_EQ(only("savepoint x").subject, "x");
  EXPECT_EQ(only("commit prepared 'x'").subject, "x");

  const TransactionControl modes =
      only("begin isolation level serializable, read only, deferrable").transaction;
  EXPECT_EQ(modes.isolation, Isolation::serializable);
  EXPECT_EQ(modes.read_only, true);
  EXPECT_EQ(modes.deferrable, true);
  const TransactionControl none = only("begin").transaction;
  EXPECT_FALSE(none.read_only.has_value());
  EXPECT_FALSE(none.isolation.has_value());
  EXPECT_EQ(only("begin read write, not deferrable").transaction.read_only, false);
  EXPECT_EQ(only("begin read write, not deferrable").transaction.deferrable, false);
  EXPECT_EQ(only("set transaction isolation level repeatable read").transaction.isolation,
            Isolation::repeatable_read);
  EXPECT_EQ(only("set transaction read only").transaction.read_only, true);
  EXPECT_TRUE(only("commit and chain").transaction.chain);
  EXPECT_FALSE(only("commit and no chain").transaction.chain);
}

TEST(Analysis, ReadsSettings) {
  using Kind = SettingChange::Kind;
  const auto setting = [](std::string_view sql) {
    const Statement statement = only(sql);
    EXPECT_TRUE(statement.effects.has(SessionEffect::setting)) << sql;
    return statement.settings.size() == 1 ? statement.settings[0] : SettingChange();
  };
  const auto change = [](Kind kind, std::string name, bool local) {
    return SettingChange{.kind = kind, .name = std::move(name), .local = local};
  };
  EXPECT_EQ(setting("set Search_Path to a, b"), change(Kind::set, "search_path", false));
  EXPECT_EQ(setting("set local search_path = a"), change(Kind::set, "search_path", true));
  EXPECT_EQ(setting("set \"App.Key\" = 1"), change(Kind::set, "app.key", false));
  EXPECT_EQ(setting("set time zone 'UTC'"), change(Kind::set, "timezone", false));
  EXPECT_EQ(setting("set names 'utf8'"), change(Kind::set, "client_encoding", false));
  EXPECT_EQ(setting("set schema 'x'"), change(Kind::set, "search_path", false));
  EXPECT_EQ(setting("set a to default"), change(Kind::reset, "a", false));
  EXPECT_EQ(setting("reset a"), change(Kind::reset, "a", false));
  EXPECT_EQ(setting("reset all"), change(Kind::reset_all, "", false));
  EXPECT_EQ(setting("set transaction read only"), change(Kind::set, "transaction", true));
  EXPECT_EQ(setting("set session characteristics as transaction read only"),
            change(Kind::set, "session characteristics", false));
  EXPECT_EQ(setting("select set_config('Search_Path', 'x', true)"),
            change(Kind::set, "search_path", true));
  EXPECT_EQ(setting("select pg_catalog.set_config(E'search\\x5fpath', 'x', false)"),
            change(Kind::set, "search_path", false));
  EXPECT_EQ(setting("select set_config('a', 'x', b) from t"), change(Kind::set, "a", false));
  EXPECT_EQ(setting("update t set a = set_config('b', 'c', false)"), change(Kind::set, "b", false));
  for (const std::string_view sql : {"select set_config(a, b, true) from t",
                                     "select set_config('a' || 'b', 'c', false)",
                                     "select set_config(new_value => 'a', is_local => true, "
                                     "setting_name => 'b')",
                                     "select set_config($1, $2, $3)"})
    EXPECT_TRUE(only(sql).effects.has(SessionEffect::unknown_setting)) << sql;
  // Settings of other sessions to come are none of this one.
  EXPECT_TRUE(only("alter role r set search_path = x").effects.none());
}

TEST(Analysis, SeesChangesOfIdentity) {
  for (const std::string_view sql : {"set role admin",
                                     "set local role admin",
                                     "reset role",
                                     "set session authorization admin",
                                     "set session authorization default",
                                     "select set_config('ROLE', 'admin', false)"})
    EXPECT_TRUE(only(sql).effects.has(SessionEffect::identity)) << sql;
  EXPECT_FALSE(only("set roles = 1").effects.has(SessionEffect::identity));
}

TEST(Analysis, SeesWhatStaysBehindInTheSession) {
  const auto has = [](std::string_view sql, SessionEffect effect) {
    return only(sql).effects.has(effect);
  };
  EXPECT_TRUE(has("listen c", SessionEffect::listen));
  EXPECT_TRUE(has("unlisten *", SessionEffect::unlisten));
  EXPECT_TRUE(has("prepare p as select 1", SessionEffect::prepare));
  EXPECT_TRUE(has("execute p", SessionEffect::execute));
  EXPECT_TRUE(has("explain analyze execute p", SessionEffect::execute));
  EXPECT_TRUE(has("deallocate p", SessionEffect::deallocate));
  EXPECT_TRUE(has("declare c cursor for select 1", SessionEffect::cursor));
  EXPECT_FALSE(has("declare c cursor for select 1", SessionEffect::held_cursor));
  EXPECT_TRUE(has("declare c scroll cursor with hold for select 1", SessionEffect::held_cursor));
  EXPECT_TRUE(has("move 1 in c", SessionEffect::fetch));
  EXPECT_TRUE(has("create temp table t ()", SessionEffect::temporary_object));
  EXPECT_TRUE(has("create temp view v as select 1", SessionEffect::temporary_object));
  EXPECT_TRUE(has("create temporary sequence s", SessionEffect::temporary_object));
  EXPECT_TRUE(has("create temp table t as select 1", SessionEffect::temporary_object));
  EXPECT_TRUE(has("select 1 into temp t", SessionEffect::temporary_object));
  EXPECT_TRUE(has("create table pg_temp.t ()", SessionEffect::temporary_object));
  EXPECT_TRUE(has("select pg_advisory_lock(1)", SessionEffect::advisory_lock));
  EXPECT_TRUE(has("select pg_catalog.pg_try_advisory_lock(1, 2)", SessionEffect::advisory_lock));
  EXPECT_TRUE(has("select 1 from t where pg_advisory_unlock(a)", SessionEffect::advisory_lock));
  EXPECT_FALSE(has("select pg_advisory_xact_lock(1)", SessionEffect::advisory_lock));
  EXPECT_TRUE(has("select currval('s')", SessionEffect::sequence_value));
  EXPECT_TRUE(has("select lastval()", SessionEffect::sequence_value));
  EXPECT_FALSE(has("select nextval('s')", SessionEffect::sequence_value));
  EXPECT_TRUE(has("load 'x'", SessionEffect::load));
  EXPECT_TRUE(has("do 'begin end'", SessionEffect::code));
  EXPECT_TRUE(has("call p()", SessionEffect::code));
  EXPECT_TRUE(has("discard all", SessionEffect::discard));
  EXPECT_TRUE(has("copy t from stdin", SessionEffect::copy_in));
  EXPECT_TRUE(has("copy t to stdout", SessionEffect::copy_out));
  EXPECT_TRUE(has("copy t from '/file'", SessionEffect::server_file));
  EXPECT_TRUE(has("copy t to program 'x'", SessionEffect::server_file));
  EXPECT_TRUE(only("select * from t").effects.none());
  EXPECT_TRUE(only("create table t ()").effects.none());
  EXPECT_EQ(only("listen \"Orders\"").subject, "Orders");
  EXPECT_EQ(only("deallocate all").subject, "");
  EXPECT_EQ(only("discard temp").subject, "temp");
  EXPECT_EQ(only("execute p").subject, "p");
}

TEST(Analysis, SeesMentionsOfSynchronousCommit) {
  EXPECT_TRUE(analysed("set Synchronous_Commit = off").mentions_synchronous_commit);
  EXPECT_TRUE(analysed("do 'set synchronous_commit = off'").mentions_synchronous_commit);
  EXPECT_TRUE(analysed("select set_config(E'synchronous\\x5fcommit', 'off', false)")
                  .mentions_synchronous_commit);
  EXPECT_FALSE(analysed("commit").mentions_synchronous_commit);
}

// EXPLAIN (ANALYZE 0) and EXPLAIN (ANALYZE 1) have one normalised form, and so have set_config() of
// one setting and of another.
TEST(Analysis, SaysWhenTheNormalisedFormIsNotEnough) {
  EXPECT_TRUE(analysed("explain (analyze 0) delete from t").depends_on_literals);
  EXPECT_TRUE(analysed("select set_config('a', 'b', true)").depends_on_literals);
  EXPECT_TRUE(analysed("select 1; set a = 'b'").depends_on_literals);
  EXPECT_FALSE(analysed("select * from t where a = 1 and b = 'x'").depends_on_literals);
  EXPECT_FALSE(analysed("insert into t values (1, 'x')").depends_on_literals);
}

TEST(Analysis, FingerprintsTheShapeOfAText) {
  const auto fingerprint = [](std::string_view sql) { return analysed(sql).fingerprint; };
  EXPECT_EQ(fingerprint("select a from t where b = 1"),
            fingerprint("SELECT a FROM t WHERE b = $1"));
  EXPECT_NE(fingerprint("select a from t"), fingerprint("select b from t"));
  EXPECT_EQ(analyse("select 1", {.bounds = {}, .fingerprint = false})->fingerprint, 0U);
}

TEST(Analysis, SaysWhyATextCannotBeRead) {
  EXPECT_EQ(analyse("selec 1").error().detail(),
            "syntax error at or near \\\"selec\\\", at character 1");
  EXPECT_EQ(analyse(std::string_view("select 1\0; drop table t", 22)).error().code(),
            Errc::invalid);
  EXPECT_EQ(analyse(std::string(300'000, ' ')).error().code(), Errc::exhausted);
  EXPECT_FALSE(analyse("select 'a\\b'", {.bounds = {}, .strings = StringSyntax::escaped}));
}

}  // namespace
}  // namespace meridian::postgres
