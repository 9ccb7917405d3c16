#include "timeline/postgres/catalog.h"

#include "base/number.h"
#include "wire/postgres/sql/analysis.h"

#include <algorithm>
#include <map>

namespace meridian {
namespace {

// OIDs below this are PostgreSQL's own objects (access/transam.h: FirstNormalObjectId).
constexpr std::string_view own_objects = "16384";

constexpr std::size_t view_definitions_max = 10'000;

std::uint32_t to_oid(std::string_view text) {
  return parse_number<std::uint32_t>(text).value_or(0);
}

TableFacts::Kind to_kind(std::string_view relkind) {
  if (relkind == "r") return TableFacts::Kind::table;
  if (relkind == "p") return TableFacts::Kind::partitioned;
  if (relkind == "v") return TableFacts::Kind::view;
  if (relkind == "m") return TableFacts::Kind::materialised_view;
  if (relkind == "f") return TableFacts::Kind::foreign;
  return TableFacts::Kind::other;
}

// Functions that give another result each time, or know the session, and change no rows all the
// same.
constexpr std::string_view harmless_volatile =
    "'random','setseed','clock_timestamp','timeofday','statement_timestamp','gen_random_uuid','pg_"
    "sleep',"
    "'nextval','currval','lastval','txid_current','pg_current_xact_id','pg_backend_pid','pg_notify'"
    ","
    "'pg_advisory_lock','pg_advisory_unlock','pg_advisory_unlock_all','pg_advisory_xact_lock',"
    "'pg_try_advisory_lock','pg_try_advisory_xact_lock','pg_advisory_lock_shared',"
    "'pg_try_advisory_lock_shared','pg_advisory_xact_lock_shared','pg_try_advisory_xact_lock_"
    "shared',"
    "'pg_advisory_unlock_shared','set_config','pg_is_in_recovery','pg_current_wal_lsn',"
    "'pg_current_wal_flush_lsn','pg_current_wal_insert_lsn','pg_relation_size','pg_table_size',"
    "'pg_total_relation_size','pg_database_size','pg_indexes_size','version'";

// A function that is proven to change no rows: PostgreSQL's own that say so, and extensions' in C.
// A body in SQL or PL/pgSQL may call what changes rows whatever it says of itself, so it is never
// proven.
std::string harmless_function(std::string_view alias) {
  const std::string p(alias);
  return "((" + p + ".oid < " + std::string(own_objects) + " AND (" + p +
         ".provolatile <> 'v' OR " + p + ".proname IN (" + std::string(harmless_volatile) +
         "))) OR (" + p + ".provolatile <> 'v' AND " + p + ".prokind = 'f' AND " + p +
         ".prolang IN (SELECT oid FROM pg_catalog.pg_language WHERE lanname IN ('c', "
         "'internal'))))";
}

Result<std::vector<std::string>> first_column(const Result<Rows>& rows) {
  if (!rows) return std::unexpected(rows.error());
  std::vector<std::string> items;
  for (std::size_t i = 0; i < rows->count(); ++i)
    items.emplace_back(rows->text(i, 0));
  return items;
}

}  // namespace

const ColumnFacts* TableFacts::find(std::string_view column) const noexcept {
  const auto found = std::ranges::find(columns, column, &ColumnFacts::name);
  return found == columns.end() ? nullptr : &*found;
}

bool TableFacts::in_identity(std::string_view column) const noexcept {
  return identity == 'f' || std::ranges::find(identity_columns, column) != identity_columns.end();
}

std::string to_array(const std::vector<std::string>& items) {
  std::string array = "{";
  for (const std::string& item : items) {
    if (array.size() > 1) array += ',';
    array += '"';
    for (const char c : item) {
      if (c == '"' || c == '\\') array += '\\';
      array += c;
    }
    array += '"';
  }
  return array + '}';
}

Async<Result<std::optional<TableFacts>>> look_up_table(PostgresSession& session,
                                                       std::string schema,
                                                       std::string name,
                                                       Deadline deadline) {
  const std::string place =
      (schema.empty() ? std::string() : quote_identifier(schema) + ".") + quote_identifier(name);
  MERIDIAN_CO_TRY(
      const Rows rows,
      co_await session.query(
          "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence = 'p', c.relrowsecurity,"
          " c.relreplident, c.oid < 16384,"
          " c.relkind <> 'p' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = "
          "c.oid),"
          " EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) t"
          "   JOIN pg_catalog.pg_class f ON f.oid = t.relid WHERE f.relkind = 'f'),"
          " coalesce((SELECT pg_catalog.string_agg(t.relid::oid::text, ',')"
          "   FROM pg_catalog.pg_partition_tree(c.oid) t WHERE t.isleaf), '')"
          " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
          " WHERE c.oid = pg_catalog.to_regclass($1)",
          {place},
          deadline));
  if (rows.empty()) co_return std::optional<TableFacts>();
  TableFacts facts;
  facts.id = to_oid(rows.text(0, 0));
  facts.schema = rows.text(0, 1);
  facts.table = rows.text(0, 2);
  facts.kind = to_kind(rows.text(0, 3));
  facts.permanent = rows.flag(0, 4);
  facts.row_security = rows.flag(0, 5);
  facts.identity = rows.text(0, 6).empty() ? 'n' : rows.text(0, 6).front();
  facts.built_in = rows.flag(0, 7);
  facts.has_children = rows.flag(0, 8);
  facts.has_foreign_part = rows.flag(0, 9);
  std::string_view leaves = rows.text(0, 10);
  while (!leaves.empty()) {
    const std::size_t comma = std::min(leaves.find(','), leaves.size());
    facts.leaves.push_back(to_oid(leaves.substr(0, comma)));
    leaves.remove_prefix(std::min(comma + 1, leaves.size()));
  }
  if (facts.leaves.empty()) facts.leaves.push_back(facts.id);

  const std::string id = std::to_string(facts.id);
  MERIDIAN_CO_TRY(
      const Rows columns,
      co_await session.query(
          "SELECT a.attname, a.atttypid, coalesce(l.collisdeterministic, true)"
          " FROM pg_catalog.pg_attribute a"
          " LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation"
          " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
          {id},
          deadline));
  for (std::size_t i = 0; i < columns.count(); ++i) {
    facts.columns.push_back({.name = std::string(columns.text(i, 0)),
                             .type = to_oid(columns.text(i, 1)),
                             .collation_deterministic = columns.flag(i, 2)});
  }
  // Partitions have identities of their own; a column counts when it is in all of them.
  MERIDIAN_CO_TRY(
      const Rows identity,
      co_await session.query("SELECT x.attname FROM (SELECT t.relid, a.attname"
                             "   FROM pg_catalog.unnest($1::oid[]) AS t(relid)"
                             "   JOIN pg_catalog.pg_class c ON c.oid = t.relid"
                             "   JOIN pg_catalog.pg_attribute a ON a.attrelid = t.relid AND "
                             "a.attnum > 0 AND NOT a.attisdropped"
                             "   LEFT JOIN pg_catalog.pg_index i ON i.indrelid = t.relid AND"
                             "     CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN "
                             "i.indisreplident ELSE false END"
                             "   WHERE c.relreplident = 'f' OR a.attnum = ANY (i.indkey)) x"
                             " GROUP BY x.attname HAVING count(*) = $2::int",
                             {"{" +
                                  [&] {
                                    std::string list;
                                    for (const std::uint32_t leaf : facts.leaves) {
                                      list += (list.empty() ? "" : ",") + std::to_string(leaf);
                                    }
                                    return list;
                                  }() +
                                  "}",
                              std::to_string(facts.leaves.size())},
                             deadline));
  for (std::size_t i = 0; i < identity.count(); ++i) {
    facts.identity_columns.emplace_back(identity.text(i, 0));
  }
  co_return std::optional(std::move(facts));
}

Async<Result<UnsteadyNames>> find_unsteady(PostgresSession& session,
                                           std::vector<std::string> functions,
                                           std::vector<std::string> operators,
                                           std::vector<std::string> types,
                                           Deadline deadline) {
  // Steady: immutable, or one of PostgreSQL's own that is stable for the sake of settings which are
  // the same in every session that fills views.
  constexpr std::string_view steady =
      "(p.provolatile = 'i' OR (p.oid < 16384 AND p.proname IN "
      "('to_char','to_json','to_jsonb','row_to_json',"
      "'json_build_object','jsonb_build_object','json_build_array','jsonb_build_array','json_agg','"
      "jsonb_agg',"
      "'json_object_agg','jsonb_object_agg','array_to_json','concat','concat_ws','format','to_"
      "timestamp',"
      "'date_trunc','date_part','extract','timezone','quote_literal','quote_nullable','array_to_"
      "string',"
      "'string_agg','array_agg','to_date')))";
  UnsteadyNames unsteady;
  auto found = first_column(co_await session.query(
      "SELECT n.name FROM pg_catalog.unnest($1::text[]) AS n(name) WHERE NOT coalesce((SELECT "
      "bool_and(" +
          std::string(steady) + ") FROM pg_catalog.pg_proc p WHERE p.proname = n.name), false)",
      {to_array(functions)},
      deadline));
  if (!found) co_return std::unexpected(found.error());
  unsteady.functions = std::move(*found);
  // Operators of dates and texts are stable for the sake of settings too.
  found = first_column(co_await session.query(
      "SELECT n.name FROM pg_catalog.unnest($1::text[]) AS n(name) WHERE NOT coalesce((SELECT"
      " bool_and(p.provolatile = 'i' OR (p.oid < 16384 AND p.provolatile = 's')) FROM "
      "pg_catalog.pg_operator o"
      " JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode WHERE o.oprname = n.name), false)",
      {to_array(operators)},
      deadline));
  if (!found) co_return std::unexpected(found.error());
  unsteady.operators = std::move(*found);
  // Types that somebody made may have casts and checks of their own.
  found = first_column(co_await session.query(
      "SELECT n.name FROM pg_catalog.unnest($1::text[]) AS n(name) WHERE NOT coalesce((SELECT"
      " bool_and(t.oid < 16384 OR t.typtype = 'e') FROM pg_catalog.pg_type t WHERE t.typname = "
      "n.name), false)",
      {to_array(types)},
      deadline));
  if (!found) co_return std::unexpected(found.error());
  unsteady.types = std::move(*found);
  co_return unsteady;
}

Async<Result<std::shared_ptr<const ReadOnlyCatalog>>> load_read_only_catalog(
    PostgresSession& session, Deadline deadline) {
  auto catalog = std::make_shared<ReadOnlyCatalog>();
  const std::string harmless = harmless_function("p");
  MERIDIAN_CO_TRY(const Rows functions,
                  co_await session.query("SELECT p.proname, bool_and(" + harmless +
                                             ") FROM pg_catalog.pg_proc p GROUP BY p.proname",
                                         {},
                                         deadline));
  for (std::size_t i = 0; i < functions.count(); ++i) {
    auto& names = functions.flag(i, 1) ? catalog->functions : catalog->harmful_functions;
    names.emplace(functions.text(i, 0));
  }
  MERIDIAN_CO_TRY(const Rows operators,
                  co_await session.query("SELECT o.oprname FROM pg_catalog.pg_operator o"
                                         " JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode"
                                         " GROUP BY o.oprname HAVING bool_and(" +
                                             harmless + ")",
                                         {},
                                         deadline));
  for (std::size_t i = 0; i < operators.count(); ++i)
    catalog->operators.emplace(operators.text(i, 0));
  MERIDIAN_CO_TRY(
      const Rows types,
      co_await session.query("SELECT DISTINCT t.typname FROM pg_catalog.pg_type t"
                             " WHERE t.oid >= 16384 AND t.typtype NOT IN ('c', 'e', 'p')"
                             " AND t.typelem = 0",
                             {},
                             deadline));
  for (std::size_t i = 0; i < types.count(); ++i)
    catalog->harmful_types.emplace(types.text(i, 0));

  // Code that runs unnamed: casts, input functions, checks of domains, operator classes.
  MERIDIAN_CO_TRY(const Rows unnamed,
                  co_await session.query(
                      "SELECT EXISTS (SELECT FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_proc p "
                      "ON p.oid = c.castfunc"
                      "   WHERE c.oid >= 16384 AND NOT " +
                          harmless +
                          ")"
                          " OR EXISTS (SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_proc p"
                          "   ON p.oid IN (t.typinput, t.typoutput) WHERE t.oid >= 16384 AND NOT " +
                          harmless +
                          ")"
                          " OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contypid <> "
                          "0 AND k.oid >= 16384)"
                          " OR EXISTS (SELECT FROM pg_catalog.pg_amproc m JOIN pg_catalog.pg_proc "
                          "p ON p.oid = m.amproc"
                          "   WHERE m.oid >= 16384 AND NOT " +
                          harmless + ")",
                      {},
                      deadline));
  catalog->implicit_harm = unnamed.flag(0, 0);

  // Foreign tables may do anything at the other end, and what has one as a part reads it too.
  // Policies of rows run for whoever reads.
  MERIDIAN_CO_TRY(const Rows relations,
                  co_await session.query(
                      "SELECT c.relname FROM pg_catalog.pg_class c WHERE c.relkind = 'f'"
                      " OR (c.relrowsecurity AND EXISTS (SELECT FROM pg_catalog.pg_policy y"
                      "   WHERE y.polrelid = c.oid))"
                      " OR EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class f"
                      "   ON f.oid = i.inhrelid WHERE i.inhparent = c.oid AND f.relkind = 'f')",
                      {},
                      deadline));
  for (std::size_t i = 0; i < relations.count(); ++i) {
    catalog->harmful_relations.emplace(relations.text(i, 0));
  }

  // Views are as harmless as what they name. PostgreSQL's own are.
  MERIDIAN_CO_TRY(
      const Rows views,
      co_await session.query(
          "SELECT c.relname, pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c"
          " WHERE c.relkind = 'v' AND c.oid >= 16384 LIMIT 10001",
          {},
          deadline));
  if (views.count() > view_definitions_max) {
    catalog->implicit_harm = true;
    co_return std::shared_ptr<const ReadOnlyCatalog>(std::move(catalog));
  }
  std::map<std::string, postgres::Analysis> unsettled;
  for (std::size_t i = 0; i < views.count(); ++i) {
    auto analysis = postgres::analyse(views.text(i, 1), {.bounds = {}, .fingerprint = false});
    const std::string name(views.text(i, 0));
    const bool plain = analysis && analysis->complete() && analysis->statements.size() == 1 &&
                       analysis->statements.front().reads_only && !unsettled.contains(name);
    if (plain) {
      unsettled.emplace(name, std::move(*analysis));
    } else {
      catalog->harmful_relations.insert(name);
    }
  }
  // Harm spreads from view to view until nothing changes.
  for (bool changed = true; changed;) {
    changed = false;
    for (auto view = unsettled.begin(); view != unsettled.end();) {
      const postgres::Names& names = view->second.statements.front().names;
      const bool harmful = !std::ranges::all_of(names.functions, [&](const auto& name) {
        return catalog->functions.contains(name.name);
      }) || !std::ranges::all_of(names.operators, [&](const auto& name) {
        return catalog->operators.contains(name.name);
      }) || std::ranges::any_of(names.relations, [&](const auto& name) {
        return catalog->harmful_relations.contains(name.name);
      });
      if (harmful) {
        catalog->harmful_relations.insert(view->first);
        view = unsettled.erase(view);
        changed = true;
      } else {
        ++view;
      }
    }
  }
  co_return std::shared_ptr<const ReadOnlyCatalog>(std::move(catalog));
}

}  // namespace meridian
