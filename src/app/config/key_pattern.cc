#include "app/config/key_pattern.h"

#include "base/escape.h"

#include <algorithm>
#include <utility>

namespace meridian::config {
namespace {

// Ends every part, whatever follows it in the pattern.
constexpr char always_ends = ':';

// As PostgreSQL's own names (NAMEDATALEN - 1).
constexpr std::size_t part_name_size_max = 63;

}  // namespace

bool is_part_name(std::string_view name) noexcept {
  const auto is_first = [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; };
  return !name.empty() && name.size() <= part_name_size_max && is_first(name.front()) &&
         std::ranges::all_of(name, [&](char c) { return is_first(c) || (c >= '0' && c <= '9'); });
}

std::vector<std::string> parts_of_query(std::string_view query) {
  std::vector<std::string> parts;
  for (std::size_t open = query.find('{'); open != std::string_view::npos;
       open = query.find('{', open + 1)) {
    const std::string_view rest = query.substr(open + 1, part_name_size_max + 1);
    const std::size_t close = rest.find('}');
    if (close == std::string_view::npos) continue;
    const std::string_view name = rest.substr(0, close);
    if (is_part_name(name) && std::ranges::find(parts, name) == parts.end()) {
      parts.emplace_back(name);
    }
  }
  return parts;
}

bool KeyPattern::Step::accepts(char c) const noexcept {
  return kind == Kind::literal ? c == byte : c != always_ends && c != byte;
}

bool KeyPattern::Step::meets(const Step& other) const noexcept {
  if (kind == Kind::literal) return other.accepts(byte);
  if (other.kind == Kind::literal) return accepts(other.byte);
  return true;  // Two parts exclude at most four of all bytes.
}

void KeyPattern::add_part(std::string name, char end) {
  parts_.push_back(std::move(name));
  steps_.push_back({.kind = Step::Kind::one_of_part, .byte = end});
  steps_.push_back({.kind = Step::Kind::more_of_part, .byte = end});
}

Parsed<KeyPattern> KeyPattern::parse(std::string_view text) {
  const auto wrong = [&](const std::string& why) {
    return std::unexpected(quote(text) + " " + why);
  };
  if (text.size() > size_max) {
    return wrong("has " + std::to_string(text.size()) + " bytes; at most " +
                 std::to_string(size_max));
  }
  if (text.empty() || text.front() == '{') {
    return wrong("does not begin with literal text, as order:{id} does");
  }
  KeyPattern pattern;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '}') return wrong("has a } without its {");
    if (c == '*' || c == '?') return wrong("has a wildcard; the parts of a key are named: {id}");
    if (c == ' ') return wrong("has a space in it");
    if (c != '{') {
      pattern.steps_.push_back({.kind = Step::Kind::literal, .byte = c});
      continue;
    }
    const std::size_t close = text.find('}', i);
    if (close == std::string_view::npos) return wrong("has a { without its }");
    const std::string_view name = text.substr(i + 1, close - i - 1);
    if (!is_part_name(name)) {
      return wrong("has the part {" + escape(name) +
                   "}; a part's name is made of a-z, 0-9 and _, and begins with a letter or _");
    }
    if (std::ranges::find(pattern.parts_, name) != pattern.parts_.end()) {
      return wrong("has the part {" + std::string(name) + "} twice");
    }
    if (pattern.parts_.size() == parts_max) {
      return wrong("has more than " + std::to_string(parts_max) + " parts");
    }
    const bool last = close + 1 == text.size();
    if (!last && text[close + 1] == '{') {
      return wrong("has nothing between {" + std::string(name) +
                   "} and the part after it, so nobody can tell where one ends");
    }
    pattern.add_part(std::string(name), last ? always_ends : text[close + 1]);
    i = close;
  }
  if (pattern.parts_.empty()) return wrong("names no part, as order:{id} does");
  return pattern;
}

// Walks both patterns over all keys at once: a pair of places is reached when some text leads to
// both. At most steps * steps pairs.
bool KeyPattern::overlaps(const KeyPattern& other) const {
  const std::size_t rows = steps_.size();
  const std::size_t columns = other.steps_.size();
  std::size_t common = 0;  // Most pairs of views differ before their first part.
  while (common < rows && common < columns && steps_[common].kind == Step::Kind::literal &&
         other.steps_[common].kind == Step::Kind::literal) {
    if (steps_[common].byte != other.steps_[common].byte) return false;
    ++common;
  }
  std::vector<bool> reached((rows + 1) * (columns + 1));
  const auto mark = [&](std::size_t row, std::size_t column) {
    reached[row * (columns + 1) + column] = true;
  };
  const auto may_skip = [](const std::vector<Step>& steps, std::size_t i) {
    return i < steps.size() && steps[i].kind == Step::Kind::more_of_part;
  };
  mark(common, common);
  for (std::size_t row = common; row <= rows; ++row) {
    for (std::size_t column = common; column <= columns; ++column) {
      if (!reached[row * (columns + 1) + column]) continue;
      if (row == rows && column == columns) return true;
      if (may_skip(steps_, row)) mark(row + 1, column);
      if (may_skip(other.steps_, column)) mark(row, column + 1);
      if (row == rows || column == columns) continue;
      const Step& left = steps_[row];
      const Step& right = other.steps_[column];
      if (!left.meets(right)) continue;
      const std::size_t next_row = row + (left.kind == Step::Kind::more_of_part ? 0 : 1);
      const std::size_t next_column = column + (right.kind == Step::Kind::more_of_part ? 0 : 1);
      mark(next_row, next_column);
    }
  }
  return false;
}

}  // namespace meridian::config
