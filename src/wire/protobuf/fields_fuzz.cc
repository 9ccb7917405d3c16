// Whatever the bytes, a message is read or refused; what is read is whole: numbers are numbers,
// lists and messages are JSON that the strict reader takes, and the same bytes give the same.

#include "base/assert.h"
#include "base/escape.h"
#include "wire/json/reader.h"
#include "wire/protobuf/fields.h"
#include "wire/protobuf/sample_schema.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using namespace meridian;

namespace {

constexpr std::size_t input_size_max = 8'192;

const std::vector<std::string>& paths() {
  static const std::vector<std::string> all{"id",
                                            "total",
                                            "customer",
                                            "proof",
                                            "weight",
                                            "rate",
                                            "gift",
                                            "status",
                                            "lines",
                                            "lines[0].sku",
                                            "lines[1]",
                                            "tags",
                                            "numbers",
                                            "by_sku",
                                            "by_sku.a",
                                            "by_sku.a.count",
                                            "names",
                                            "names.7",
                                            "note",
                                            "card",
                                            "cash",
                                            "at",
                                            "at.nanos",
                                            "first",
                                            "first.order.first.sku",
                                            "history",
                                            "history.number",
                                            "lines[0].states",
                                            "by_state",
                                            "by_state.number.number",
                                            "proofs",
                                            "mark"};
  return all;
}

protobuf::FieldReader& reader() {
  static protobuf::FieldReader made = *protobuf::FieldReader::make(
      *protobuf::Schema::make(protobuf::sample_descriptor_set(), "shop.Order"), paths());
  return made;
}

std::vector<std::string> values(std::string_view bytes) {
  const auto fields = reader().read(bytes);
  if (!fields) return {fields.error().detail()};
  std::vector<std::string> found;
  for (const json::Field& field : **fields) {
    if (field.kind == json::FieldKind::array || field.kind == json::FieldKind::object) {
      const auto parsed = json::parse(field.raw, {.size_max = 1 << 24, .depth_max = 100});
      // A map may hold a key twice; then the later one counts for PostgreSQL too.
      MERIDIAN_ASSERT(parsed || parsed.error().detail().contains("the same name"));
    }
    if (field.kind == json::FieldKind::array) {
      (void)json::to_sql_array(field.raw);
      // Numbers of enums are a plain list, whatever they are.
      if (!field.alternative.empty()) MERIDIAN_ASSERT(json::to_sql_array(field.alternative));
    }
    if (field.kind == json::FieldKind::string) MERIDIAN_ASSERT(is_utf8(field.text));
    if (field.kind == json::FieldKind::number || field.kind == json::FieldKind::boolean) {
      MERIDIAN_ASSERT(!field.text.empty());
    }
    if (field.kind == json::FieldKind::bytes) {
      MERIDIAN_ASSERT(field.alternative.size() == 2 * field.text.size() + 2);
    }
    found.push_back(std::string(to_string(field.kind)) + ' ' + std::string(field.text) + ' ' +
                    std::string(field.raw) + ' ' + std::string(field.alternative));
  }
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), std::min(size, input_size_max));
  MERIDIAN_ASSERT(values(bytes) == values(bytes));
  // The same bytes as a descriptor set.
  (void)protobuf::Schema::make(bytes, "shop.Order");
  return 0;
}
