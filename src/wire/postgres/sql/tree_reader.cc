#include "wire/postgres/sql/tree_reader.h"

#include "base/number.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

namespace meridian::postgres {
namespace {

using Descriptor = ProtobufCMessageDescriptor;
using Field = ProtobufCFieldDescriptor;

// The fields of Node by the name of the type that they hold.
const Field* find_node_type(std::string_view name) {
  static const auto types = [] {
    std::unordered_map<std::string_view, const Field*> map;
    const Descriptor& node = pg_query__node__descriptor;
    for (const Field& field : std::span(node.fields, node.n_fields))
      map.emplace(node_type_name(*static_cast<const Descriptor*>(field.descriptor)), &field);
    return map;
  }();
  const auto found = types.find(name);
  return found == types.end() ? nullptr : found->second;
}

// Names in JSON are camelCase or snake_case, those of the structures snake_case.
bool same_name(std::string_view field, std::string_view key) noexcept {
  const auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  std::size_t i = 0;
  for (const char c : key) {
    if (c == '_') continue;
    while (i < field.size() && field[i] == '_')
      ++i;
    if (i == field.size() || field[i] != lower(c)) return false;
    ++i;
  }
  return i == field.size();
}

class TreeReader {
 public:
  TreeReader(std::string_view json, Arena& arena) noexcept : rest_(json), arena_(arena) {}

  const PgQuery__ParseResult* run() {
    const ProtobufCMessage* const root = read_message(pg_query__parse_result__descriptor);
    if (!root || !rest_.empty()) return nullptr;
    return reinterpret_cast<const PgQuery__ParseResult*>(root);
  }

 private:
  template <class T>
  static void store(ProtobufCMessage& message, unsigned offset, T value) noexcept {
    std::memcpy(reinterpret_cast<std::byte*>(&message) + offset, &value, sizeof value);
  }

  ProtobufCMessage& make(const Descriptor& type) {
    auto* const message = static_cast<ProtobufCMessage*>(arena_.allocate(type.sizeof_message));
    type.message_init(message);
    return *message;
  }

