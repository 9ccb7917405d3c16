#include "wire/postgres/sql/view_query.h"

#include "base/escape.h"
#include "wire/postgres/sql/names.h"
#include "wire/postgres/sql/parse_tree.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace meridian::postgres {
namespace {

// --- Parts to parameters -----------------------------------------------------------------------

bool is_name_byte(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// A parameter must not grow together with what stands beside the braces.
bool joins_a_word(char c) noexcept {
  return is_name_byte(c) || c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

class PartsRewriter {
 public:
  PartsRewriter(std::string_view query, std::span<const std::string> parts)
      : query_(query), parts_(parts), lexer_(query), used_(parts.size()) {}

  Result<std::string> run() {
    for (Token token = lexer_.next(); token.kind != TokenKind::end; token = lexer_.next()) {
      if (token.kind == TokenKind::parameter) {
        return fail(Errc::invalid,
                    fmt::format("the query has a parameter {} of its own; write the key's parts "
                                "as {{name}}",
                                lexer_.text(token)));
      }
      if (token.kind == TokenKind::unknown) {
        MERIDIAN_CHECK(replace_part(token.begin));
      }
    }
    sql_ += query_.substr(copied_);
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (!used_[i]) {
        return fail(Errc::invalid,
                    fmt::format("the query does not use {{{}}} of the key", escape(parts_[i])));
      }
    }
    return std::move(sql_);
  }

 private:
  Result<void> replace_part(std::size_t begin) {
    const std::size_t close = query_.find('}', begin);
    const bool braces = query_[begin] == '{' && close != std::string_view::npos;
    const std::string_view name =
        braces ? query_.substr(begin + 1, close - begin - 1) : std::string_view();
    if (name.empty() || !std::ranges::all_of(name, is_name_byte)) {
      return fail(Errc::invalid,
                  fmt::format("the query is not understood at byte {}: {}",
                              begin,
                              quote(query_.substr(begin, 20))));
    }
    const auto found = std::ranges::find(parts_, name);
    if (found == parts_.end()) {
      return fail(Errc::invalid,
                  fmt::format("the query uses {{{}}}, which the key does not have", name));
    }
    const bool joined = (begin > 0 && joins_a_word(query_[begin - 1])) ||
                        (close + 1 < query_.size() && joins_a_word(query_[close + 1]));
    if (joined) {
      return fail(Errc::invalid,
                  fmt::format("put a space between {{{}}} and the word beside it", name));
    }
    const auto index = static_cast<std::size_t>(found - parts_.begin());
    used_[index] = true;
    sql_ += query_.substr(copied_, begin - copied_);
    sql_ += fmt::format("${}", index + 1);
    copied_ = close + 1;
    lexer_.move_to(static_cast<std::uint32_t>(copied_));
    return {};
  }

  std::string_view query_;
  std::span<const std::string> parts_;
  Lexer lexer_;
  std::vector<bool> used_;
  std::string sql_;
  std::size_t copied_ = 0;  // Bytes of the query that are in sql_, in one form or another.
};

// --- What the result depends on ----------------------------------------------------------------

// A relation in the FROM list of the outermost query.
struct Place {
  const PgQuery__RangeVar* relation = nullptr;
  std::string_view alias;  // What columns are qualified with.
  bool named = true;       // Its columns can be named through the alias, by their own names.
  std::vector<ViewCondition> conditions;
};

// Places of one part of FROM: [begin, end) of all places.
struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;
};

// Why a condition on a row of a place narrows what the result depends on: the condition stands
// where it filters the place's side, so a row that fails it leaves no trace behind. That is so for
// WHERE, for both sides of an inner join's ON, and for the side of an outer join whose rows may be
// missing. (The other side's rows are kept whatever ON says.) Also a row that NULLs stand in for
// fails any equality, so outer joins deeper down on that side change nothing.
class FromReader {
 public:
  explicit FromReader(const PgQuery__SelectStmt& select) {
    for (std::size_t i = 0; i < select.n_from_clause; ++i)
      (void)read(*select.from_clause[i]);
    only_place_ = select.n_from_clause == 1 && places_.size() == 1 && !other_items_;
    if (select.where_clause) add_conditions(*select.where_clause, {0, places_.size()});
    add_join_conditions();
  }

