#include "app/view_registrar.h"

#include "base/escape.h"
#include "base/hash.h"
#include "wire/postgres/sql/view_query.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <utility>

namespace meridian {
namespace {

constexpr std::size_t exact_dependencies_max = SlotStamp::dependencies_max - 2;
constexpr int sql_views_depth_max = 16;

PartType to_part_type(std::uint32_t type) {
  switch (type) {
    case 20:  // int8
    case 21:  // int2
    case 23:  // int4
      return PartType::integer;
    case 2950:
      return PartType::uuid;
    case 25:    // text
    case 1043:  // varchar
      return PartType::text;
    default:
      return PartType::other;
  }
}

// Why a relation's rows cannot be followed; empty when they can.
std::string obstacle(const TableFacts& table) {
  const std::string name = table.schema + "." + table.table;
  switch (table.kind) {
    case TableFacts::Kind::table:
    case TableFacts::Kind::partitioned:
      break;
    case TableFacts::Kind::view:
      return {};
    case TableFacts::Kind::materialised_view:
      return name + " is a materialised view, whose refreshes are not in the feed";
    case TableFacts::Kind::foreign:
      return name + " is a foreign table, whose changes are not in the feed";
    case TableFacts::Kind::other:
      return name + " is no table";
  }
  if (table.built_in) return name + " belongs to PostgreSQL itself and cannot be published";
  if (!table.permanent)
    return name + " is unlogged or temporary, so its changes are not in the feed";
  if (table.row_security)
    return name + " has row-level security: what a reader sees depends on who it is";
  if (table.has_children) return name + " has tables that inherit from it";
  if (table.has_foreign_part) return name + " has a foreign table as a partition";
  if (table.identity == 'n' || (table.identity != 'f' && table.identity_columns.empty())) {
    return name +
           " has no replica identity, and its UPDATEs would fail if it were published; give it a "
           "primary "
           "key, or ALTER TABLE " +
           name + " REPLICA IDENTITY FULL";
  }
  return {};
}

// What is over soon, and says nothing about a view.
bool passes(Errc code) {
  return code == Errc::unavailable || code == Errc::timeout || code == Errc::exhausted ||
         code == Errc::conflict || code == Errc::cancelled;
}

// One view on its way.
struct Draft {
  std::shared_ptr<View> view;
  std::vector<TableFacts> tables;
};

class Registrar {
 public:
  Registrar(PostgresSession& session,
            OpenAs& open_as,
            const RegistrarOptions& options,
            Deadline deadline)
      : session_(session), open_as_(open_as), options_(options), deadline_(deadline) {}

  Async<Result<Draft>> draft(std::string name, config::ViewConfig given) {
    MERIDIAN_CO_TRY(KeyPattern pattern, KeyPattern::parse(given.key));
    MERIDIAN_CO_TRY(postgres::ViewQuery query,
                    postgres::parse_view_query(given.query, pattern.names()));
    auto view = std::make_shared<View>();
    view->name = name;
    view->query = given.query;
    view->pattern = std::move(pattern);
    const std::string sql = "SELECT pg_catalog.to_json(v)::pg_catalog.text, v.* FROM (" +
                            query.sql + "\n) AS v LIMIT 2";
    view->read = std::make_shared<const ReadQuery>(
        ReadQuery{.name = fmt::format("view_{}_{:x}", name, hash_bytes(sql)),
                  .role = given.as,
                  .database = options_.database,
                  .sql = sql});
    MERIDIAN_CO_TRY(const PreparedStatement prepared, co_await prepare(*view->read));
    for (std::size_t i = 1; i < prepared.columns.size(); ++i)
      view->columns.push_back(prepared.columns[i]);

    Draft draft{.view = view, .tables = {}};
    std::vector<std::string> reasons = query.refusals;
    if (!options_.uncacheable.empty()) reasons.push_back(options_.uncacheable);
    MERIDIAN_CO_CHECK(co_await find_dependencies(draft, query, prepared, reasons));
    MERIDIAN_CO_CHECK(co_await check_names(query.names, reasons));
    for (const std::string& reason : reasons) {
      view->uncacheable += (view->uncacheable.empty() ? "" : "; ") + reason;
    }
    co_return draft;
  }

 private:
  // With the rights of the role that will fill it.
  Async<Result<PreparedStatement>> prepare(const ReadQuery& read) {
    MERIDIAN_CO_TRY(auto session, co_await open_as_(read.role, deadline_));
    auto prepared = co_await session->prepare(read.name, read.sql, deadline_);
    co_await session->close();
    co_return prepared;
  }

