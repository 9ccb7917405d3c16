#include "gate/trail/codec.h"

#include <algorithm>
#include <limits>

namespace meridian::trail {
namespace {

// The end of the year 2199. The time between any two instants up to it fits into a Duration.
constexpr std::int64_t micros_max = 7'258'118'399'999'999;

}  // namespace

WallTime to_wall_time(std::uint64_t micros) noexcept {
  const auto value = static_cast<std::int64_t>(micros);
  return WallTime(std::chrono::microseconds(std::clamp<std::int64_t>(value, 0, micros_max)));
}

bool FieldSplitter::base_128(std::uint64_t& value) noexcept {
  value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) return false;
    const std::uint8_t byte = rest_.front();
    rest_ = rest_.subspan(1);
    const std::uint64_t group = byte & 0x7f;
    if (shift == 63 && group > 1) return false;  // The 65th bit.
    value |= group << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

bool FieldSplitter::next(Field& field) noexcept {
  if (broken_ || rest_.empty()) return false;
  const std::uint8_t key = rest_.front();
  if (key == 0) {
    // Padding is zero to the end, and less than eight bytes.
    broken_ = rest_.size() > 7 || std::ranges::any_of(rest_, [](std::uint8_t b) { return b != 0; });
    rest_ = {};
    return false;
  }
  rest_ = rest_.subspan(1);
  field = {.number = unsigned{key} >> 2,
           .type = static_cast<WireType>(key & 3u),
           .value = 0,
           .bytes = {}};
  if (field.number == 0) return fail();
  switch (field.type) {
    case WireType::number:
      return base_128(field.value) || fail();
    case WireType::fixed:
      if (rest_.size() < sizeof(field.value)) return fail();
      field.value = load<std::uint64_t>(rest_.data());
      rest_ = rest_.subspan(sizeof(field.value));
      return true;
    case WireType::bytes:
    case WireType::cut: {
      std::uint64_t size = 0;
      if (!base_128(size) || size > rest_.size()) return fail();
      field.bytes = rest_.first(size);
      rest_ = rest_.subspan(size);
      return true;
    }
  }
  return fail();
}

namespace detail {

bool assign(Duration& member, const Field& field) noexcept {
  constexpr std::uint64_t micros_of_duration_max = std::numeric_limits<std::int64_t>::max() / 1'000;
  if (field.type != WireType::number || field.value > micros_of_duration_max) return false;
  member = std::chrono::microseconds(field.value);
  return true;
}

bool assign(WallTime& member, const Field& field) noexcept {
  member = to_wall_time(field.value);
  return field.type == WireType::fixed;
}

bool assign(Sqlstate& member, const Field& field) noexcept {
  if (field.type != WireType::bytes || field.bytes.size() != member.code.size()) return false;
  std::memcpy(member.code.data(), field.bytes.data(), member.code.size());
  return true;
}

}  // namespace detail
}  // namespace meridian::trail
