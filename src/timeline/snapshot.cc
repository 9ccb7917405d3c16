#include "timeline/snapshot.h"

#include "base/escape.h"
#include "base/number.h"

#include <algorithm>
#include <utility>

namespace meridian {

Snapshot::Snapshot(std::uint64_t next, std::vector<std::uint64_t> in_progress)
    : next_(next), in_progress_(std::move(in_progress)) {
  std::ranges::sort(in_progress_);
}

Result<Snapshot> Snapshot::parse(std::string_view text) {
  const auto refused = [&] { return fail(Errc::invalid, "not a snapshot: " + quote(text)); };
  const std::size_t first = text.find(':');
  const std::size_t second = first == std::string_view::npos ? first : text.find(':', first + 1);
  if (second == std::string_view::npos) return refused();
  const auto xmin = parse_number<std::uint64_t>(text.substr(0, first));
  const auto xmax = parse_number<std::uint64_t>(text.substr(first + 1, second - first - 1));
  if (!xmin || !xmax || *xmin > *xmax) return refused();
  std::vector<std::uint64_t> in_progress;
  std::string_view rest = text.substr(second + 1);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const auto id = parse_number<std::uint64_t>(rest.substr(0, comma));
    if (!id || *id < *xmin || *id >= *xmax || in_progress.size() >= in_progress_max) {
      return refused();
    }
    in_progress.push_back(*id);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return Snapshot(*xmax, std::move(in_progress));
}

bool Snapshot::sees(TransactionId transaction) const noexcept {
  // Ids compare modulo 2^32 (PostgreSQL, "Transactions and Identifiers").
  const auto distance = static_cast<std::int32_t>(transaction - static_cast<std::uint32_t>(next_));
  if (distance >= 0) return false;
  return std::ranges::none_of(in_progress_, [&](std::uint64_t id) {
    return static_cast<std::uint32_t>(id) == transaction;
  });
}

}  // namespace meridian
