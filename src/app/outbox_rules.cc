#include "app/outbox_rules.h"

#include "app/translate.h"
#include "base/escape.h"
#include "base/hex.h"
#include "base/sql_text.h"
#include "runtime/log.h"
#include "wire/nats/subject.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>
#include <optional>
#include <set>
#include <utility>

namespace meridian {
namespace {

// Whoever is writing into the table is waited for, and waits for us, no longer than this.
constexpr std::string_view lock_timeout = "SELECT set_config('lock_timeout', '500ms', true)";
constexpr int attempts_max = 5;
constexpr std::string_view function_prefix = "publish_";
constexpr std::string_view trigger_prefix = "meridian_publish_";

// `order_changes` and `insert` make one name each, of at most 63 bytes.
std::string object_name(std::string_view prefix, std::string_view rule, std::string_view event) {
  std::string name = fmt::format("{}{}_{}", prefix, rule, event);
  constexpr std::size_t name_size_max = 63;
  if (name.size() > name_size_max) {
    const std::string mark = fmt::format("_{:016x}", std::hash<std::string>{}(name));
    name = name.substr(0, name_size_max - mark.size()) + mark;
  }
  return name;
}

struct Column {
  std::string name;
};

struct Table {
  std::string id;
  std::string schema;
  std::string name;
  std::vector<std::string> columns;
  std::vector<std::string> leaves;  // "schema"."table" of itself and of its partitions.
};

Async<Result<std::optional<Table>>> find_table(PostgresSession& session,
                                               std::string text,
                                               Deadline deadline) {
  const std::size_t dot = text.find('.');
  const std::string given = dot == std::string::npos ? quote_identifier(text)
                                                     : quote_identifier(text.substr(0, dot)) + "." +
                                                           quote_identifier(text.substr(dot + 1));
  MERIDIAN_CO_TRY(const Rows rows,
                  co_await session.query(
                      "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c"
                      " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                      " WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p')",
                      {given},
                      deadline));
  if (rows.empty()) co_return std::nullopt;
  Table table{.id = std::string(rows.text(0, 0)),
              .schema = std::string(rows.text(0, 1)),
              .name = std::string(rows.text(0, 2)),
              .columns = {},
              .leaves = {}};
  MERIDIAN_CO_TRY(const Rows columns,
                  co_await session.query("SELECT attname FROM pg_catalog.pg_attribute WHERE "
                                         "attrelid = $1::oid AND attnum > 0 AND NOT attisdropped"
                                         " ORDER BY attnum",
                                         {table.id},
                                         deadline));
  for (std::size_t i = 0; i < columns.count(); ++i)
    table.columns.emplace_back(columns.text(i, 0));
  // A statement that names a partition fires the triggers of the partition alone.
  MERIDIAN_CO_TRY(
      const Rows parts,
      co_await session.query("SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)"
                             " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
                             " ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND"
                             " (c.oid = $1::oid OR c.oid IN (SELECT relid FROM"
                             " pg_catalog.pg_partition_tree($1::oid::regclass))) ORDER BY 1",
                             {table.id},
                             deadline));
  for (std::size_t i = 0; i < parts.count(); ++i)
    table.leaves.emplace_back(parts.text(i, 0));
  co_return table;
}

// The subject of a row as an expression; `row` is an alias, or empty where there is no row.
Result<std::string> subject_expression(const std::string& subject,
                                       const Table& table,
                                       std::string_view row) {
  std::string sql;
  const auto add = [&](std::string text) { sql += (sql.empty() ? "" : " || ") + std::move(text); };
  std::string_view rest = subject;
  while (!rest.empty()) {
    const std::size_t open = rest.find('{');
    if (open != 0) add(quote_literal(rest.substr(0, open)));
    if (open == std::string_view::npos) break;
    const std::size_t close = rest.find('}', open);
    const std::string name(rest.substr(open + 1, close - open - 1));
    if (std::ranges::find(table.columns, name) == table.columns.end()) {
      return fail(Errc::not_found, "table " + table.name + " has no column " + quote(name));
    }
    if (row.empty()) {
      add("'%'");
    } else {
      const std::string value = fmt::format("({}).{}::text", row, quote_identifier(name));
      add(
          fmt::format("CASE WHEN {0} ~ '^[A-Za-z0-9_-]{{1,128}}$' THEN {0} ELSE "
                      "meridian.encode_part({0}) END",
                      value));
    }
    rest.remove_prefix(close + 1);
  }
  return sql;
}

// A name for a row that is no column's: where both are known, it is the column that is meant.
std::string row_name(const Table& table, std::string name) {
  while (std::ranges::find(table.columns, name) != table.columns.end())
    name += '_';
  return name;
}

// The row as JSON.
std::string row_expression(const Table& table,
                           const std::vector<std::string>& columns,
                           std::string_view row) {
  if (columns.empty()) return fmt::format("row_to_json({})::text", row);
  std::string list;
  for (const std::string& column : columns) {
    list += (list.empty() ? "" : ", ") + fmt::format("({}).{}", row, quote_identifier(column));
  }
  return fmt::format(
      "(SELECT row_to_json({0})::text FROM (SELECT {1}) AS {0})", row_name(table, "c"), list);
}

struct Event {
  std::string_view name;
  std::string_view referencing;
};
constexpr std::array events{
    Event{.name = "insert", .referencing = "REFERENCING NEW TABLE AS meridian_new"},
    Event{.name = "update",
          .referencing = "REFERENCING OLD TABLE AS meridian_old NEW TABLE AS meridian_new"},
    Event{.name = "delete", .referencing = "REFERENCING OLD TABLE AS meridian_old"},
    Event{.name = "truncate", .referencing = ""}};

Result<std::string> function_body(const config::PublishConfig& rule,
                                  const Table& table,
                                  std::string_view event) {
  const std::string head =
      fmt::format("{{\"op\":\"{}\",\"table\":\"{}.{}\"", event, table.schema, table.name);
  const auto payload = [&](std::string members) {
    return fmt::format("convert_to({}{} || '}}', 'UTF8')", quote_literal(head), members);
  };
  const auto body = [&](const std::string& subject, std::string value, std::string_view from) {
    return fmt::format(
        "\n#variable_conflict use_variable\nDECLARE\n  identity text := "
        "meridian.outbox_identity();\nBEGIN\n"
        "  INSERT INTO meridian.outbox (subject, identity, payload)\n"
        "  SELECT {}, identity,\n    {}\n  {};\n  RETURN NULL;\nEND\n",
        subject,
        value,
        from);
  };
  if (event == "truncate") {
    MERIDIAN_TRY(const std::string subject, subject_expression(rule.subject, table, ""));
    return body(subject, payload(""), "");
  }
  // The rows of a statement come out of these tables in the order in which it changed them.
  if (event == "update") {
    MERIDIAN_TRY(const std::string subject, subject_expression(rule.subject, table, "b.n"));
    return body(
        subject,
        payload(" || ',\"before\":' || " + row_expression(table, rule.columns, "a.o") +
                " || ',\"after\":' || " + row_expression(table, rule.columns, "b.n")),
        fmt::format("FROM (SELECT row_number() OVER () AS i, {0} AS o FROM meridian_old {0}) AS a"
                    " JOIN (SELECT row_number() OVER () AS i, {1} AS n FROM meridian_new {1}) AS b"
                    " USING (i) ORDER BY i",
                    row_name(table, "o"),
                    row_name(table, "n")));
  }
  const bool inserted = event == "insert";
  const std::string row = row_name(table, inserted ? "n" : "o");
  MERIDIAN_TRY(const std::string subject, subject_expression(rule.subject, table, row));
  return body(subject,
              payload(fmt::format(" || ',\"{}\":' || ", inserted ? "after" : "before") +
                      row_expression(table, rule.columns, row)),
              (inserted ? "FROM meridian_new " : "FROM meridian_old ") + row);
}

// Statements that each change one thing, in a transaction of its own, tried again while somebody
// holds the table.
Async<Result<void>> change(PostgresSession& session,
                           std::vector<std::string> statements,
                           Deadline deadline) {
  statements.insert(statements.begin(), std::string(lock_timeout));
  for (int attempt = 1;; ++attempt) {
    auto done = co_await session.transact(statements, deadline);
    if (done) co_return done;
    const Errc code = done.error().code();
    if ((code != Errc::exhausted && code != Errc::conflict) || attempt == attempts_max)
      co_return done;
  }
}

class Registrar {
 public:
  Registrar(PostgresSession& session, const config::Config& config, Deadline deadline)
      : session_(session), config_(config), deadline_(deadline) {}

