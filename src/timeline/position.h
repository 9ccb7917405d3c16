#pragma once
// A place in the order of commits. Compare and store it; never compute with it.

#include <compare>
#include <cstdint>

namespace meridian {

struct Position {
  std::uint64_t value = 0;  // A PostgreSQL LSN.

  friend auto operator<=>(const Position&, const Position&) = default;
};

}  // namespace meridian
