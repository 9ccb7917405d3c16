#include "wire/json/fields.h"

#include "base/escape.h"
#include "base/number.h"

#include <algorithm>
#include <utility>

namespace meridian::json {
namespace {

constexpr std::size_t nowhere = SIZE_MAX;  // Nobody asks for what is in here.

bool is_space(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | (code >> 6));
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3f));
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

}  // namespace

// Where reading is, and why it ended.
struct FieldReader::Cursor {
  std::string_view text;
  std::size_t at = 0;
  const char* problem = nullptr;
  bool too_deep = false;

  bool fail(const char* why) noexcept {
    if (!problem) problem = why;
    return false;
  }
  char peek() const noexcept { return at < text.size() ? text[at] : '\0'; }
  void skip_spaces() noexcept {
    while (at < text.size() && is_space(text[at]))
      ++at;
  }
  bool take(char c) noexcept {
    if (peek() != c || at >= text.size()) return false;
    ++at;
    return true;
  }
  bool take_word(std::string_view word) noexcept {
    if (text.substr(at, word.size()) != word) return fail("a value is none");
    at += word.size();
    return true;
  }

  // RFC 8259, section 6.
  bool take_number() noexcept {
    take('-');
    if (!is_digit(peek())) return fail("a number has no digits");
    if (take('0')) {
      if (is_digit(peek())) return fail("a number begins with 0");
    } else {
      while (is_digit(peek()))
        ++at;
    }
    if (take('.')) {
      if (!is_digit(peek())) return fail("a number ends with its point");
      while (is_digit(peek()))
        ++at;
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at;
      if (peek() == '+' || peek() == '-') ++at;
      if (!is_digit(peek())) return fail("a number has no exponent");
      while (is_digit(peek()))
        ++at;
    }
    return true;
  }

  // A string with its quotes; `plain` says whether what is between them is its text.
  bool take_string(bool& plain) noexcept {
    if (!take('"')) return fail("a name or text has no quotes");
    plain = true;
    while (at < text.size()) {
      const char c = text[at];
      if (c == '"') {
        ++at;
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) return fail("a control character is in a text");
      if (c != '\\') {
        ++at;
        continue;
      }
      plain = false;
      ++at;
      const char escaped = peek();
      if (escaped == 'u') {
        ++at;
        if (at + 4 > text.size() || !parse_number<std::uint32_t>(text.substr(at, 4), 16) ||
            text[at] == '-') {
          return fail("an escape is none");
        }
        at += 4;
      } else if (std::string_view("\"\\/bfnrt").contains(escaped) && at < text.size()) {
        ++at;
      } else {
        return fail("an escape is none");
      }
    }
    return fail("a text has no end");
  }
};

// Requires what take_string() took. False: half a surrogate pair.
static bool unescape(std::string_view quoted, std::string& out) {
  out.clear();
  const std::string_view text = quoted.substr(1, quoted.size() - 2);
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      out += text[i++];
      continue;
    }
    const char c = text[i + 1];
    i += 2;
    if (c != 'u') {
      constexpr std::string_view from = "bfnrt";
      constexpr std::string_view to = "\b\f\n\r\t";
      const std::size_t found = from.find(c);
      out += found == std::string_view::npos ? c : to[found];
      continue;
    }
    std::uint32_t code = *parse_number<std::uint32_t>(text.substr(i, 4), 16);
    i += 4;
    if (code >= 0xdc00 && code < 0xe000) return false;
    if (code >= 0xd800 && code < 0xdc00) {
      if (text.substr(i, 2) != "\\u") return false;
      const auto low = parse_number<std::uint32_t>(text.substr(i + 2, 4), 16);
      if (!low || *low < 0xdc00 || *low >= 0xe000) return false;
      code = 0x10000 + ((code - 0xd800) << 10) + (*low - 0xdc00);
      i += 6;
    }
    append_utf8(out, code);
  }
  return true;
}

