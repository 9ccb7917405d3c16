#include "wire/postgres/sql/effects.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

namespace meridian::postgres {
namespace {

// Locks of the session; those of the transaction (..._xact_...) end with it.
constexpr std::array<std::string_view, 7> advisory_lock_functions = {"pg_advisory_lock",
                                                                     "pg_advisory_lock_shared",
                                                                     "pg_advisory_unlock",
                                                                     "pg_advisory_unlock_all",
                                                                     "pg_advisory_unlock_shared",
                                                                     "pg_try_advisory_lock",
                                                                     "pg_try_advisory_lock_shared"};
constexpr std::array<std::string_view, 2> session_sequence_functions = {"currval", "lastval"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) noexcept {
  return std::ranges::find(names, name) != names.end();
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

void add_setting(Statement& statement, SettingChange change) {
  statement.effects.add(SessionEffect::setting);
  if (change.name == "role" || change.name == "session_authorization")
    statement.effects.add(SessionEffect::identity);
  statement.settings.push_back(std::move(change));
}

// set_config(name, value, is_local).
void describe_set_config(const PgQuery__FuncCall& call, Statement& statement) {
  const char* const name =
      call.n_args == 3 ? string_constant(call.args[0]) : nullptr;  // Arguments may be named.
  if (!name) {
    statement.effects.add(SessionEffect::unknown_setting);
    return;
  }
  const auto* const local = node_as<PgQuery__AConst>(call.args[2], PG_QUERY__NODE__NODE_A_CONST);
  const bool surely_local =
      local && local->val_case == PG_QUERY__A__CONST__VAL_BOOLVAL && local->boolval->boolval != 0;
  add_setting(statement, {.name = lower_case(name), .local = surely_local});
}

// READ ONLY, DEFERRABLE and ISOLATION LEVEL, of BEGIN and of SET TRANSACTION.
void add_modes(std::span<PgQuery__Node* const> options, TransactionControl& transaction) {
  for (const PgQuery__Node* const node : options) {
    const auto* const option = node_as<PgQuery__DefElem>(node, PG_QUERY__NODE__NODE_DEF_ELEM);
    if (!option) continue;
    const std::string_view name = option->defname;
    if (const char* const level = string_constant(option->arg)) {
      constexpr std::array<std::string_view, 4> levels = {
          "read uncommitted", "read committed", "repeatable read", "serializable"};
      const auto found = std::ranges::find(levels, std::string_view(level));
      if (name == "transaction_isolation" && found != levels.end())
        transaction.isolation = static_cast<Isolation>(found - levels.begin());
      continue;
    }
    const auto* const constant =
        node_as<PgQuery__AConst>(option->arg, PG_QUERY__NODE__NODE_A_CONST);
    const bool on =
        constant && constant->val_case == PG_QUERY__A__CONST__VAL_IVAL && constant->ival->ival != 0;
    if (name == "transaction_read_only") transaction.read_only = on;
    if (name == "transaction_deferrable") transaction.deferrable = on;
  }
}

void describe(const PgQuery__TransactionStmt& node, Statement& statement) {
  using Verb = TransactionControl::Verb;
  // By PgQuery__TransactionStmtKind.
  constexpr std::array verbs = {Verb::none,
                                Verb::begin,
                                Verb::begin,
                                Verb::commit,
                                Verb::rollback,
                                Verb::savepoint,
                                Verb::release,
                                Verb::rollback_to,
                                Verb::prepare,
                                Verb::commit_prepared,
                                Verb::rollback_prepared};
  const auto index = static_cast<std::size_t>(node.kind);
  const Verb verb = verbs[index < verbs.size() ? index : 0];
  statement.transaction.verb = verb;
  statement.transaction.chain = node.chain != 0;
  statement.subject = *node.gid != '\0' ? node.gid : node.savepoint_name;
  add_modes({node.options, node.n_options}, statement.transaction);
  // COMMIT PREPARED makes rows visible that this session has nothing to do with.
  statement.reads_only = verb != Verb::none && verb != Verb::prepare &&
                         verb != Verb::commit_prepared && verb != Verb::rollback_prepared;
}

void describe(const PgQuery__VariableSetStmt& node, Statement& statement) {
  statement.reads_only = true;
  SettingChange change{.name = lower_case(node.name), .local = node.is_local != 0};
  const bool multiple = node.kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_MULTI;
  if (node.kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET_ALL) {
    change.kind = SettingChange::Kind::reset_all;
  } else if (node.kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET ||
             node.kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_DEFAULT) {
    change.kind = SettingChange::Kind::reset;
  } else if (multiple && change.name != "session characteristics") {
    change.local = true;  // SET TRANSACTION.
    add_modes({node.args, node.n_args}, statement.transaction);
  }
  add_setting(statement, std::move(change));
}

void describe(const PgQuery__DiscardStmt& node, Statement& statement) {
  constexpr std::array<std::string_view, 5> targets = {
      "unknown", "all", "plans", "sequences", "temp"};
  const auto index = static_cast<std::size_t>(node.target);
  statement.effects.add(SessionEffect::discard);
  statement.subject = targets[index < targets.size() ? index : 0];
  statement.reads_only = true;
}

void describe(const PgQuery__CopyStmt& node, Statement& statement) {
  if (node.is_program || *node.filename != '\0') {
    statement.effects.add(SessionEffect::server_file);
    statement.reads_only = false;
  } else {
    statement.effects.add(node.is_from ? SessionEffect::copy_in : SessionEffect::copy_out);
    statement.reads_only = statement.reads_only && !node.is_from;
  }
}

void describe(const PgQuery__DeclareCursorStmt& node, Statement& statement) {
  constexpr std::int32_t hold = 0x20;  // CURSOR_OPT_HOLD.
  statement.effects.add((node.options & hold) != 0 ? SessionEffect::held_cursor
                                                   : SessionEffect::cursor);
  statement.subject = node.portalname;
}

void describe(const PgQuery__Node& tree, Statement& statement);

// EXPLAIN runs nothing but under ANALYZE, whatever value that option is given here.
void describe(const PgQuery__ExplainStmt& node, Statement& statement) {
  const bool analyse =
      std::ranges::any_of(std::span(node.options, node.n_options), [](const PgQuery__Node* option) {
        const auto* const element =
            node_as<PgQuery__DefElem>(option, PG_QUERY__NODE__NODE_DEF_ELEM);
        return !element || lower_case(element->defname) == "analyze";
      });
  if (!analyse || !node.query) {
    statement.reads_only = !analyse;
    return;
  }
  const StatementKind kind = statement.kind;
  describe(*node.query, statement);
  statement.kind = kind;
}

// An effect whose subject is a name, of a statement that runs nothing itself.
void note(Statement& statement, SessionEffect effect, const char* subject) {
  statement.effects.add(effect);
  statement.subject = subject;
  statement.reads_only = true;
}

// Statements that may do anything.
void note_opaque(Statement& statement, SessionEffect effect, const char* subject = "") {
  note(statement, effect, subject);
  statement.reads_only = false;
}

// The rest of the utility statements, definitions above all, change the catalogue's rows at least.
void describe_utility(const PgQuery__Node& tree, Statement& statement) {
  switch (static_cast<int>(tree.node_case)) {
    case PG_QUERY__NODE__NODE_TRANSACTION_STMT:
      return describe(*tree.transaction_stmt, statement);
    case PG_QUERY__NODE__NODE_VARIABLE_SET_STMT:
      return describe(*tree.variable_set_stmt, statement);
    case PG_QUERY__NODE__NODE_VARIABLE_SHOW_STMT:
      statement.reads_only = true;
      return;
    case PG_QUERY__NODE__NODE_DISCARD_STMT:
      return describe(*tree.discard_stmt, statement);
    case PG_QUERY__NODE__NODE_COPY_STMT:
      return describe(*tree.copy_stmt, statement);
    case PG_QUERY__NODE__NODE_DECLARE_CURSOR_STMT:
      return describe(*tree.declare_cursor_stmt, statement);
    case PG_QUERY__NODE__NODE_EXPLAIN_STMT:
      return describe(*tree.explain_stmt, statement);
    case PG_QUERY__NODE__NODE_LISTEN_STMT:
      return note(statement, SessionEffect::listen, tree.listen_stmt->conditionname);
    case PG_QUERY__NODE__NODE_UNLISTEN_STMT:
      return note(statement, SessionEffect::unlisten, tree.unlisten_stmt->conditionname);
    case PG_QUERY__NODE__NODE_NOTIFY_STMT:
      statement.subject = tree.notify_stmt->conditionname;
      statement.reads_only = true;
      return;
    case PG_QUERY__NODE__NODE_PREPARE_STMT:
      return note(statement, SessionEffect::prepare, tree.prepare_stmt->name);
    case PG_QUERY__NODE__NODE_DEALLOCATE_STMT:
      return note(statement, SessionEffect::deallocate, tree.deallocate_stmt->name);
    case PG_QUERY__NODE__NODE_CLOSE_PORTAL_STMT:
      return note(statement, SessionEffect::fetch, tree.close_portal_stmt->portalname);
    case PG_QUERY__NODE__NODE_FETCH_STMT:
      return note_opaque(statement, SessionEffect::fetch, tree.fetch_stmt->portalname);
    case PG_QUERY__NODE__NODE_EXECUTE_STMT:
      return note_opaque(statement, SessionEffect::execute, tree.execute_stmt->name);
    case PG_QUERY__NODE__NODE_LOAD_STMT:
      return note_opaque(statement, SessionEffect::load);
    case PG_QUERY__NODE__NODE_DO_STMT:
    case PG_QUERY__NODE__NODE_CALL_STMT:
      return note_opaque(statement, SessionEffect::code);
    default:
      statement.reads_only = false;
      return;
  }
}

StatementKind kind_of(const PgQuery__Node& tree) noexcept {
  switch (static_cast<int>(tree.node_case)) {
    case PG_QUERY__NODE__NODE_SELECT_STMT:
      return StatementKind::select;
    case PG_QUERY__NODE__NODE_INSERT_STMT:
      return StatementKind::insert;
    case PG_QUERY__NODE__NODE_UPDATE_STMT:
      return StatementKind::update;
    case PG_QUERY__NODE__NODE_DELETE_STMT:
      return StatementKind::delete_;
    case PG_QUERY__NODE__NODE_MERGE_STMT:
      return StatementKind::merge;
    default:
      return StatementKind::utility;
  }
}

void describe(const PgQuery__Node& tree, Statement& statement) {
  statement.kind = kind_of(tree);
  if (statement.kind == StatementKind::utility) describe_utility(tree, statement);
}

}  // namespace

void find_effects(const PgQuery__Node& tree, const Findings& findings, Statement& statement) {
  statement.reads_only = !findings.changes_rows;
  describe(tree, statement);
  if (findings.temporary) statement.effects.add(SessionEffect::temporary_object);
  for (const PgQuery__FuncCall* const call : findings.set_config_calls)
    describe_set_config(*call, statement);
  for (const QualifiedName& function : statement.names.functions) {
    if (contains(advisory_lock_functions, function.name))
      statement.effects.add(SessionEffect::advisory_lock);
    if (contains(session_sequence_functions, function.name))
      statement.effects.add(SessionEffect::sequence_value);
  }
}

}  // namespace meridian::postgres