  Async<Result<std::vector<BrokenRule>>> run() {
    MERIDIAN_CO_CHECK(co_await tell_subjects());
    MERIDIAN_CO_CHECK(co_await tell_publishers());
    MERIDIAN_CO_CHECK(co_await make_publication());
    std::vector<BrokenRule> broken;
    std::set<std::string> functions;
    std::set<std::pair<std::string, std::string>> triggers;  // Table and name.
    for (const auto& [name, rule] : config_.publish) {
      if (rule.table.empty()) continue;
      auto installed = co_await install(name, rule, functions, triggers);
      if (installed) continue;
      if (session_.broken()) co_return std::unexpected(installed.error());
      broken.push_back({.name = name, .reason = installed.error().detail()});
    }
    MERIDIAN_CO_CHECK(co_await remove_others(functions, triggers));
    co_return broken;
  }

 private:
  Async<Result<void>> tell_subjects() {
    std::string all;
    for (const std::string& pattern : outbox_subjects(config_))
      all += (all.empty() ? "" : "|") + to_regular_expression(pattern);
    if (all.empty()) all = "^$";
    auto told = co_await session_.query(
        "UPDATE meridian.outbox_state SET subjects = $1"
        " WHERE name = 'outbox' AND subjects <> $1",
        {all},
        deadline_);
    if (!told) co_return std::unexpected(told.error());
    co_return Result<void>();
  }