  std::vector<ViewCondition> conditions_of(const PgQuery__RangeVar* relation) const {
    const auto found = std::ranges::find(places_, relation, &Place::relation);
    return found == places_.end() ? std::vector<ViewCondition>() : found->conditions;
  }

 private:
  Range read(const PgQuery__Node& item) {
    const std::size_t begin = places_.size();
    if (const auto* const join =
            node_as<PgQuery__JoinExpr>(&item, PG_QUERY__NODE__NODE_JOIN_EXPR)) {
      read_join(*join);
    } else if (const auto* const relation =
                   node_as<PgQuery__RangeVar>(&item, PG_QUERY__NODE__NODE_RANGE_VAR)) {
      const PgQuery__Alias* const alias = relation->alias;
      places_.push_back({.relation = relation,
                         .alias = alias ? alias->aliasname : relation->relname,
                         .named = !alias || alias->n_colnames == 0,
                         .conditions = {}});
    } else {
      other_items_ = true;
    }
    return {begin, places_.size()};
  }

  void read_join(const PgQuery__JoinExpr& join) {
    const Range left = read(*join.larg);
    const Range right = read(*join.rarg);
    // (a JOIN b ...) AS c hides a and b.
    if (join.alias) {
      for (std::size_t i = left.begin; i < right.end; ++i)
        places_[i].named = false;
    }
    if (!join.quals) return;
    const bool inner = join.jointype == PG_QUERY__JOIN_TYPE__JOIN_INNER;
    if (inner || join.jointype == PG_QUERY__JOIN_TYPE__JOIN_LEFT) joins_.push_back({&join, right});
    if (inner || join.jointype == PG_QUERY__JOIN_TYPE__JOIN_RIGHT) joins_.push_back({&join, left});
  }

  // Once all places are known, so that a name that fits two of them is seen to.
  void add_join_conditions() {
    for (const Join& join : joins_)
      add_conditions(*join.expression->quals, join.filtered);
  }

  // From each term of an AND.
  void add_conditions(const PgQuery__Node& condition, Range filtered) {
    if (const auto* const boolean =
            node_as<PgQuery__BoolExpr>(&condition, PG_QUERY__NODE__NODE_BOOL_EXPR)) {
      if (boolean->boolop != PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR) return;
      for (std::size_t i = 0; i < boolean->n_args; ++i)
        add_conditions(*boolean->args[i], filtered);
      return;
    }
    const auto* const comparison = node_as<PgQuery__AExpr>(&condition, PG_QUERY__NODE__NODE_A_EXPR);
    if (!comparison || !is_equality(*comparison)) return;
    add_condition(comparison->lexpr, comparison->rexpr, filtered);
    add_condition(comparison->rexpr, comparison->lexpr, filtered);
  }

  static bool is_equality(const PgQuery__AExpr& comparison) {
    if (comparison.kind != PG_QUERY__A__EXPR__KIND__AEXPR_OP) return false;
    const QualifiedName name = to_qualified_name(comparison.name, comparison.n_name);
    return name.name == "=" && (name.schema.empty() || name.schema == "pg_catalog");
  }

  void add_condition(const PgQuery__Node* column_node,
                     const PgQuery__Node* part_node,
                     Range filtered) {
    const auto* const column =
        node_as<PgQuery__ColumnRef>(column_node, PG_QUERY__NODE__NODE_COLUMN_REF);
    if (!column || !part_node) return;
    ViewCondition condition;
    if (const auto* const cast =
            node_as<PgQuery__TypeCast>(part_node, PG_QUERY__NODE__NODE_TYPE_CAST)) {
      part_node = cast->arg;
      // An array type is not what its element's name says.
      if (!cast->type_name || cast->type_name->n_array_bounds > 0) return;
      condition.cast = to_qualified_name(cast->type_name->names, cast->type_name->n_names);
    }
    const auto* const parameter =
        node_as<PgQuery__ParamRef>(part_node, PG_QUERY__NODE__NODE_PARAM_REF);
    if (!parameter || parameter->number < 1) return;
    condition.part = static_cast<std::size_t>(parameter->number) - 1;
    condition.column = string_of(column->fields[column->n_fields - 1]);
    Place* const place = place_of(*column, filtered);
    if (place && !condition.column.empty()) place->conditions.push_back(std::move(condition));
  }