std::string_view to_string(FieldKind kind) noexcept {
  switch (kind) {
    case FieldKind::missing:
      return "missing";
    case FieldKind::null:
      return "null";
    case FieldKind::boolean:
      return "boolean";
    case FieldKind::number:
      return "number";
    case FieldKind::string:
      return "string";
    case FieldKind::object:
      return "object";
    case FieldKind::array:
      return "array";
    case FieldKind::bytes:
      return "bytes";
    case FieldKind::enumeration:
      return "enumeration";
  }
  return "unknown";
}

std::size_t FieldReader::child_of(std::size_t node,
                                  std::string_view name,
                                  bool element,
                                  std::size_t index) {
  for (const std::size_t child : nodes_[node].children) {
    const Node& each = nodes_[child];
    if (each.element == element && each.name == name && each.index == index) return child;
  }
  nodes_.push_back({.name = std::string(name), .index = index, .element = element});
  nodes_[node].children.push_back(nodes_.size() - 1);
  return nodes_.size() - 1;
}

Result<FieldReader> FieldReader::make(const std::vector<std::string>& paths) {
  FieldReader reader;
  reader.nodes_.emplace_back();
  for (std::size_t path = 0; path < paths.size(); ++path) {
    std::string_view rest = paths[path];
    const auto wrong = [&] {
      return fail(Errc::invalid,
                  quote(paths[path]) +
                      " leads to nothing: write names with dots, and [0] for an "
                      "element, as in lines[0].sku");
    };
    std::size_t node = 0;
    bool first = true;
    while (!rest.empty() || first) {
      if (rest.starts_with('[')) {
        const std::size_t close = rest.find(']');
        if (close == std::string_view::npos) return wrong();
        const auto index = parse_number<std::size_t>(rest.substr(1, close - 1));
        if (!index || *index > index_max) return wrong();
        node = reader.child_of(node, {}, true, *index);
        rest.remove_prefix(close + 1);
      } else {
        if (!first && !rest.starts_with('.')) return wrong();
        if (!first) rest.remove_prefix(1);
        const std::size_t end = std::min(rest.find_first_of(".["), rest.size());
        if (end == 0) return wrong();
        node = reader.child_of(node, rest.substr(0, end), false, 0);
        rest.remove_prefix(end);
      }
      first = false;
    }
    reader.nodes_[node].wanted.push_back(path);
  }
  reader.fields_.resize(paths.size());
  reader.unescaped_.resize(paths.size());
  return reader;
}

Result<const std::vector<Field>*> FieldReader::read(std::string_view text) {
  for (Field& field : fields_)
    field = Field();
  Cursor at{.text = text};
  at.skip_spaces();
  bool good = read_value(at, 0, 0);
  if (good) {
    at.skip_spaces();
    if (at.at != text.size()) good = at.fail("more follows the value");
  }
  if (good && !is_utf8(text)) good = at.fail("it is no UTF-8");
  if (good) return &fields_;
  if (at.too_deep) {
    return fail(Errc::exhausted, "the JSON has more than " + std::to_string(depth_max) + " levels");
  }
  return fail(Errc::invalid,
              "no JSON at byte " + std::to_string(at.at) + ": " + std::string(at.problem));
}

bool FieldReader::read_value(Cursor& at, std::size_t node, std::size_t depth) {
  if (depth > depth_max) {
    at.too_deep = true;
    return false;
  }
  const std::size_t begin = at.at;
  FieldKind kind = FieldKind::null;
  bool plain = true;
  bool good = true;
  switch (at.peek()) {
    case '{':
      kind = FieldKind::object;
      good = read_object(at, node, depth);
      break;
    case '[':
      kind = FieldKind::array;
      good = read_array(at, node, depth);
      break;
    case '"':
      kind = FieldKind::string;
      good = at.take_string(plain);
      break;
    case 't':
      kind = FieldKind::boolean;
      good = at.take_word("true");
      break;
    case 'f':
      kind = FieldKind::boolean;
      good = at.take_word("false");
      break;
    case 'n':
      good = at.take_word("null");
      break;
    default:
      kind = FieldKind::number;
      good = at.take_number();
  }
  if (!good || node == nowhere) return good;
  for (const std::size_t path : nodes_[node].wanted) {
    Field& field = fields_[path];
    field.kind = kind;
    field.raw = at.text.substr(begin, at.at - begin);
    field.text = field.raw;
    if (kind != FieldKind::string) continue;
    if (plain) {
      field.text = field.raw.substr(1, field.raw.size() - 2);
    } else if (unescape(field.raw, unescaped_[path])) {
      field.text = unescaped_[path];
    } else {
      return at.fail("half a surrogate pair is in a text");
    }
  }
  return true;
}

