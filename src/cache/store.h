#pragma once
// The store of kept values: bounded in bytes, shared by all loops, read without a lock.
//
// A hit walks a table of atomic pointers and writes nothing that loops share, but a use count that
// soon stands still. Inserting and evicting take the lock of one of 64 shards. Memory is freed when
// no loop can see it any more (runtime/reclaim.h), so a pointer that find() gave is good until the
// loop waits.
//
// Eviction is S3-FIFO (Yang et al., SOSP 2023): newcomers pass through a small queue, a tenth of
// the bytes; what is hit there moves to the main queue; what was evicted from the small one and
// comes back soon goes to the main one at once.

#include "base/function_ref.h"
#include "base/list.h"
#include "base/metrics.h"
#include "cache/entry.h"
#include "runtime/reclaim.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace meridian {

class Store {
 public:
  static constexpr std::size_t bytes_max_default = 256 << 20;

  Store(Reclaimer& reclaimer, std::size_t bytes_max);
  ~Store();

  // Borrowed until the loop waits. Does not say whether the value is still good: that is
  // Coherence's.
  const Entry* find(std::string_view key, std::uint64_t hash) const noexcept;

  // Puts the value in the place of an earlier one of the same key. One that is larger than a shard
  // may hold is dropped.
  void insert(Entry::Owner entry);

  // Forgets a key. True when it was there.
  bool remove(std::string_view key, std::uint64_t hash);

  void clear();

  // Calls visit(entry) for every entry, a shard at a time under its lock. For tests and the
  // console.
  void for_each(FunctionRef<void(const Entry&)> visit);

  std::size_t bytes() const noexcept;
  std::size_t count() const noexcept;
  std::uint64_t evictions() const noexcept;
  std::size_t bytes_max() const noexcept { return bytes_max_; }

 private:
  static constexpr std::size_t shards_count = 64;

  // A power of two of pointers, at most 60 % used, probed linearly. Replaced as a whole when it
  // grows.
  struct Table {
    explicit Table(std::size_t size)
        : mask(size - 1), slots(std::make_unique<std::atomic<Entry*>[]>(size)) {}
    std::size_t mask;
    std::unique_ptr<std::atomic<Entry*>[]> slots;
  };
  struct Retired {
    std::uint64_t epoch;
    Entry::Owner entry;
    std::unique_ptr<Table> table;
  };
  struct alignas(64) Shard {
    std::mutex mutex;
    std::atomic<Table*> table{nullptr};
    std::size_t used = 0;  // Slots of the table that are not empty, tombstones included.
    std::size_t live = 0;
    List<Entry, EntryQueueTag> small;
    List<Entry, EntryQueueTag> main;
    std::size_t small_bytes = 0;
    std::size_t main_bytes = 0;
    std::deque<std::uint64_t> ghost_order;  // Hashes of what the small queue lately evicted.
    std::unordered_set<std::uint64_t> ghosts;
    std::deque<Retired> retired;
    std::atomic<std::size_t> bytes{0};
    std::atomic<std::size_t> count{0};
    std::atomic<std::uint64_t> evictions{0};
  };

  Shard& shard_of(std::uint64_t hash) noexcept { return shards_[hash >> 58]; }
  const Shard& shard_of(std::uint64_t hash) const noexcept { return shards_[hash >> 58]; }

  static std::atomic<Entry*>* find_slot(Table& table,
                                        std::string_view key,
                                        std::uint64_t hash) noexcept;
  void make_room(Shard& shard, std::size_t wanted);
  void evict_small(Shard& shard);
  void evict_main(Shard& shard);
  void unlink(Shard& shard, Entry& entry);
  void retire(Shard& shard, Entry* entry, std::unique_ptr<Table> table);
  void free_retired(Shard& shard);
  void place(Shard& shard, Entry& entry);
  void remember_ghost(Shard& shard, std::uint64_t hash);
  void count_bytes(Shard& shard) noexcept;

  Reclaimer& reclaimer_;
  std::size_t bytes_max_;
  std::size_t shard_bytes_max_;
  std::array<Shard, shards_count> shards_;
};

}  // namespace meridian
