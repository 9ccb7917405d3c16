#pragma once
// Rows of the outbox as the feed brought them, until they are published: so that nobody has to ask
// the table for what was just told.
//
// Bounded: what does not fit is not kept, and is read from the table. Belongs to one loop.

#include "base/result.h"
#include "streams/outbox_store.h"
#include "timeline/feed.h"
#include "timeline/snapshot.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace meridian {

class OutboxRows {
 public:
  static constexpr std::size_t size_max_default = 16 << 20;

  explicit OutboxRows(std::size_t size_max = size_max_default) : size_max_(size_max) {}

  // Keeps a row that was inserted, where it is whole and fits.
  void keep(TransactionId transaction, std::uint64_t id, const ChangedRow& row);

  // Takes a row out. Empty when it was not kept, or nobody can be sure yet to see it in the table,
  // where it is to be read then.
  std::optional<OutboxRow> take(std::uint64_t id, const Snapshot& seen);

  void forget(TransactionId transaction);
  void forget_seen(const Snapshot& snapshot);
  void clear() noexcept;

  std::size_t size() const noexcept { return size_; }  // In bytes.
  std::size_t count() const noexcept { return kept_.size(); }

 private:
  struct Kept {
    TransactionId transaction = 0;
    OutboxRow row;
  };
  static std::size_t size_of(const OutboxRow& row) noexcept;
  template <class Which>
  void forget_if(Which&& which);

  std::size_t size_max_;
  std::size_t size_ = 0;
  std::unordered_map<std::uint64_t, Kept> kept_;  // By the row's id.
};

// A bytea as text, which is hex: \x and two digits a byte.
Result<std::string> parse_bytea(std::string_view text);

}  // namespace meridian