bool FieldReader::read_object(Cursor& at, std::size_t node, std::size_t depth) {
  at.take('{');
  at.skip_spaces();
  if (at.take('}')) return true;
  std::uint64_t seen = 0;  // Of the node's children, as bits; they are few.
  std::string name;
  for (;;) {
    const std::size_t begin = at.at;
    bool plain = true;
    if (!at.take_string(plain)) return false;
    std::string_view member = at.text.substr(begin + 1, at.at - begin - 2);
    if (!plain) {
      if (!unescape(at.text.substr(begin, at.at - begin), name)) {
        return at.fail("half a surrogate pair is in a name");
      }
      member = name;
    }
    std::size_t child = nowhere;
    if (node != nowhere) {
      const std::vector<std::size_t>& children = nodes_[node].children;
      for (std::size_t i = 0; i < children.size(); ++i) {
        if (nodes_[children[i]].element || nodes_[children[i]].name != member) continue;
        const std::uint64_t bit = std::uint64_t{1} << (i % 64);
        if (i < 64 && (seen & bit) != 0) return at.fail("a member stands there twice");
        seen |= bit;
        child = children[i];
        break;
      }
    }
    at.skip_spaces();
    if (!at.take(':')) return at.fail("a member has no value");
    at.skip_spaces();
    if (!read_value(at, child, depth + 1)) return false;
    at.skip_spaces();
    if (at.take('}')) return true;
    if (!at.take(',')) return at.fail("an object has no end");
    at.skip_spaces();
  }
}

bool FieldReader::read_array(Cursor& at, std::size_t node, std::size_t depth) {
  at.take('[');
  at.skip_spaces();
  if (at.take(']')) return true;
  for (std::size_t index = 0;; ++index) {
    std::size_t child = nowhere;
    if (node != nowhere) {
      for (const std::size_t each : nodes_[node].children) {
        if (nodes_[each].element && nodes_[each].index == index) child = each;
      }
    }
    if (!read_value(at, child, depth + 1)) return false;
    at.skip_spaces();
    if (at.take(']')) return true;
    if (!at.take(',')) return at.fail("an array has no end");
    at.skip_spaces();
  }
}

Result<std::string> to_sql_array(std::string_view raw) {
  std::string array = "{";
  std::size_t at = 1;  // Behind the bracket of an array that was read before.
  const auto skip_spaces = [&] {
    while (at < raw.size() && is_space(raw[at]))
      ++at;
  };
  skip_spaces();
  std::string text;
  while (at < raw.size() && raw[at] != ']') {
    if (array.size() > 1) array += ',';
    const std::size_t begin = at;
    if (raw[at] == '"') {
      for (++at; at < raw.size() && raw[at] != '"'; ++at) {
        if (raw[at] == '\\') ++at;
      }
      ++at;
      if (!unescape(raw.substr(begin, at - begin), text)) {
        return fail(Errc::invalid, "half a surrogate pair is in a text");
      }
      array += '"';
      for (const char c : text) {
        if (c == '"' || c == '\\') array += '\\';
        array += c;
      }
      array += '"';
    } else if (raw[at] == '{' || raw[at] == '[') {
      return fail(Errc::invalid, "an element of the array is no plain value");
    } else {
      while (at < raw.size() && raw[at] != ',' && raw[at] != ']' && !is_space(raw[at]))
        ++at;
      const std::string_view word = raw.substr(begin, at - begin);
      array += word == "null" ? "NULL" : word;
    }
    skip_spaces();
    if (at < raw.size() && raw[at] == ',') {
      ++at;
      skip_spaces();
    }
  }
  return array + "}";
}

}  // namespace meridian::json
