#pragma once
// The views of a node: found by key on the path of every read. Immutable; a reload makes a new set.

#include "cache/view.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace meridian {

class ViewSet {
 public:
  static constexpr std::size_t views_max = Slots::views_max;

  ViewSet() = default;

  // `seed` is the process's own: it keeps peers from choosing keys that collide. Every set that is
  // made has a generation of its own, which its views bear too.
  ViewSet(std::vector<std::shared_ptr<const View>> views,
          std::uint64_t seed,
          std::uint64_t generation);

  std::uint64_t generation() const noexcept { return generation_; }

  // The view that this key belongs to, taken apart; nothing when it belongs to none.
  std::optional<ViewKey> find(std::string_view key) const;

  const std::vector<std::shared_ptr<const View>>& views() const noexcept { return views_; }
  bool empty() const noexcept { return views_.empty(); }

 private:
  std::vector<std::shared_ptr<const View>> views_;  // Longest prefix first.
  std::uint64_t seed_ = 0;
  std::uint64_t generation_ = 0;
};

}  // namespace meridian