  bool take(char c) noexcept {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // {"field":value,...}; null when it is something else.
  const ProtobufCMessage* read_message(const Descriptor& type) {
    if (&type == &pg_query__node__descriptor) return read_node();
    if (!take('{')) return nullptr;
    ProtobufCMessage& message = make(type);
    if (take('}')) return &message;
    unsigned hint = 0;
    do {
      const auto key = read_name();
      const Field* const field = key ? find_field(type, *key, hint) : nullptr;
      if (!field || !read_field(*field, message)) return nullptr;
    } while (take(','));
    return take('}') ? &message : nullptr;
  }

  // {"Type":{...}}, or {} for an empty place in a list.
  const ProtobufCMessage* read_node() {
    ProtobufCMessage& node = make(pg_query__node__descriptor);
    if (!take('{')) return nullptr;
    if (take('}')) return &node;
    const auto type = read_name();
    const Field* const field = type ? find_node_type(*type) : nullptr;
    if (!field || !read_field(*field, node)) return nullptr;
    return take('}') ? &node : nullptr;
  }

  // Fields mostly come in the order of the structure, so the search begins behind the last one.
  static const Field* find_field(const Descriptor& type, std::string_view key, unsigned& hint) {
    for (unsigned i = 0; i < type.n_fields; ++i) {
      const unsigned index = (hint + i) % type.n_fields;
      if (!same_name(type.fields[index].name, key)) continue;
      hint = index + 1;
      return &type.fields[index];
    }
    return nullptr;
  }

  bool read_field(const Field& field, ProtobufCMessage& message) {
    if (field.label == PROTOBUF_C_LABEL_REPEATED) return read_list(field, message);
    if ((field.flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
      store(message, field.quantifier_offset, field.id);
    switch (static_cast<int>(field.type)) {
      case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage* const child =
            read_message(*static_cast<const Descriptor*>(field.descriptor));
        if (child) store(message, field.offset, child);
        return child != nullptr;
      }
      case PROTOBUF_C_TYPE_STRING: {
        const char* const text = read_text();
        if (text) store(message, field.offset, text);
        return text != nullptr;
      }
      case PROTOBUF_C_TYPE_BOOL:
        return read_boolean(field, message);
      case PROTOBUF_C_TYPE_ENUM:
        return read_enumerator(field, message);
      case PROTOBUF_C_TYPE_INT32:
        return read_number<std::int32_t>(field, message);
      case PROTOBUF_C_TYPE_UINT32:
        return read_number<std::uint32_t>(field, message);
      case PROTOBUF_C_TYPE_INT64:
        return read_number<std::int64_t>(field, message);
      default:
        return false;  // Of planned trees alone.
    }
  }

  // [{...},{...}]: lists hold messages alone in what the grammar makes.
  bool read_list(const Field& field, ProtobufCMessage& message) {
    if (field.type != PROTOBUF_C_TYPE_MESSAGE || !take('[')) return false;
    const auto& type = *static_cast<const Descriptor*>(field.descriptor);
    const std::size_t first = items_.size();  // Of this list, on a stack that all lists share.
    if (!take(']')) {
      do {
        const ProtobufCMessage* const item = read_message(type);
        if (!item) return false;
        items_.push_back(item);
      } while (take(','));
      if (!take(']')) return false;
    }
    const std::size_t count = items_.size() - first;
    auto* const items = static_cast<const ProtobufCMessage**>(
        arena_.allocate(count * sizeof(const ProtobufCMessage*)));
    std::copy_n(items_.begin() + static_cast<std::ptrdiff_t>(first), count, items);
    items_.resize(first);
    store(message, field.quantifier_offset, count);
    store(message, field.offset, items);
    return true;
  }

  bool take_word(std::string_view word) noexcept {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  bool read_boolean(const Field& field, ProtobufCMessage& message) noexcept {
    const bool value = take_word("true");
    store<protobuf_c_boolean>(message, field.offset, value);
    return value || take_word("false");
  }

  template <class T>
  bool read_number(const Field& field, ProtobufCMessage& message) {
    const std::size_t size = std::min(rest_.find_first_not_of("-0123456789"), rest_.size());
    const auto number = parse_number<T>(rest_.substr(0, size));
    if (!number) return false;
    rest_.remove_prefix(size);
    store(message, field.offset, *number);
    return true;
  }

  bool read_enumerator(const Field& field, ProtobufCMessage& message) {
    const char* const name = read_text();
    if (!name) return false;
    const ProtobufCEnumValue* const value = protobuf_c_enum_descriptor_get_value_by_name(
        static_cast<const ProtobufCEnumDescriptor*>(field.descriptor), name);
    if (value) store(message, field.offset, value->value);
    return value != nullptr;
  }

  // "name": with its colon. Names have no escapes.
  std::optional<std::string_view> read_name() noexcept {
    if (!take('"')) return std::nullopt;
    const std::size_t end = rest_.find('"');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view name = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return take(':') ? std::optional(name) : std::nullopt;
  }

  // A string, unescaped and ended by a NUL; null when it is none.
  const char* read_text() {
    if (!take('"')) return nullptr;
    const std::size_t end = find_quote();
    if (end == std::string_view::npos) return nullptr;
    auto* const text = static_cast<char*>(arena_.allocate(end + 1));
    char* out = text;
    for (std::size_t i = 0; i < end; ++i) {
      if (rest_[i] != '\\') {
        *out++ = rest_[i];
        continue;
      }
      const auto byte = unescape(rest_.substr(i + 1, end - i - 1));
      if (!byte) return nullptr;
      *out++ = *byte;
      i += rest_[i + 1] == 'u' ? 5 : 1;
    }
    *out = '\0';
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::size_t find_quote() const noexcept {
    std::size_t at = rest_.find_first_of("\"\\");
    while (at < rest_.size() && rest_[at] == '\\')
      at = rest_.find_first_of("\"\\", at + 2);
    return at;
  }

  // What stands behind a backslash. libpg_query writes \u for single bytes below 0x80 alone.
  static std::optional<char> unescape(std::string_view escape) noexcept {
    constexpr std::string_view letters = "\"\\/bfnrt";
    constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
    if (escape.empty()) return std::nullopt;
    if (escape[0] == 'u') {
      constexpr std::size_t digits = 4;
      constexpr int hexadecimal = 16;
      const auto code = parse_number<std::uint16_t>(escape.substr(1, digits), hexadecimal);
      if (escape.size() <= digits || !code || *code == 0 || *code >= 0x80) return std::nullopt;
      return static_cast<char>(*code);
    }
    const std::size_t letter = letters.find(escape[0]);
    if (letter == std::string_view::npos) return std::nullopt;
    return meanings[letter];
  }

  std::string_view rest_;
  Arena& arena_;
  std::vector<const ProtobufCMessage*> items_;
};

}  // namespace

void* Arena::allocate(std::size_t size) {
  constexpr std::size_t alignment = alignof(std::max_align_t);
  constexpr std::size_t block_size = 16 * 1024;
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  if (rounded > left_) {
    left_ = std::max(block_size, rounded);
    blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(left_));
    next_ = blocks_.back().get();
  }
  std::byte* const memory = next_;
  next_ += rounded;
  left_ -= rounded;
  return memory;
}

std::string_view node_type_name(const ProtobufCMessageDescriptor& type) noexcept {
  constexpr std::string_view package = "pg_query.";
  return std::string_view(type.name).substr(package.size());
}

const PgQuery__ParseResult* read_parse_tree(std::string_view json, Arena& arena) {
  return TreeReader(json, arena).run();
}

}  // namespace meridian::postgres
