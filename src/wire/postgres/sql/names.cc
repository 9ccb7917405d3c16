#include "wire/postgres/sql/names.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <initializer_list>
#include <span>
#include <unordered_map>

namespace meridian::postgres {
namespace {

using NodeCase = PgQuery__Node__NodeCase;

constexpr std::size_t node_cases = 256;

// The kinds of node that the walk knows: either nothing in them needs looking at but their
// children, or a visitor below does. XML and, from version 16 on, JSON constructs are not among
// them.
constexpr std::array known_nodes = {
    // Expressions.
    PG_QUERY__NODE__NODE_A_ARRAY_EXPR,
    PG_QUERY__NODE__NODE_A_CONST,
    PG_QUERY__NODE__NODE_A_EXPR,
    PG_QUERY__NODE__NODE_A_INDICES,
    PG_QUERY__NODE__NODE_A_INDIRECTION,
    PG_QUERY__NODE__NODE_A_STAR,
    PG_QUERY__NODE__NODE_BIT_STRING,
    PG_QUERY__NODE__NODE_BOOL_EXPR,
    PG_QUERY__NODE__NODE_BOOLEAN,
    PG_QUERY__NODE__NODE_BOOLEAN_TEST,
    PG_QUERY__NODE__NODE_CASE_EXPR,
    PG_QUERY__NODE__NODE_CASE_WHEN,
    PG_QUERY__NODE__NODE_COALESCE_EXPR,
    PG_QUERY__NODE__NODE_COLLATE_CLAUSE,
    PG_QUERY__NODE__NODE_COLUMN_REF,
    PG_QUERY__NODE__NODE_CURRENT_OF_EXPR,
    PG_QUERY__NODE__NODE_FLOAT,
    PG_QUERY__NODE__NODE_FUNC_CALL,
    PG_QUERY__NODE__NODE_GROUPING_FUNC,
    PG_QUERY__NODE__NODE_INTEGER,
    PG_QUERY__NODE__NODE_LIST,
    PG_QUERY__NODE__NODE_MIN_MAX_EXPR,
    PG_QUERY__NODE__NODE_MULTI_ASSIGN_REF,
    PG_QUERY__NODE__NODE_NAMED_ARG_EXPR,
    PG_QUERY__NODE__NODE_NULL_TEST,
    PG_QUERY__NODE__NODE_PARAM_REF,
    PG_QUERY__NODE__NODE_ROW_EXPR,
    PG_QUERY__NODE__NODE_SET_TO_DEFAULT,
    PG_QUERY__NODE__NODE_SQLVALUE_FUNCTION,
    PG_QUERY__NODE__NODE_STRING,
    PG_QUERY__NODE__NODE_SUB_LINK,
    PG_QUERY__NODE__NODE_TYPE_CAST,
    PG_QUERY__NODE__NODE_TYPE_NAME,
    // Parts of queries.
    PG_QUERY__NODE__NODE_ALIAS,
    PG_QUERY__NODE__NODE_COMMON_TABLE_EXPR,
    PG_QUERY__NODE__NODE_GROUPING_SET,
    PG_QUERY__NODE__NODE_INDEX_ELEM,
    PG_QUERY__NODE__NODE_JOIN_EXPR,
    PG_QUERY__NODE__NODE_LOCKING_CLAUSE,
    PG_QUERY__NODE__NODE_MERGE_WHEN_CLAUSE,
    PG_QUERY__NODE__NODE_RANGE_FUNCTION,
    PG_QUERY__NODE__NODE_RANGE_SUBSELECT,
    PG_QUERY__NODE__NODE_RANGE_TABLE_SAMPLE,
    PG_QUERY__NODE__NODE_RANGE_VAR,
    PG_QUERY__NODE__NODE_RES_TARGET,
    PG_QUERY__NODE__NODE_SORT_BY,
    PG_QUERY__NODE__NODE_WINDOW_DEF,
    // Queries and changes.
    PG_QUERY__NODE__NODE_DELETE_STMT,
    PG_QUERY__NODE__NODE_INSERT_STMT,
    PG_QUERY__NODE__NODE_MERGE_STMT,
    PG_QUERY__NODE__NODE_SELECT_STMT,
    PG_QUERY__NODE__NODE_UPDATE_STMT,
    // Sessions and transactions.
    PG_QUERY__NODE__NODE_CALL_STMT,
    PG_QUERY__NODE__NODE_CLOSE_PORTAL_STMT,
    PG_QUERY__NODE__NODE_CONSTRAINTS_SET_STMT,
    PG_QUERY__NODE__NODE_COPY_STMT,
    PG_QUERY__NODE__NODE_DEALLOCATE_STMT,
    PG_QUERY__NODE__NODE_DECLARE_CURSOR_STMT,
    PG_QUERY__NODE__NODE_DEF_ELEM,
    PG_QUERY__NODE__NODE_DISCARD_STMT,
    PG_QUERY__NODE__NODE_DO_STMT,
    PG_QUERY__NODE__NODE_EXECUTE_STMT,
    PG_QUERY__NODE__NODE_EXPLAIN_STMT,
    PG_QUERY__NODE__NODE_FETCH_STMT,
    PG_QUERY__NODE__NODE_LISTEN_STMT,
    PG_QUERY__NODE__NODE_LOAD_STMT,
    PG_QUERY__NODE__NODE_LOCK_STMT,
    PG_QUERY__NODE__NODE_NOTIFY_STMT,
    PG_QUERY__NODE__NODE_PREPARE_STMT,
    PG_QUERY__NODE__NODE_TRANSACTION_STMT,
    PG_QUERY__NODE__NODE_UNLISTEN_STMT,
    PG_QUERY__NODE__NODE_VARIABLE_SET_STMT,
    PG_QUERY__NODE__NODE_VARIABLE_SHOW_STMT,
    // Definitions.
    PG_QUERY__NODE__NODE_ACCESS_PRIV,
    PG_QUERY__NODE__NODE_ALTER_DOMAIN_STMT,
    PG_QUERY__NODE__NODE_ALTER_ENUM_STMT,
    PG_QUERY__NODE__NODE_ALTER_FUNCTION_STMT,
    PG_QUERY__NODE__NODE_ALTER_OBJECT_SCHEMA_STMT,
    PG_QUERY__NODE__NODE_ALTER_OWNER_STMT,
    PG_QUERY__NODE__NODE_ALTER_POLICY_STMT,
    PG_QUERY__NODE__NODE_ALTER_ROLE_SET_STMT,
    PG_QUERY__NODE__NODE_ALTER_ROLE_STMT,
    PG_QUERY__NODE__NODE_ALTER_SEQ_STMT,
    PG_QUERY__NODE__NODE_ALTER_TABLE_CMD,
    PG_QUERY__NODE__NODE_ALTER_TABLE_STMT,
    PG_QUERY__NODE__NODE_COLUMN_DEF,
    PG_QUERY__NODE__NODE_COMMENT_STMT,
    PG_QUERY__NODE__NODE_COMPOSITE_TYPE_STMT,
    PG_QUERY__NODE__NODE_CONSTRAINT,
    PG_QUERY__NODE__NODE_CREATE_DOMAIN_STMT,
    PG_QUERY__NODE__NODE_CREATE_ENUM_STMT,
    PG_QUERY__NODE__NODE_CREATE_FUNCTION_STMT,
    PG_QUERY__NODE__NODE_CREATE_POLICY_STMT,
    PG_QUERY__NODE__NODE_CREATE_ROLE_STMT,
    PG_QUERY__NODE__NODE_CREATE_SCHEMA_STMT,
    PG_QUERY__NODE__NODE_CREATE_SEQ_STMT,
    PG_QUERY__NODE__NODE_CREATE_STMT,
    PG_QUERY__NODE__NODE_CREATE_TABLE_AS_STMT,
    PG_QUERY__NODE__NODE_CREATE_TRIG_STMT,
    PG_QUERY__NODE__NODE_DROP_ROLE_STMT,
    PG_QUERY__NODE__NODE_DROP_STMT,
    PG_QUERY__NODE__NODE_FUNCTION_PARAMETER,
    PG_QUERY__NODE__NODE_GRANT_ROLE_STMT,
    PG_QUERY__NODE__NODE_GRANT_STMT,
    PG_QUERY__NODE__NODE_INDEX_STMT,
    PG_QUERY__NODE__NODE_OBJECT_WITH_ARGS,
    PG_QUERY__NODE__NODE_PARTITION_CMD,
    PG_QUERY__NODE__NODE_PARTITION_ELEM,
    PG_QUERY__NODE__NODE_PARTITION_RANGE_DATUM,
    PG_QUERY__NODE__NODE_REFRESH_MAT_VIEW_STMT,
    PG_QUERY__NODE__NODE_REINDEX_STMT,
    PG_QUERY__NODE__NODE_RENAME_STMT,
    PG_QUERY__NODE__NODE_RETURN_STMT,
    PG_QUERY__NODE__NODE_ROLE_SPEC,
    PG_QUERY__NODE__NODE_TABLE_LIKE_CLAUSE,
    PG_QUERY__NODE__NODE_TRIGGER_TRANSITION,
    PG_QUERY__NODE__NODE_TRUNCATE_STMT,
    PG_QUERY__NODE__NODE_VACUUM_RELATION,
    PG_QUERY__NODE__NODE_VACUUM_STMT,
    PG_QUERY__NODE__NODE_VIEW_STMT,
};

const std::bitset<node_cases>& known() {
  static const std::bitset<node_cases> bits = [] {
    std::bitset<node_cases> set;
    for (const NodeCase node_case : known_nodes)
      set.set(static_cast<std::size_t>(node_case));
    return set;
  }();
  return bits;
}

// By PgQuery__SQLValueFunctionOp; those with a precision (_N) share their name.
constexpr std::array<std::string_view, 16> value_functions = {"unknown",
                                                              "current_date",
                                                              "current_time",
                                                              "current_time",
                                                              "current_timestamp",
                                                              "current_timestamp",
                                                              "localtime",
                                                              "localtime",
                                                              "localtimestamp",
                                                              "localtimestamp",
                                                              "current_role",
                                                              "current_user",
                                                              "user",
                                                              "session_user",
                                                              "current_catalog",
                                                              "current_schema"};

std::string_view name_of(PgQuery__SQLValueFunctionOp op) noexcept {
  const auto index = static_cast<std::size_t>(op);
  return value_functions[index < value_functions.size() ? index : 0];
}

template <class T>
void sort_unique(std::vector<T>& items) {
  std::ranges::sort(items);
  const auto rest = std::ranges::unique(items);
  items.erase(rest.begin(), rest.end());
}

class Walk {
 public:
  explicit Walk(Findings& findings) : findings_(findings) {}

