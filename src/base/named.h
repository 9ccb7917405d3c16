#pragma once
// Named<T, Tag>: a T that is not mixed up with another T. Ids and counts with a meaning.

#include <compare>
#include <cstddef>
#include <functional>
#include <utility>

namespace meridian {

template <class T, class Tag>
class Named {
 public:
  constexpr Named() = default;
  constexpr explicit Named(T value) : value_(std::move(value)) {}

  constexpr const T& value() const noexcept { return value_; }

  friend constexpr auto operator<=>(const Named&, const Named&) = default;

 private:
  T value_{};
};

}  // namespace meridian

template <class T, class Tag>
struct std::hash<meridian::Named<T, Tag>> {
  std::size_t operator()(const meridian::Named<T, Tag>& named) const noexcept {
    return std::hash<T>()(named.value());
  }
};
