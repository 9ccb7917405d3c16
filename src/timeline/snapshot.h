#pragma once
// Which transactions a reader sees: PostgreSQL's snapshot, top-level transaction ids alone.

#include "base/result.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace meridian {

// A transaction as the feed names it: on PostgreSQL the 32-bit id, which wraps.
using TransactionId = std::uint32_t;

class Snapshot {
 public:
  static constexpr std::size_t in_progress_max = 1 << 20;

  Snapshot() = default;
  Snapshot(std::uint64_t next, std::vector<std::uint64_t> in_progress);

  // Reads what pg_current_snapshot() prints: "xmin:xmax:xip,xip,...". Errors: invalid.
  static Result<Snapshot> parse(std::string_view text);

  // True when this snapshot was taken after the transaction ended. Requires that the transaction is
  // less than 2^31 away from the snapshot, which pending invalidations are (they live for
  // milliseconds).
  bool sees(TransactionId transaction) const noexcept;

  // Those that had begun and not ended when it was taken, in ascending order.
  const std::vector<std::uint64_t>& in_progress() const noexcept { return in_progress_; }

 private:
  std::uint64_t next_ = 0;  // xmax: the first id that had not begun.
  std::vector<std::uint64_t> in_progress_;
};

}  // namespace meridian
