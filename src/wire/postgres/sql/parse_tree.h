#pragma once
// The parse tree of an SQL text, as PostgreSQL 15's own grammar builds it (libpg_query). Before
// names are looked up: a tree tells what a text says, never what it means in some database.
//
// For the files of this folder alone; others see analysis.h and view_query.h.

#include "base/function_ref.h"
#include "base/result.h"
#include "wire/postgres/sql/lexer.h"
#include "wire/postgres/sql/parse_bounds.h"
#include "wire/postgres/sql/tree_reader.h"

#include <cstddef>
#include <memory>
#include <pg_query/pg_query.pb-c.h>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::postgres {

class ParseTree {
 public:
  // Errors: exhausted when a bound is exceeded; invalid for a NUL, a token that is not understood,
  // or what the grammar refuses. Needs analysis_stack_bytes of stack.
  static Result<ParseTree> parse(std::string_view sql,
                                 const ParseBounds& bounds,
                                 StringSyntax strings = StringSyntax::standard);

  const PgQuery__ParseResult& root() const noexcept { return *root_; }

 private:
  ParseTree() = default;

  std::unique_ptr<Arena> arena_;
  const PgQuery__ParseResult* root_ = nullptr;
};

// The message that a Node wraps; null when it wraps none.
const ProtobufCMessage* unwrap(const PgQuery__Node& node) noexcept;

// Calls `visit` with each message directly below `message`, Nodes included. Requires that `message`
// is no Node.
void for_each_child(const ProtobufCMessage& message,
                    FunctionRef<void(const ProtobufCMessage&)> visit);

// What the node is, as a T; null when it is something else or `node` is null.
//   const auto* call = node_as<PgQuery__FuncCall>(node, PG_QUERY__NODE__NODE_FUNC_CALL);
template <class T>
const T* node_as(const PgQuery__Node* node, PgQuery__Node__NodeCase wanted) noexcept {
  if (!node || node->node_case != wanted) return nullptr;
  return reinterpret_cast<const T*>(unwrap(*node));
}

// The text of a String node; empty for any other.
std::string_view string_of(const PgQuery__Node* node) noexcept;

// The text of a string literal; null for any other node.
const char* string_constant(const PgQuery__Node* node) noexcept;

}  // namespace meridian::postgres