  void node(const PgQuery__Node& node) {
    const ProtobufCMessage* const message_below = unwrap(node);
    if (!message_below) {
      unknown("an empty node");
    } else if (!known().test(static_cast<std::size_t>(node.node_case))) {
      unknown(node_type_name(*message_below->descriptor));
    } else {
      message(*message_below);
    }
  }

  void finish() {
    sort_unique(findings_.names.relations);
    sort_unique(findings_.names.functions);
    sort_unique(findings_.names.operators);
    sort_unique(findings_.names.types);
    sort_unique(findings_.names.attributes);
    sort_unique(findings_.names.value_functions);
  }

 private:
  void unknown(std::string_view kind) noexcept {
    if (findings_.unknown.empty()) findings_.unknown = kind;
  }

  // Visits a message by its own type, wrapped in a Node or not.
  void message(const ProtobufCMessage& message) {
    const ProtobufCMessageDescriptor* const type = message.descriptor;
    if (type == &pg_query__node__descriptor) return node(as<PgQuery__Node>(message));
    if (type == &pg_query__select_stmt__descriptor) return visit(as<PgQuery__SelectStmt>(message));
    if (type == &pg_query__insert_stmt__descriptor) return change(as<PgQuery__InsertStmt>(message));
    if (type == &pg_query__update_stmt__descriptor) return change(as<PgQuery__UpdateStmt>(message));
    if (type == &pg_query__delete_stmt__descriptor) return change(as<PgQuery__DeleteStmt>(message));
    if (type == &pg_query__merge_stmt__descriptor) return change(as<PgQuery__MergeStmt>(message));
    if (type == &pg_query__range_var__descriptor) return visit(as<PgQuery__RangeVar>(message));
    if (type == &pg_query__range_function__descriptor)
      return visit(as<PgQuery__RangeFunction>(message));
    // The names in FOR UPDATE OF are those of FROM.
    if (type == &pg_query__locking_clause__descriptor) {
      findings_.locks_rows = true;
      return;
    }
    collect(message);
    children(message);
  }

