#include "wire/postgres/sql/parse_tree.h"

#include "base/escape.h"

#include <cstdint>
#include <fmt/format.h>
#include <pg_query.h>
#include <span>
#include <string>

namespace meridian::postgres {
namespace {

struct FreeParseResult {
  void operator()(PgQueryParseResult* result) const noexcept {
    pg_query_free_parse_result(*result);
  }
};

template <class T>
const T& at_offset(const ProtobufCMessage& message, unsigned offset) noexcept {
  return *reinterpret_cast<const T*>(reinterpret_cast<const std::byte*>(&message) + offset);
}

}  // namespace

Result<ParseTree> ParseTree::parse(std::string_view sql,
                                   const ParseBounds& bounds,
                                   StringSyntax strings) {
  if (sql.contains('\0')) return fail(Errc::invalid, "an SQL text has a NUL in it");
  MERIDIAN_CHECK(check_parse_bounds(sql, bounds, strings));
  const std::string text(sql);
  PgQueryParseResult parsed = pg_query_parse(text.c_str());
  const std::unique_ptr<PgQueryParseResult, FreeParseResult> owner(&parsed);
  if (parsed.error) {
    return fail(
        Errc::invalid,
        fmt::format("{}, at character {}", escape(parsed.error->message), parsed.error->cursorpos));
  }
  ParseTree tree;
  tree.arena_ = std::make_unique<Arena>();
  tree.root_ = read_parse_tree(parsed.parse_tree, *tree.arena_);
  if (!tree.root_) return fail(Errc::invalid, "the parse tree could not be read");
  return tree;
}

const ProtobufCMessage* unwrap(const PgQuery__Node& node) noexcept {
  if (node.node_case == PG_QUERY__NODE__NODE__NOT_SET) return nullptr;
  // All members of the union are pointers to messages.
  return reinterpret_cast<const ProtobufCMessage*>(node.alias);
}

void for_each_child(const ProtobufCMessage& message,
                    FunctionRef<void(const ProtobufCMessage&)> visit) {
  const ProtobufCMessageDescriptor& descriptor = *message.descriptor;
  for (const ProtobufCFieldDescriptor& field : std::span(descriptor.fields, descriptor.n_fields)) {
    if (field.type != PROTOBUF_C_TYPE_MESSAGE) continue;
    if (field.label == PROTOBUF_C_LABEL_REPEATED) {
      const auto count = at_offset<std::size_t>(message, field.quantifier_offset);
      const auto* const items = at_offset<const ProtobufCMessage* const*>(message, field.offset);
      for (std::size_t i = 0; i < count; ++i)
        visit(*items[i]);
      continue;
    }
    const bool one_of = (field.flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    if (one_of && at_offset<std::uint32_t>(message, field.quantifier_offset) != field.id) continue;
    const auto* const child = at_offset<const ProtobufCMessage*>(message, field.offset);
    if (child) visit(*child);
  }
}

std::string_view string_of(const PgQuery__Node* node) noexcept {
  const auto* const text = node_as<PgQuery__String>(node, PG_QUERY__NODE__NODE_STRING);
  return text ? std::string_view(text->sval) : std::string_view();
}

const char* string_constant(const PgQuery__Node* node) noexcept {
  const auto* const constant = node_as<PgQuery__AConst>(node, PG_QUERY__NODE__NODE_A_CONST);
  if (!constant || constant->val_case != PG_QUERY__A__CONST__VAL_SVAL) return nullptr;
  return constant->sval->sval;
}

}  // namespace meridian::postgres
