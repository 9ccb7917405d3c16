#include "wire/resp/value.h"

#include "base/escape.h"
#include "wire/resp/protocol.h"

#include <algorithm>
#include <optional>

namespace meridian::resp {
namespace {

constexpr std::string_view line_end = "\r\n";

// The smallest value, "_\r\n": no reply can hold more values than a third of its bytes.
constexpr std::size_t value_size_min = 3;

std::unexpected<Error> malformed(std::string_view what, std::string_view at) {
  return fail(Errc::invalid, "a reply with " + std::string(what) + ", at " + quote(at, 32));
}

class Parser {
 public:
  Parser(std::string_view reply, ValueLimits limits) noexcept : rest_(reply), limits_(limits) {}

  Result<Value> value(std::size_t depth);
  std::string_view rest() const noexcept { return rest_; }

 private:
  Result<std::string_view> line();
  Result<std::size_t> length(std::string_view digits, std::size_t unit_size);
  Result<std::string_view> bulk(std::string_view digits);
  Result<Value> aggregate(Value::Type type,
                          std::string_view digits,
                          std::size_t per_unit,
                          std::size_t depth);

  std::string_view rest_;
  ValueLimits limits_;
};

Result<std::string_view> Parser::line() {
  const std::size_t end = rest_.find('\r');
  if (end == std::string_view::npos || !rest_.substr(end).starts_with(line_end)) {
    return malformed("a line without an end", rest_);
  }
  const std::string_view text = rest_.substr(0, end);
  rest_.remove_prefix(end + line_end.size());
  return text;
}

// A length of which as much must still be there.
Result<std::size_t> Parser::length(std::string_view digits, std::size_t unit_size) {
  const std::optional<std::int64_t> number = parse_integer(digits);
  if (!number || *number < 0 || static_cast<std::uint64_t>(*number) > rest_.size() / unit_size) {
    return malformed("a length that does not fit", digits);
  }
  return static_cast<std::size_t>(*number);
}

Result<std::string_view> Parser::bulk(std::string_view digits) {
  MERIDIAN_TRY(const std::size_t size, length(digits, 1));
  const std::string_view text = rest_.substr(0, size);
  if (!rest_.substr(size).starts_with(line_end)) return malformed("a string without an end", rest_);
  rest_.remove_prefix(size + line_end.size());
  return text;
}

Result<Value> Parser::aggregate(Value::Type type,
                                std::string_view digits,
                                std::size_t per_unit,
                                std::size_t depth) {
  MERIDIAN_TRY(const std::size_t count, length(digits, value_size_min * per_unit));
  Value value{.type = type, .text = {}, .integer = 0, .items = {}};
  for (std::size_t i = 0; i < count * per_unit; ++i) {
    MERIDIAN_TRY(Value item, this->value(depth + 1));
    value.items.push_back(std::move(item));
  }
  return value;
}

Result<Value> Parser::value(std::size_t depth) {
  if (depth > limits_.depth_max) return malformed("deeper nesting than depth_max", rest_);
  MERIDIAN_TRY(const std::string_view head, line());
  if (head.empty()) return malformed("an empty line for a value", rest_);
  const std::string_view text = head.substr(1);
  const auto leaf = [&](Value::Type type, std::string_view its_text) {
    return Value{.type = type, .text = its_text, .integer = 0, .items = {}};
  };
  using Type = Value::Type;
  switch (head.front()) {
    case '+':
      return leaf(Type::simple, text);
    case '-':
      return leaf(Type::error, text);
    case ',':
      return leaf(Type::number, text);
    case '(':
      return leaf(Type::big_number, text);
    case '_':
      return leaf(Type::null, {});
    case ':': {
      const std::optional<std::int64_t> number = parse_integer(text);
      if (!number) return malformed("a number that is none", head);
      return Value{.type = Type::integer, .text = text, .integer = *number, .items = {}};
    }
    case '#':
      if (text != "t" && text != "f") return malformed("a boolean that is none", head);
      return Value{.type = Type::boolean, .text = text, .integer = text == "t", .items = {}};
    case '$': {
      if (text == "-1") return leaf(Type::null, {});
      MERIDIAN_TRY(const std::string_view bytes, bulk(text));
      return leaf(Type::bulk, bytes);
    }
    case '!': {
      MERIDIAN_TRY(const std::string_view bytes, bulk(text));
      return leaf(Type::error, bytes);
    }
    case '=': {
      constexpr std::size_t format_size = 4;
      MERIDIAN_TRY(const std::string_view bytes, bulk(text));
      if (bytes.size() < format_size || bytes[format_size - 1] != ':') {
        return malformed("a verbatim string without a format", bytes);
      }
      return leaf(Type::verbatim, bytes.substr(format_size));
    }
    case '*':
      if (text == "-1") return leaf(Type::null, {});
      return aggregate(Type::array, text, 1, depth);
    case '~':
      return aggregate(Type::set, text, 1, depth);
    case '>':
      if (depth > 1) return malformed("a push message inside", head);
      return aggregate(Type::push, text, 1, depth);
    case '%':
      return aggregate(Type::map, text, 2, depth);
    case '|': {
      MERIDIAN_TRY(const Value attribute, aggregate(Type::map, text, 2, depth));
      return value(depth + 1);
    }
    default:
      return malformed("an unknown type", head);
  }
}

}  // namespace

const Value* Value::find(std::string_view key) const noexcept {
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    if (items[i].is_text() && items[i].text == key) return &items[i + 1];
  }
  return nullptr;
}

Result<Value> parse_value(std::string_view reply, ValueLimits limits) {
  Parser parser(reply, limits);
  MERIDIAN_TRY(Value value, parser.value(1));
  if (!parser.rest().empty()) return malformed("bytes behind it", parser.rest());
  return value;
}

}  // namespace meridian::resp
