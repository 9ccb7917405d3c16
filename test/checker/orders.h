#pragma once
// The orders that are changed and read, and what is known of each.

#include "test/checker/options.h"

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace checker {

// One order, or whatever else has a revision. Its writer raises `issued` before it sends a change,
// and `acknowledged` when the commit was.
struct alignas(64) Order {
  std::atomic<std::int64_t> acknowledged{0};
  std::atomic<std::int64_t> issued{0};
};

// What it is that has a revision. All but the first exist in a soak alone; the last four change as
// a whole, and several keys show them.
enum class Kind : std::uint8_t {
  order,
  pair,     // Two rows, changed together and read joined.
  member,   // One of four rows that are read under one key, each changed by another writer.
  part,     // A partition that is detached, changed and attached.
  side,     // A table that is truncated.
  defined,  // A column that ALTER TABLE rewrites.
  bulk,     // All rows of a large table.
};

class Orders {
 public:
  static constexpr std::size_t members_per_group = 4;
  static constexpr std::int64_t keys_of_a_whole = 8;

  explicit Orders(const Options& options);

  // Brings the orders to revision 0.
  void prepare();

  std::size_t size() const noexcept { return orders_.size(); }
  Order& operator[](std::size_t index) noexcept { return orders_[index]; }

  // In the order of the indexes.
  static constexpr Kind kinds[] = {
      Kind::order, Kind::pair, Kind::member, Kind::part, Kind::side, Kind::defined, Kind::bulk};
  std::size_t first(Kind kind) const noexcept;
  std::size_t count(Kind kind) const noexcept;
  Kind kind(std::size_t index) const noexcept;

  // The row's id in its table.
  std::int64_t id(std::size_t index) const noexcept {
    return static_cast<std::int64_t>(index - first(kind(index))) + 1;
  }

  // Whether it does not exist while its revision is odd: every eighth order, and some wholes.
  bool comes_and_goes(std::size_t index) const noexcept {
    const Kind what = kind(index);
    return what == Kind::part || what == Kind::side || (what == Kind::order && index % 8 == 7);
  }

  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> stale{0};
  std::atomic<std::uint64_t> commits{0};

 private:
  const Options& options_;
  std::vector<Order> orders_;
};

// A key of the Redis door, and the orders that its value shows.
struct Subject {
  std::string key;
  std::size_t index = 0;  // The first of them.
  std::size_t count = 1;
};

// All keys that show something of this kind.
std::vector<Subject> subjects(const Orders& orders, Kind kind);

// What a value shows of each order, or nothing where there is no row. Two numbers for each order of
// a pair. Throws BadAnswer when the value is none that the view gives.
using Revisions = std::optional<std::vector<std::int64_t>>;
Revisions parse_value(std::optional<std::string_view> json);

// Why a value that was read is wrong; nothing when it may be. `floors` were acknowledged before the
// read, `ceilings` issued after it.
std::optional<std::string> find_fault(const Orders& orders,
                                      const Subject& subject,
                                      const Revisions& revisions,
                                      std::span<const std::int64_t> floors,
                                      std::span<const std::int64_t> ceilings);

}  // namespace checker