  template <class T>
  static const T& as(const ProtobufCMessage& message) noexcept {
    return reinterpret_cast<const T&>(message);
  }

  void children(const ProtobufCMessage& parent) {
    for_each_child(parent, [this](const ProtobufCMessage& child) { message(child); });
  }

  // Everything below a statement but the parts that were visited on their own account.
  void children_except(const ProtobufCMessage& parent, std::initializer_list<const void*> visited) {
    for_each_child(parent, [&](const ProtobufCMessage& child) {
      const void* const address = &child;
      if (std::ranges::find(visited, address) == visited.end()) message(child);
    });
  }

  void visit(const PgQuery__SelectStmt& select) {
    const std::size_t outer = open_scope(select.with_clause);
    if (select.into_clause) findings_.changes_rows = true;
    // DISTINCT without ON is a list of one empty node.
    const bool plain_distinct =
        select.n_distinct_clause == 1 && !unwrap(*select.distinct_clause[0]);
    children_except(select.base,
                    {select.with_clause, plain_distinct ? select.distinct_clause[0] : nullptr});
    close_scope(outer);
  }

  // INSERT, UPDATE, DELETE, MERGE. The target is a table even where a CTE has its name.
  template <class Statement>
  void change(const Statement& statement) {
    findings_.changes_rows = true;
    const std::size_t outer = open_scope(statement.with_clause);
    if (statement.relation) add_relation(*statement.relation);
    children_except(statement.base, {statement.with_clause, statement.relation});
    close_scope(outer);
  }