  // The one place that the column can belong to; null when there is doubt.
  Place* place_of(const PgQuery__ColumnRef& column, Range filtered) {
    if (column.n_fields == 1) return only_place_ && places_[0].named ? &places_[0] : nullptr;
    Place* found = nullptr;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      if (!qualifies(column, places_[i])) continue;
      if (found || i < filtered.begin || i >= filtered.end) return nullptr;
      found = &places_[i];
    }
    return found && found->named ? found : nullptr;
  }

  // alias.column, or schema.table.column where the table has no alias.
  static bool qualifies(const PgQuery__ColumnRef& column, const Place& place) {
    const std::string_view last = string_of(column.fields[column.n_fields - 2]);
    if (last != place.alias) return false;
    if (column.n_fields == 2) return true;
    const std::string_view schema = string_of(column.fields[column.n_fields - 3]);
    return column.n_fields == 3 && !place.relation->alias && schema == place.relation->schemaname;
  }

  struct Join {
    const PgQuery__JoinExpr* expression = nullptr;
    Range filtered;  // The places whose rows ON filters.
  };

  std::vector<Place> places_;
  std::vector<Join> joins_;
  bool other_items_ = false;  // Subqueries, functions and the like stand in FROM too.
  bool only_place_ = false;   // FROM is one relation and nothing else.
};

std::vector<std::string> find_refusals(const PgQuery__ParseResult& root, const Findings& findings) {
  std::vector<std::string> refusals;
  const auto refuse = [&](bool reason, std::string text) {
    if (reason) refusals.push_back(std::move(text));
  };
  refuse(root.n_stmts != 1, fmt::format("it has {} statements instead of one", root.n_stmts));
  refuse(root.stmts[0]->stmt->node_case != PG_QUERY__NODE__NODE_SELECT_STMT, "it is no SELECT");
  refuse(findings.changes_rows, "it changes rows");
  refuse(findings.locks_rows, "it locks rows (FOR UPDATE, FOR SHARE)");
  refuse(findings.temporary, "it names a temporary table");
  refuse(!findings.unknown.empty(),
         fmt::format("it has a construct that is not understood ({})", findings.unknown));
  return refusals;
}

// The outermost query where it is one plain SELECT, not a set operation or VALUES.
const PgQuery__SelectStmt* plain_select(const PgQuery__Node& statement) noexcept {
  const auto* const select =
      node_as<PgQuery__SelectStmt>(&statement, PG_QUERY__NODE__NODE_SELECT_STMT);
  return select && select->op == PG_QUERY__SET_OPERATION__SETOP_NONE ? select : nullptr;
}

}  // namespace

Result<ViewQuery> parse_view_query(std::string_view query,
                                   std::span<const std::string> parts,
                                   const ParseBounds& bounds) {
  if (query.size() > bounds.text_bytes_max) {
    return fail(
        Errc::exhausted,
        fmt::format(
            "a query of {} bytes is above text_bytes_max={}", query.size(), bounds.text_bytes_max));
  }
  ViewQuery view;
  MERIDIAN_TRY(view.sql, PartsRewriter(query, parts).run());
  MERIDIAN_TRY(const ParseTree tree, ParseTree::parse(view.sql, bounds));
  const PgQuery__ParseResult& root = tree.root();
  if (root.n_stmts == 0 || !root.stmts[0]->stmt) return fail(Errc::invalid, "the query is empty");

  const PgQuery__Node& statement = *root.stmts[0]->stmt;
  Findings findings = find_names(statement);
  view.refusals = find_refusals(root, findings);
  const PgQuery__SelectStmt* const select = plain_select(statement);
  std::optional<FromReader> from;
  if (select) from.emplace(*select);
  for (const PgQuery__RangeVar* const relation : findings.relations) {
    view.sources.push_back(
        {.relation = {.schema = relation->schemaname, .name = relation->relname},
         .conditions = from ? from->conditions_of(relation) : std::vector<ViewCondition>()});
  }
  view.names = std::move(findings.names);
  return view;
}

}  // namespace meridian::postgres
