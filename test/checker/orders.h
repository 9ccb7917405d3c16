#pragma once
// The orders that are changed and read, and what is known of each.

#include "test/checker/options.h"

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace checker {

// One order. Its writer raises `issued` before it sends a change, and `acknowledged` when the
// commit was.
struct alignas(64) Order {
  std::atomic<std::int64_t> acknowledged{0};
  std::atomic<std::int64_t> issued{0};
};

class Orders {
 public:
  explicit Orders(const Options& options);

  // Brings the orders to revision 0.
  void prepare();

  std::size_t size() const noexcept { return orders_.size(); }
  Order& operator[](std::size_t index) noexcept { return orders_[index]; }

  // The order's id in the database: the first ones of the shop.
  static std::int64_t id(std::size_t index) noexcept {
    return static_cast<std::int64_t>(index) + 1;
  }
  static std::string key(std::size_t index) { return "order:" + std::to_string(id(index)); }

  // Every eighth comes and goes: it does not exist while its revision is odd.
  static bool comes_and_goes(std::size_t index) noexcept { return index % 8 == 7; }

  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> stale{0};
  std::atomic<std::uint64_t> commits{0};

 private:
  const Options& options_;
  std::vector<Order> orders_;
};

// Why a value that was read is wrong; nothing when it may be. `revision` is nothing where the order
// did not exist. `floor` was acknowledged before the read, `ceiling` issued after it.
std::optional<std::string> find_fault(std::size_t index,
                                      std::optional<std::int64_t> revision,
                                      std::int64_t floor,
                                      std::int64_t ceiling);

}  // namespace checker