  // Returns the count of names to go back to.
  std::size_t open_scope(const PgQuery__WithClause* with) {
    const std::size_t outer = common_tables_.size();
    if (!with) return outer;
    const std::span tables(with->ctes, with->n_ctes);
    // With RECURSIVE all see all; without, each sees those before it.
    if (with->recursive) {
      for (const PgQuery__Node* const table : tables)
        add_common_table(table);
    }
    for (const PgQuery__Node* const table : tables) {
      node(*table);
      if (!with->recursive) add_common_table(table);
    }
    return outer;
  }
  void close_scope(std::size_t outer) {
    for (; common_tables_.size() > outer; common_tables_.pop_back()) {
      const auto found = in_scope_.find(common_tables_.back());
      if (--found->second == 0) in_scope_.erase(found);
    }
  }

  void add_common_table(const PgQuery__Node* table) {
    const auto* const common =
        node_as<PgQuery__CommonTableExpr>(table, PG_QUERY__NODE__NODE_COMMON_TABLE_EXPR);
    if (!common) return;
    common_tables_.emplace_back(common->ctename);
    ++in_scope_[common_tables_.back()];
  }

  void visit(const PgQuery__RangeVar& relation) {
    const std::string_view name = relation.relname;
    const bool qualified = *relation.schemaname != '\0';
    if (!qualified && in_scope_.contains(name)) return;
    add_relation(relation);
  }

  void add_relation(const PgQuery__RangeVar& relation) {
    const std::string_view schema = relation.schemaname;
    if (std::string_view(relation.relpersistence) == "t" || schema.starts_with("pg_temp"))
      findings_.temporary = true;
    findings_.relations.push_back(&relation);
    findings_.names.relations.push_back(
        {.schema = std::string(schema), .name = std::string(relation.relname)});
  }

  // Each item is a pair of a call and a list of column definitions, which may be an empty node.
  void visit(const PgQuery__RangeFunction& range) {
    for (const PgQuery__Node* const item : std::span(range.functions, range.n_functions)) {
      const auto* const pair = node_as<PgQuery__List>(item, PG_QUERY__NODE__NODE_LIST);
      if (!pair || pair->n_items != 2) {
        unknown("RangeFunction");
        continue;
      }
      node(*pair->items[0]);
      if (unwrap(*pair->items[1])) node(*pair->items[1]);
    }
    for (const PgQuery__Node* const column : std::span(range.coldeflist, range.n_coldeflist))
      node(*column);
  }

