// The first line has paths, with | between them; the rest is a text. Whatever both are, what the
// reader finds is what the strict reader of whole values has there, and it takes every text that
// that one takes.

#include "base/assert.h"
#include "base/number.h"
#include "wire/json/fields.h"
#include "wire/json/reader.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace meridian;
using json::FieldKind;

constexpr std::size_t paths_max = 8;

const json::Value* find(const json::Value& value, std::string_view path) {
  const json::Value* at = &value;
  bool first = true;
  while (at && !path.empty()) {
    if (path.front() == '[') {
      const std::size_t close = path.find(']');
      const auto index = parse_number<std::size_t>(path.substr(1, close - 1));
      const json::Value::Array* const values = at->array();
      at = values && *index < values->size() ? &(*values)[*index] : nullptr;
      path.remove_prefix(close + 1);
    } else {
      if (!first) path.remove_prefix(1);
      const std::size_t end = std::min(path.find_first_of(".["), path.size());
      at = at->find(path.substr(0, end));
      path.remove_prefix(end);
    }
    first = false;
  }
  return at;
}

FieldKind kind_of(const json::Value* value) {
  if (!value) return FieldKind::missing;
  if (value->is_null()) return FieldKind::null;
  if (value->boolean()) return FieldKind::boolean;
  if (value->number()) return FieldKind::number;
  if (value->string()) return FieldKind::string;
  return value->object() ? FieldKind::object : FieldKind::array;
}

void check_array(std::string_view raw) {
  const auto array = json::to_sql_array(raw);
  if (!array) return;
  MERIDIAN_ASSERT(array->starts_with('{') && array->ends_with('}'));
  bool quoted = false;
  for (std::size_t i = 1; i + 1 < array->size(); ++i) {
    const char c = (*array)[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else {
      MERIDIAN_ASSERT(quoted || (c != '{' && c != '}' && c != '\\'));
    }
  }
  MERIDIAN_ASSERT(!quoted);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), std::min(size, 4'096uz));
  const std::size_t line_end = std::min(input.find('\n'), input.size());
  std::vector<std::string> paths;
  for (std::string_view line = input.substr(0, line_end); !line.empty();) {
    const std::size_t end = std::min(line.find('|'), line.size());
    if (paths.size() < paths_max) paths.emplace_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  auto reader = json::FieldReader::make(paths);
  if (!reader) return 0;
  MERIDIAN_ASSERT(reader->count() == paths.size());
  const std::string_view text = input.substr(std::min(line_end + 1, input.size()));
  const auto value = json::parse(text, {.depth_max = json::FieldReader::depth_max});
  const auto fields = reader->read(text);
  MERIDIAN_ASSERT(fields || !value);
  if (!fields) return 0;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const json::Field& field = (**fields)[i];
    if (field.kind == FieldKind::array) check_array(field.raw);
    if (!value) continue;
    const json::Value* const wanted = find(*value, paths[i]);
    MERIDIAN_ASSERT(field.kind == kind_of(wanted));
    if (field.kind == FieldKind::string) MERIDIAN_ASSERT(field.text == *wanted->string());
    if (field.kind == FieldKind::missing) continue;
    const auto again = json::parse(field.raw);
    MERIDIAN_ASSERT(again && *again == *wanted);
  }
  return 0;
}
