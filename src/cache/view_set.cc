#include "cache/view_set.h"

#include "base/hash.h"

#include <algorithm>
#include <utility>

namespace meridian {

ViewSet::ViewSet(std::vector<std::shared_ptr<const View>> views,
                 std::uint64_t seed,
                 std::uint64_t generation)
    : views_(std::move(views)), seed_(seed), generation_(generation) {
  std::ranges::sort(views_, [](const auto& a, const auto& b) {
    const std::size_t left = a->pattern.prefix().size();
    const std::size_t right = b->pattern.prefix().size();
    return left != right ? left > right : a->index < b->index;
  });
}

std::optional<ViewKey> ViewSet::find(std::string_view key) const {
  // Made where the caller has it: it is large, and looked for with every read.
  std::optional<ViewKey> found(std::in_place);
  for (const auto& view : views_) {
    if (!view->pattern.match(key, found->parts)) continue;
    found->view = view.get();
    found->text = key;
    found->hash = hash_bytes(key, seed_);
    return found;
  }
  found.reset();
  return found;
}

}  // namespace meridian
