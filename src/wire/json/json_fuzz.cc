// Whatever the bytes, the reader neither crashes nor exceeds its limits, and what it accepts is the
// same after writing and reading.

#include "base/assert.h"
#include "wire/json/reader.h"
#include "wire/json/writer.h"

#include <cstddef>
#include <cstdint>

namespace {

std::size_t depth(const meridian::json::Value& value) {
  std::size_t deepest = 0;
  if (const auto* const values = value.array()) {
    for (const auto& item : *values)
      deepest = std::max(deepest, depth(item));
    return deepest + 1;
  }
  if (const auto* const members = value.object()) {
    for (const auto& member : *members)
      deepest = std::max(deepest, depth(member.value));
    return deepest + 1;
  }
  return 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  constexpr meridian::json::Limits limits{.size_max = 4'096, .depth_max = 16};
  const auto value = meridian::json::parse(text, limits);
  if (!value) return 0;
  MERIDIAN_ASSERT(text.size() <= limits.size_max);
  MERIDIAN_ASSERT(depth(*value) <= limits.depth_max);
  const auto again = meridian::json::parse(meridian::json::to_text(*value), {.size_max = 1 << 20});
  MERIDIAN_ASSERT(again && *again == *value);
  return 0;
}