  Async<Result<void>> find_dependencies(Draft& draft,
                                        const postgres::ViewQuery& query,
                                        const PreparedStatement& prepared,
                                        std::vector<std::string>& reasons) {
    std::size_t exact_count = 0;
    for (const postgres::ViewSource& source : query.sources) {
      MERIDIAN_CO_TRY(auto table,
                      co_await look_up_table(
                          session_, source.relation.schema, source.relation.name, deadline_));
      if (!table)
        co_return fail(Errc::not_found, "there is no relation " + quote(source.relation.name));
      if (table->kind == TableFacts::Kind::view) {
        MERIDIAN_CO_CHECK(co_await add_tables_behind(draft, *table, reasons, 0));
        continue;
      }
      ViewDependency dependency{
          .schema = table->schema, .table = table->table, .equalities = {}, .reason = {}};
      std::string reason = "no condition ties its rows to the key";
      for (const postgres::ViewCondition& condition : source.conditions) {
        const std::string why = unusable(*table, condition, prepared);
        if (!why.empty()) {
          reason = why;
          continue;
        }
        const ColumnFacts& column = *table->find(condition.column);
        dependency.equalities.push_back(
            {.column = column.name, .part = condition.part, .type = to_part_type(column.type)});
      }
      if (dependency.exact() && exact_count == exact_dependencies_max) {
        dependency.equalities.clear();
        reason = fmt::format("the view has more than {} tables", exact_dependencies_max);
      }
      if (dependency.exact()) {
        ++exact_count;
      } else {
        dependency.reason = reason;
      }
      add(draft, std::move(dependency), std::move(*table), reasons);
    }
    co_return Result<void>();
  }

  // Why a condition does not make a dependency exact; empty when it does.
  static std::string unusable(const TableFacts& table,
                              const postgres::ViewCondition& condition,
                              const PreparedStatement& prepared) {
    const ColumnFacts* const column = table.find(condition.column);
    if (!column) return "column " + condition.column + " is not known";
    const PartType type = to_part_type(column->type);
    if (type == PartType::other || condition.part >= prepared.parameter_types.size() ||
        to_part_type(prepared.parameter_types[condition.part]) != type) {
      return "equal values of column " + condition.column + " may be written in several ways";
    }
    if (type == PartType::text && !column->collation_deterministic) {
      return "the collation of column " + condition.column + " takes different texts for equal";
    }
    if (!table.in_identity(condition.column)) {
      return fmt::format(
          "column {} is not in the replica identity, so its old value is not in the feed; ALTER "
          "TABLE {}.{} REPLICA IDENTITY FULL makes it exact",
          condition.column,
          table.schema,
          table.table);
    }
    return {};
  }

  static void add(Draft& draft,
                  ViewDependency dependency,
                  TableFacts table,
                  std::vector<std::string>& reasons) {
    const std::string why = obstacle(table);
    if (!why.empty() && std::ranges::find(reasons, why) == reasons.end()) reasons.push_back(why);
    draft.view->dependencies.push_back(std::move(dependency));
    draft.tables.push_back(std::move(table));
  }

  // The tables that an SQL view stands for: any change of theirs is one of the whole cached view.
  Async<Result<void>> add_tables_behind(Draft& draft,
                                        TableFacts view,
                                        std::vector<std::string>& reasons,
                                        int depth) {
    if (view.built_in || depth >= sql_views_depth_max) {
      reasons.push_back(view.schema + "." + view.table +
                        " belongs to PostgreSQL itself, or is nested too deeply");
      co_return Result<void>();
    }
    const std::string id = std::to_string(view.id);
    MERIDIAN_CO_TRY(
        const Rows definition,
        co_await session_.query("SELECT pg_catalog.pg_get_viewdef($1::oid)", {id}, deadline_));
    auto analysis = postgres::analyse(definition.text(0, 0), {.bounds = {}, .fingerprint = false});
    if (!analysis || !analysis->complete() || analysis->statements.size() != 1) {
      reasons.push_back("the definition of " + view.schema + "." + view.table +
                        " is not understood");
      co_return Result<void>();
    }
    const postgres::Names names = analysis->statements.front().names;
    MERIDIAN_CO_CHECK(co_await check_names(names, reasons));
    for (const postgres::QualifiedName& relation : names.relations) {
      MERIDIAN_CO_TRY(auto table,
                      co_await look_up_table(session_, relation.schema, relation.name, deadline_));
      if (!table) co_return fail(Errc::not_found, "there is no relation " + quote(relation.name));
      if (table->kind == TableFacts::Kind::view) {
        MERIDIAN_CO_CHECK(co_await add_tables_behind(draft, std::move(*table), reasons, depth + 1));
        continue;
      }
      ViewDependency dependency{.schema = table->schema,
                                .table = table->table,
                                .equalities = {},
                                .reason = "it is read through the SQL view " + view.table};
      add(draft, std::move(dependency), std::move(*table), reasons);
    }
    co_return Result<void>();
  }

