#pragma once
// A set of enumerators, as bits.

#include <cstdint>
#include <initializer_list>
#include <utility>

namespace meridian::resp {

// Requires an enumeration that counts from 0 to at most 63.
template <class E>
class EnumSet {
 public:
  constexpr EnumSet() = default;
  constexpr EnumSet(std::initializer_list<E> items) noexcept {
    for (const E item : items)
      add(item);
  }

  constexpr void add(E item) noexcept { bits_ |= bit(item); }
  constexpr bool has(E item) const noexcept { return (bits_ & bit(item)) != 0; }
  constexpr bool has_any(EnumSet others) const noexcept { return (bits_ & others.bits_) != 0; }
  constexpr bool empty() const noexcept { return bits_ == 0; }

  friend constexpr bool operator==(EnumSet, EnumSet) = default;

 private:
  static constexpr std::uint64_t bit(E item) noexcept {
    return std::uint64_t{1} << std::to_underlying(item);
  }

  std::uint64_t bits_ = 0;
};

}  // namespace meridian::resp