  Async<Result<void>> tell_publishers() {
    std::vector<std::string> statements{"DELETE FROM meridian.publishers"};
    for (const auto& [name, role] : config_.roles) {
      if (role.nats.publish.empty()) continue;
      std::string allowed;
      std::string denied;
      for (const std::string& pattern : role.nats.publish)
        allowed += (allowed.empty() ? "" : "|") + to_regular_expression(pattern);
      for (const std::string& pattern : role.nats.publish_deny)
        denied += (denied.empty() ? "" : "|") + to_regular_expression(pattern);
      statements.push_back(
          fmt::format("INSERT INTO meridian.publishers (role, allowed, denied) VALUES ({}, {}, {})",
                      quote_literal(name),
                      quote_literal(allowed),
                      quote_literal(denied)));
    }
    co_return co_await change(session_, std::move(statements), deadline_);
  }

  Async<Result<void>> make_publication() {
    MERIDIAN_CO_TRY(
        const Rows present,
        co_await session_.query("SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = $1",
                                {outbox_publication},
                                deadline_));
    if (!present.empty()) co_return Result<void>();
    // Inserts alone: that rows are removed is no news.
    auto made = co_await change(
        session_,
        {fmt::format("CREATE PUBLICATION {} FOR TABLE meridian.outbox"
                     " WITH (publish = 'insert', publish_via_partition_root = true)",
                     outbox_publication)},
        deadline_);
    if (!made) co_return fail_while("publishing the outbox to its feed", made.error());
    co_return made;
  }

  Async<Result<void>> install(const std::string& name,
                              const config::PublishConfig& rule,
                              std::set<std::string>& functions,
                              std::set<std::pair<std::string, std::string>>& triggers) {
    // Named before anything can fail: what was there stays until the rule is right again or gone.
    for (const Event& event : events)
      functions.insert(object_name(function_prefix, name, event.name));
    MERIDIAN_CO_TRY(const auto table, co_await find_table(session_, rule.table, deadline_));
    if (!table) co_return fail(Errc::not_found, "there is no table " + quote(rule.table));
    for (const std::string& leaf : table->leaves) {
      for (const Event& event : events)
        triggers.emplace(leaf, object_name(trigger_prefix, name, event.name));
    }
    for (const std::string& column : rule.columns) {
      if (std::ranges::find(table->columns, column) == table->columns.end()) {
        co_return fail(Errc::not_found, "table " + rule.table + " has no column " + quote(column));
      }
    }
    for (const Event& event : events) {
      MERIDIAN_CO_TRY(const std::string body, function_body(rule, *table, event.name));
      const std::string function =
          "meridian." + quote_identifier(object_name(function_prefix, name, event.name));
      MERIDIAN_CO_TRY(
          const Rows same,
          co_await session_.query("SELECT 1 FROM pg_catalog.pg_proc WHERE prosrc = $1 AND"
                                  " oid = pg_catalog.to_regproc($2)",
                                  {body, function},
                                  deadline_));
      if (same.empty()) {
        MERIDIAN_CO_CHECK(
            co_await change(session_,
                            {"CREATE OR REPLACE FUNCTION " + function +
                                 "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
                                 " SET search_path = pg_catalog, pg_temp AS " +
                                 quote_literal(body),
                             "REVOKE ALL ON FUNCTION " + function + "() FROM PUBLIC"},
                            deadline_));
      }
      for (const std::string& leaf : table->leaves) {
        MERIDIAN_CO_CHECK(co_await add_trigger(leaf, name, event, function));
      }
    }
    co_return Result<void>();
  }