  Async<Result<void>> check_names(const postgres::Names& names, std::vector<std::string>& reasons) {
    const auto plain = [](const std::vector<postgres::QualifiedName>& list) {
      std::vector<std::string> texts;
      for (const postgres::QualifiedName& name : list)
        texts.push_back(name.name);
      return texts;
    };
    MERIDIAN_CO_TRY(const UnsteadyNames unsteady,
                    co_await find_unsteady(session_,
                                           plain(names.functions),
                                           plain(names.operators),
                                           plain(names.types),
                                           deadline_));
    const auto note = [&](const std::vector<std::string>& list, std::string_view what) {
      for (const std::string& name : list) {
        reasons.push_back(
            fmt::format("{} {} may give another result for the same rows", what, name));
      }
    };
    note(unsteady.functions, "function");
    note(unsteady.operators, "operator");
    note(unsteady.types, "type");
    note(names.value_functions, "function");
    co_return Result<void>();
  }

  PostgresSession& session_;
  OpenAs& open_as_;
  const RegistrarOptions& options_;
  Deadline deadline_;
};

}  // namespace

Async<Result<Registration>> register_views(PostgresSession& session,
                                           OpenAs open_as,
                                           std::map<std::string, config::ViewConfig> views,
                                           RegistrarOptions options,
                                           Deadline deadline) {
  Registration registration;
  std::vector<std::shared_ptr<const View>> registered;
  std::map<std::uint32_t, WatchedTable> watched;
  std::set<std::string> published;
  Registrar registrar(session, open_as, options, deadline);
  for (auto& [name, given] : views) {
    auto draft = co_await registrar.draft(name, given);
    if (!draft) {
      // Without the database nothing can be said of any view; and a view whose tables are locked,
      // or that met a change of them, is not wrong: it is looked at again.
      if (session.broken() || passes(draft.error().code()))
        co_return std::unexpected(draft.error());
      registration.broken.push_back({.name = name, .reason = draft.error().detail()});
      continue;
    }
    draft->view->index = registered.size();
    draft->view->generation = options.generation;
    if (draft->view->uncacheable.empty()) {
      for (const TableFacts& table : draft->tables) {
        published.insert(quote_identifier(table.schema) + "." + quote_identifier(table.table));
        const auto watch = [&](std::uint32_t id) {
          watched.emplace(id, WatchedTable{.id = id, .schema = table.schema, .table = table.table});
        };
        watch(table.id);
        for (const std::uint32_t leaf : table.leaves)
          watch(leaf);
      }
    }
    registered.push_back(std::move(draft->view));
  }
  registration.views =
      std::make_shared<ViewSet>(std::move(registered), options.seed, options.generation);
  for (auto& [id, table] : watched)
    registration.tables.push_back(std::move(table));
  registration.published.assign(published.begin(), published.end());
  co_return registration;
}

namespace {

// Nodes change the publication one after another. Of the first eight bytes of "meridian", plus one.
constexpr std::string_view one_node =
    "SELECT pg_catalog.pg_advisory_xact_lock(7883960468316154223)";

// What users' statements could wait for is held for a moment: the commit does not wait for the
// disk. One that is lost is made again, for it is looked up at each registration.
constexpr std::string_view briefly =
    "SELECT pg_catalog.set_config('synchronous_commit', 'off', true)";

struct PublishedTable {
  std::string name;    // Quoted where it must be.
  bool whole = false;  // Neither rows nor columns are left out.
};

Async<Result<std::vector<PublishedTable>>> published_tables(PostgresSession& session,
                                                            std::string publication,
                                                            Deadline deadline) {
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await session.query("SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),"
                             " r.prqual IS NULL AND r.prattrs IS NULL"
                             " FROM pg_catalog.pg_publication p"
                             " JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid"
                             " JOIN pg_catalog.pg_class c ON c.oid = r.prrelid"
                             " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                             " WHERE p.pubname = $1 ORDER BY 1",
                             {publication},
                             deadline));
  std::vector<PublishedTable> tables;
  for (std::size_t i = 0; i < rows.count(); ++i)
    tables.push_back({.name = std::string(rows.text(i, 0)), .whole = rows.flag(i, 1)});
  co_return tables;
}

// The names as the server writes them, which is without quotes where none are needed.
Async<Result<std::vector<std::string>>> as_the_server_writes(PostgresSession& session,
                                                             std::vector<std::string> tables,
                                                             Deadline deadline) {
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await session.query("SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)"
                             " FROM pg_catalog.unnest($1::text[]) AS t(name)"
                             " JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(t.name)"
                             " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1",
                             {to_array(tables)},
                             deadline));
  std::vector<std::string> names;
  for (std::size_t i = 0; i < rows.count(); ++i)
    names.emplace_back(rows.text(i, 0));
  co_return names;
}

}  // namespace