  // Notes what the message itself names; its children are visited by the caller.
  void collect(const ProtobufCMessage& message) {
    const ProtobufCMessageDescriptor* const type = message.descriptor;
    if (type == &pg_query__func_call__descriptor) {
      const auto& call = as<PgQuery__FuncCall>(message);
      add(findings_.names.functions, call.funcname, call.n_funcname);
      if (findings_.names.functions.back().name == "set_config")
        findings_.set_config_calls.push_back(&call);
    } else if (type == &pg_query__a__expr__descriptor) {
      collect(as<PgQuery__AExpr>(message));
    } else if (type == &pg_query__sub_link__descriptor) {
      const auto& link = as<PgQuery__SubLink>(message);
      if (link.n_oper_name > 0) {
        add(findings_.names.operators, link.oper_name, link.n_oper_name);
      } else if (link.testexpr) {
        add_operator("=");
      }
    } else if (type == &pg_query__type_name__descriptor) {
      const auto& name = as<PgQuery__TypeName>(message);
      add(findings_.names.types, name.names, name.n_names);
    } else if (type == &pg_query__column_ref__descriptor) {
      const auto& column = as<PgQuery__ColumnRef>(message);
      if (column.n_fields > 1) add_attribute(column.fields[column.n_fields - 1]);
    } else if (type == &pg_query__a__indirection__descriptor) {
      const auto& indirection = as<PgQuery__AIndirection>(message);
      for (const PgQuery__Node* const part :
           std::span(indirection.indirection, indirection.n_indirection))
        add_attribute(part);
    } else if (type == &pg_query__join_expr__descriptor) {
      const auto& join = as<PgQuery__JoinExpr>(message);
      if (join.is_natural || join.n_using_clause > 0) add_operator("=");
    } else if (type == &pg_query__case_expr__descriptor) {
      if (as<PgQuery__CaseExpr>(message).arg) add_operator("=");
    } else if (type == &pg_query__sort_by__descriptor) {
      const auto& sort = as<PgQuery__SortBy>(message);
      if (sort.n_use_op > 0) add(findings_.names.operators, sort.use_op, sort.n_use_op);
    } else if (type == &pg_query__range_table_sample__descriptor) {
      const auto& sample = as<PgQuery__RangeTableSample>(message);
      add(findings_.names.functions, sample.method, sample.n_method);
    } else if (type == &pg_query__sqlvalue_function__descriptor) {
      findings_.names.value_functions.emplace_back(
          name_of(as<PgQuery__SQLValueFunction>(message).op));
    }
  }

  // BETWEEN stands for the comparisons that it is made of; the others name their operator.
  void collect(const PgQuery__AExpr& expression) {
    const bool between = expression.kind == PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN ||
                         expression.kind == PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN ||
                         expression.kind == PG_QUERY__A__EXPR__KIND__AEXPR_BETWEEN_SYM ||
                         expression.kind == PG_QUERY__A__EXPR__KIND__AEXPR_NOT_BETWEEN_SYM;
    if (between) {
      for (const char* const name : {"<", "<=", ">", ">="})
        add_operator(name);
    } else {
      add(findings_.names.operators, expression.name, expression.n_name);
    }
  }

  static void add(std::vector<QualifiedName>& names,
                  PgQuery__Node* const* parts,
                  std::size_t count) {
    names.push_back(to_qualified_name(parts, count));
  }
  void add_operator(std::string_view name) {
    findings_.names.operators.push_back({.schema = {}, .name = std::string(name)});
  }
  void add_attribute(const PgQuery__Node* part) {
    const std::string_view name = string_of(part);
    if (!name.empty()) findings_.names.attributes.emplace_back(name);
  }

  Findings& findings_;
  std::vector<std::string_view> common_tables_;                 // In scope, innermost last.
  std::unordered_map<std::string_view, std::size_t> in_scope_;  // The same, counted by name.
};

}  // namespace

QualifiedName to_qualified_name(PgQuery__Node* const* parts, std::size_t count) {
  QualifiedName name;
  if (count > 0) name.name = string_of(parts[count - 1]);
  if (count > 1) name.schema = string_of(parts[count - 2]);
  return name;
}

Findings find_names(const PgQuery__Node& statement) {
  Findings findings;
  Walk walk(findings);
  walk.node(statement);
  walk.finish();
  return findings;
}

}  // namespace meridian::postgres