  Async<Result<void>> add_trigger(std::string table,
                                  std::string rule,
                                  Event event,
                                  std::string function) {
    const std::string trigger = object_name(trigger_prefix, rule, event.name);
    MERIDIAN_CO_TRY(
        const Rows present,
        co_await session_.query("SELECT 1 FROM pg_catalog.pg_trigger WHERE tgname = $1 AND"
                                " tgrelid = pg_catalog.to_regclass($2) AND tgenabled = 'A'"
                                " AND tgfoid = pg_catalog.to_regproc($3)",
                                {trigger, table, function},
                                deadline_));
    if (!present.empty()) co_return Result<void>();
    const std::string name = quote_identifier(trigger);
    std::string event_name(event.name);
    std::ranges::transform(
        event_name, event_name.begin(), [](char c) { return static_cast<char>(c - 'a' + 'A'); });
    auto added =
        co_await change(session_,
                        {fmt::format("CREATE OR REPLACE TRIGGER {} AFTER {} ON {} {}"
                                     " FOR EACH STATEMENT EXECUTE FUNCTION {}()",
                                     name,
                                     event_name,
                                     table,
                                     event.referencing,
                                     function),
                         fmt::format("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}", table, name)},
                        deadline_);
    if (!added) co_return fail_while("a trigger on " + table, added.error());
    log_info("outbox", "installed a trigger", {{"table", table}, {"trigger", trigger}});
    co_return Result<void>();
  }

  Async<Result<void>> remove_others(const std::set<std::string>& functions,
                                    const std::set<std::pair<std::string, std::string>>& triggers) {
    MERIDIAN_CO_TRY(
        const Rows installed,
        co_await session_.query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), t.tgname, p.proname"
            " FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
            " JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace"
            " WHERE NOT t.tgisinternal AND f.nspname = 'meridian' AND"
            " pg_catalog.starts_with(t.tgname::text, $1)",
            {trigger_prefix},
            deadline_));
    for (std::size_t i = 0; i < installed.count(); ++i) {
      const std::string table(installed.text(i, 0));
      const std::string trigger(installed.text(i, 1));
      // A rule whose table cannot be found keeps what it has.
      const bool wanted = triggers.contains({table, trigger});
      const bool rule_lives = functions.contains(std::string(installed.text(i, 2)));
      const bool table_known =
          std::ranges::any_of(triggers, [&](const auto& each) { return each.second == trigger; });
      if (wanted || (rule_lives && !table_known)) continue;
      MERIDIAN_CO_CHECK(co_await change(
          session_,
          {fmt::format("DROP TRIGGER IF EXISTS {} ON {}", quote_identifier(trigger), table)},
          deadline_));
      log_info("outbox", "removed a trigger", {{"table", table}, {"trigger", trigger}});
    }
    MERIDIAN_CO_TRY(const Rows made,
                    co_await session_.query(
                        "SELECT p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n"
                        " ON n.oid = p.pronamespace WHERE n.nspname = 'meridian' AND"
                        " pg_catalog.starts_with(p.proname::text, $1)"
                        " AND p.prorettype = 'pg_catalog.trigger'::regtype",
                        {function_prefix},
                        deadline_));
    for (std::size_t i = 0; i < made.count(); ++i) {
      const std::string function(made.text(i, 0));
      if (functions.contains(function)) continue;
      MERIDIAN_CO_CHECK(
          co_await change(session_,
                          {"DROP FUNCTION IF EXISTS meridian." + quote_identifier(function) + "()"},
                          deadline_));
    }
    co_return Result<void>();
  }

  PostgresSession& session_;
  const config::Config& config_;
  Deadline deadline_;
};

}  // namespace

std::string to_regular_expression(std::string_view pattern) {
  std::string text = "^";
  std::string_view rest = pattern;
  bool first = true;
  while (!rest.empty()) {
    const std::string_view token = nats::take_token(rest);
    if (!std::exchange(first, false)) text += "\\.";
    if (token == "*") {
      text += "[^.]+";
    } else if (token == ">" && rest.empty()) {
      text += ".+";
    } else {
      for (const char c : token) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '_' || byte >= 0x80;
        if (!plain) text += '\\';
        text += c;
      }
    }
  }
  return text + "$";
}

Async<Result<std::vector<BrokenRule>>> register_publish_rules(PostgresSession& session,
                                                              config::Config config,
                                                              Deadline deadline) {
  Registrar registrar(session, config, deadline);
  co_return co_await registrar.run();
}

}  // namespace meridian
