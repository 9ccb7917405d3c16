#include "wire/postgres/sql/rule_statement.h"

#include "base/escape.h"
#include "base/number.h"
#include "wire/postgres/sql/parse_tree.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

namespace meridian::postgres {
namespace {

constexpr ParseBounds rule_bounds = {.text_bytes_max = 64 * 1024};
constexpr std::size_t field_size_max = 256;

bool is_field_byte(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("_-.[]?").contains(c);
}

// A parameter must not grow together with what stands beside the braces.
bool joins_a_word(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

Result<void> replace_fields(std::string_view text, RuleStatement& rule) {
  Lexer lexer(text);
  std::size_t copied = 0;
  for (Token token = lexer.next(); token.kind != TokenKind::end; token = lexer.next()) {
    if (token.kind == TokenKind::parameter) {
      return fail(
          Errc::invalid,
          fmt::format("the statement has a parameter {} of its own; write fields as {{name}}",
                      lexer.text(token)));
    }
    if (token.kind != TokenKind::unknown) continue;
    const std::size_t begin = token.begin;
    const std::size_t close = text.find('}', begin);
    const bool braces = text[begin] == '{' && close != std::string_view::npos;
    const std::string_view name =
        braces ? text.substr(begin + 1, close - begin - 1) : std::string_view();
    if (name.empty() || name.size() > field_size_max || !std::ranges::all_of(name, is_field_byte)) {
      return fail(Errc::invalid,
                  fmt::format("the statement is not understood at byte {}: {}",
                              begin,
                              quote(text.substr(begin, 20))));
    }
    if ((begin > 0 && joins_a_word(text[begin - 1])) ||
        (close + 1 < text.size() && joins_a_word(text[close + 1]))) {
      return fail(Errc::invalid,
                  fmt::format("put a space between {{{}}} and the word beside it", name));
    }
    auto found = std::ranges::find(rule.fields, name);
    if (found == rule.fields.end()) found = rule.fields.insert(found, std::string(name));
    rule.sql += text.substr(copied, begin - copied);
    rule.sql += fmt::format("${}", found - rule.fields.begin() + 1);
    copied = close + 1;
    lexer.move_to(static_cast<std::uint32_t>(copied));
  }
  rule.sql += text.substr(copied);
  while (!rule.sql.empty() && std::string_view(" \t\r\n;").contains(rule.sql.back()))
    rule.sql.pop_back();
  return {};
}

bool contains(const ProtobufCMessage& message, const ProtobufCMessageDescriptor& wanted) {
  if (message.descriptor == &wanted) return true;
  if (message.descriptor == &pg_query__node__descriptor) {
    const auto* const inside = unwrap(reinterpret_cast<const PgQuery__Node&>(message));
    return inside && contains(*inside, wanted);
  }
  bool found = false;
  for_each_child(message,
                 [&](const ProtobufCMessage& child) { found = found || contains(child, wanted); });
  return found;
}

// Why the rows of many messages cannot go in by one statement; empty when they can.
std::string obstacle(const PgQuery__Node& statement) {
  const auto* const insert =
      node_as<PgQuery__InsertStmt>(&statement, PG_QUERY__NODE__NODE_INSERT_STMT);
  if (!insert) return "it is no INSERT";
  if (insert->with_clause) return "it has a WITH";
  if (insert->n_returning_list > 0) return "it has a RETURNING";
  const auto* const select =
      node_as<PgQuery__SelectStmt>(insert->select_stmt, PG_QUERY__NODE__NODE_SELECT_STMT);
  if (!select || select->n_values_lists != 1) return "it has not one list of VALUES";
  if (contains(select->base, pg_query__sub_link__descriptor)) return "a value is a query";
  if (contains(select->base, pg_query__set_to_default__descriptor)) return "a value is DEFAULT";
  return {};
}

// The places in an INSERT that obstacle() let pass. Empty when the text is not what the tree says.
std::optional<InsertParts> cut(std::string_view sql) {
  Lexer lexer(sql);
  std::size_t depth = 0;
  std::size_t relation_begin = 0;
  std::size_t relation_end = 0;
  std::size_t values_word = 0;
  std::size_t values_begin = 0;
  std::size_t values_end = 0;
  bool after_into = false;
  const auto equals = [](std::string_view word, std::string_view wanted) {
    return std::ranges::equal(word, wanted, {}, [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    });
  };
  for (Token token = lexer.next(); token.kind != TokenKind::end; token = lexer.next()) {
    if (token.kind == TokenKind::space || token.kind == TokenKind::comment) continue;
    const std::string_view text = lexer.text(token);
    if (relation_begin == 0) {
      if (after_into) {
        relation_begin = token.begin;
        relation_end = token.end;
      }
      after_into = token.kind == TokenKind::word && equals(text, "into");
      continue;
    }
    // name, schema.name
    const bool continues =
        token.begin == relation_end && (text == "." || sql[relation_end - 1] == '.');
    if (continues && values_word == 0) {
      relation_end = token.end;
      continue;
    }
    if (text == "(") {
      if (values_word != 0 && values_begin == 0) values_begin = token.end;
      ++depth;
    } else if (text == ")") {
      if (depth == 0) return std::nullopt;
      --depth;
      if (values_begin != 0 && values_end == 0 && depth == 0) values_end = token.begin;
    } else if (depth == 0 && values_word == 0 && token.kind == TokenKind::word &&
               equals(text, "values")) {
      values_word = token.begin;
    }
  }
  if (values_end == 0) return std::nullopt;
  return InsertParts{
      .before = std::string(sql.substr(0, relation_begin)),
      .relation = std::string(sql.substr(relation_begin, relation_end - relation_begin)),
      .columns = std::string(sql.substr(relation_end, values_word - relation_end)),
      .values = std::string(sql.substr(values_begin, values_end - values_begin)),
      .tail = std::string(sql.substr(values_end + 1))};
}

}  // namespace

std::string replace_parameters(std::string_view sql,
                               FunctionRef<std::string(std::size_t number)> replacement) {
  std::string replaced;
  Lexer lexer(sql);
  std::size_t copied = 0;
  for (Token token = lexer.next(); token.kind != TokenKind::end; token = lexer.next()) {
    if (token.kind != TokenKind::parameter) continue;
    replaced += sql.substr(copied, token.begin - copied);
    replaced += replacement(parse_number<std::size_t>(lexer.text(token).substr(1)).value_or(0));
    copied = token.end;
  }
  replaced += sql.substr(copied);
  return replaced;
}

Result<RuleStatement> parse_rule_statement(std::string_view text) {
  if (text.size() > rule_bounds.text_bytes_max) {
    return fail(Errc::exhausted,
                fmt::format("a statement of {} bytes is above text_bytes_max={}",
                            text.size(),
                            rule_bounds.text_bytes_max));
  }
  RuleStatement rule;
  MERIDIAN_CHECK(replace_fields(text, rule));
  MERIDIAN_TRY(const ParseTree tree, ParseTree::parse(rule.sql, rule_bounds));
  const PgQuery__ParseResult& root = tree.root();
  if (root.n_stmts != 1 || !root.stmts[0]->stmt) {
    return fail(Errc::invalid, "write one statement");
  }
  const PgQuery__Node& statement = *root.stmts[0]->stmt;
  constexpr std::array known{PG_QUERY__NODE__NODE_INSERT_STMT,
                             PG_QUERY__NODE__NODE_UPDATE_STMT,
                             PG_QUERY__NODE__NODE_DELETE_STMT,
                             PG_QUERY__NODE__NODE_MERGE_STMT,
                             PG_QUERY__NODE__NODE_SELECT_STMT};
  if (std::ranges::find(known, statement.node_case) == known.end()) {
    return fail(Errc::invalid, "it is no INSERT, UPDATE, DELETE, MERGE or SELECT of a function");
  }
  if (const auto* const insert =
          node_as<PgQuery__InsertStmt>(&statement, PG_QUERY__NODE__NODE_INSERT_STMT)) {
    rule.repeatable = insert->on_conflict_clause != nullptr;
  }
  rule.one_by_one = obstacle(statement);
  if (!rule.one_by_one.empty()) return rule;
  rule.insert = cut(rule.sql);
  if (!rule.insert) {
    rule.one_by_one = "its parts are not found";
    return rule;
  }
  bool tail_has_fields = false;
  (void)replace_parameters(rule.insert->tail, [&](std::size_t) {
    tail_has_fields = true;
    return std::string();
  });
  if (tail_has_fields) {
    rule.insert.reset();
    rule.one_by_one = "a field stands behind VALUES; write excluded.column there";
  }
  return rule;
}

}  // namespace meridian::postgres