Async<PublicationChange> publish_tables(PostgresSession& session,
                                        std::string publication,
                                        std::vector<std::string> tables,
                                        Deadline deadline) {
  PublicationChange change;
  const std::string name = quote_identifier(publication);
  // One table in a transaction, and no lock on those that stay: who holds one table's lock and
  // waits for no other one's is in no deadlock.
  const auto run = [&](std::vector<std::string> statements) -> Async<bool> {
    statements.insert(statements.begin(), {std::string(one_node), std::string(briefly)});
    auto done = co_await session.transact(std::move(statements), deadline);
    if (done) {
      change.changed = true;
    } else {
      change.done = fail_while("publishing the tables of the views", done.error());
    }
    co_return done.has_value();
  };
  auto wanted = co_await as_the_server_writes(session, std::move(tables), deadline);
  auto settings = co_await session.query(
      "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AND NOT pubviaroot AND NOT "
      "puballtables FROM pg_catalog.pg_publication WHERE pubname = $1",
      {publication},
      deadline);
  auto present = co_await published_tables(session, publication, deadline);
  if (!wanted || !settings || !present) {
    change.done = std::unexpected(!wanted     ? wanted.error()
                                  : !settings ? settings.error()
                                              : present.error());
    co_return change;
  }
  if (settings->empty()) {
    if (!co_await run({"CREATE PUBLICATION " + name})) co_return change;
  } else if (!settings->flag(0, 0)) {
    if (!co_await run({"ALTER PUBLICATION " + name +
                       " SET (publish = 'insert, update, delete, truncate', "
                       "publish_via_partition_root = false)"}))
      co_return change;
  }
  for (const PublishedTable& table : *present) {
    const bool stays = std::ranges::find(*wanted, table.name) != wanted->end();
    if (stays && table.whole) continue;
    std::vector<std::string> statements{"ALTER PUBLICATION " + name + " DROP TABLE " + table.name};
    if (stays) statements.push_back("ALTER PUBLICATION " + name + " ADD TABLE " + table.name);
    if (!co_await run(std::move(statements))) co_return change;
  }
  for (const std::string& table : *wanted) {
    if (std::ranges::find(*present, table, &PublishedTable::name) != present->end()) continue;
    if (!co_await run({"ALTER PUBLICATION " + name + " ADD TABLE " + table})) co_return change;
  }
  co_return change;
}

Async<Result<void>> install_request_triggers(PostgresSession& session,
                                             std::vector<std::string> tables,
                                             Deadline deadline) {
  MERIDIAN_CO_TRY(
      const Rows missing,
      co_await session.query(
          "SELECT t.name FROM pg_catalog.unnest($1::text[]) AS t(name) WHERE NOT EXISTS (SELECT"
          " FROM pg_catalog.pg_trigger g WHERE g.tgrelid = pg_catalog.to_regclass(t.name)"
          " AND g.tgname = 'meridian_request')",
          {to_array(tables)},
          deadline));
  Result<void> all;
  for (std::size_t i = 0; i < missing.count(); ++i) {
    const std::string table(missing.text(i, 0));
    // Our own tables need none.
    if (table.starts_with("\"meridian\".")) continue;
    // Each in a transaction of its own: a table's first trigger changes its row of the catalogue,
    // and a GRANT on the table that meets an uncommitted change of it fails.
    auto made = co_await session.transact(
        {std::string(one_node),
         std::string(briefly),
         "CREATE OR REPLACE TRIGGER meridian_request AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE "
         "ON " +
             table + " FOR EACH STATEMENT EXECUTE FUNCTION meridian.note_request()"},
        deadline);
    if (!made && all) all = std::unexpected(made.error());
  }
  co_return all;
}

std::string explain(const View& view) {
  std::string text = fmt::format("{}  {}\n", view.name, view.pattern.to_string());
  text += fmt::format("  filled as {} in database {}\n", view.read->role, view.read->database);
  if (!view.uncacheable.empty()) {
    text += fmt::format("  not cached, each read is a query: {}\n", view.uncacheable);
    return text;
  }
  for (const ViewDependency& dependency : view.dependencies) {
    if (!dependency.exact()) {
      text += fmt::format("  {}.{}: any change invalidates all keys of the view ({})\n",
                          dependency.schema,
                          dependency.table,
                          dependency.reason);
      continue;
    }
    std::string tie;
    for (const ViewDependency::Equality& equality : dependency.equalities) {
      tie += fmt::format("{}{} = {{{}}}",
                         tie.empty() ? "" : " and ",
                         equality.column,
                         view.pattern.names()[equality.part]);
    }
    text += fmt::format(
        "  {}.{}: a changed row invalidates the keys with {}, before and after the change\n",
        dependency.schema,
        dependency.table,
        tie);
  }
  if (view.dependencies.empty()) text += "  reads no table: nothing invalidates it\n";
  return text;
}

}  // namespace meridian
