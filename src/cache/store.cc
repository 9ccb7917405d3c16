#include "cache/store.h"

#include <utility>

namespace meridian {
namespace {

constexpr std::size_t table_size_first = 64;

// Marks a place where an entry was: searching goes on behind it.
Entry* tombstone() noexcept {
  return reinterpret_cast<Entry*>(1);
}

// The low bits choose the place in a table, the high ones the shard.
std::size_t place_of(std::uint64_t hash, std::size_t mask) noexcept {
  return hash & mask;
}

}  // namespace

Store::Store(Reclaimer& reclaimer, std::size_t bytes_max)
    : reclaimer_(reclaimer), bytes_max_(bytes_max), shard_bytes_max_(bytes_max / shards_count) {
  for (Shard& shard : shards_)
    shard.table.store(new Table(table_size_first));
}

Store::~Store() {
  clear();
  // No loop reads any more.
  for (Shard& shard : shards_)
    delete shard.table.load();
}

const Entry* Store::find(std::string_view key, std::uint64_t hash) const noexcept {
  const Table& table = *shard_of(hash).table.load(std::memory_order_acquire);
  for (std::size_t at = place_of(hash, table.mask);; at = (at + 1) & table.mask) {
    const Entry* const entry = table.slots[at].load(std::memory_order_acquire);
    if (!entry) return nullptr;
    if (entry != tombstone() && entry->hash() == hash && entry->key() == key) return entry;
  }
}

std::atomic<Entry*>* Store::find_slot(Table& table,
                                      std::string_view key,
                                      std::uint64_t hash) noexcept {
  for (std::size_t at = place_of(hash, table.mask);; at = (at + 1) & table.mask) {
    const Entry* const entry = table.slots[at].load(std::memory_order_relaxed);
    if (!entry) return nullptr;
    if (entry != tombstone() && entry->hash() == hash && entry->key() == key)
      return &table.slots[at];
  }
}

void Store::insert(Entry::Owner owned) {
  Shard& shard = shard_of(owned->hash());
  if (owned->size() > shard_bytes_max_ / 2) return;
  const std::lock_guard lock(shard.mutex);
  free_retired(shard);
  Entry& entry = *owned;
  bool known = shard.ghosts.contains(entry.hash());
  Table& table = *shard.table.load(std::memory_order_relaxed);
  if (std::atomic<Entry*>* const slot = find_slot(table, entry.key(), entry.hash())) {
    Entry* const earlier = slot->load(std::memory_order_relaxed);
    known = known || earlier->in_main || earlier->uses() > 0;
    unlink(shard, *earlier);
  }
  make_room(shard, entry.size());
  entry.in_main = known;
  (known ? shard.main : shard.small).push_back(entry);
  (known ? shard.main_bytes : shard.small_bytes) += entry.size();
  place(shard, *owned.release());
  count_bytes(shard);
}

// Writes the pointer into the table, which grows or is swept of tombstones when it is 60 % full.
void Store::place(Shard& shard, Entry& entry) {
  Table* table = shard.table.load(std::memory_order_relaxed);
  if ((shard.used + 1) * 10 > (table->mask + 1) * 6) {
    std::size_t size = table_size_first;
    while ((shard.live + 1) * 10 > size * 3)
      size *= 2;
    auto larger = std::make_unique<Table>(size);
    for (std::size_t i = 0; i <= table->mask; ++i) {
      Entry* const moved = table->slots[i].load(std::memory_order_relaxed);
      if (!moved || moved == tombstone()) continue;
      std::size_t at = place_of(moved->hash(), larger->mask);
      while (larger->slots[at].load(std::memory_order_relaxed))
        at = (at + 1) & larger->mask;
      larger->slots[at].store(moved, std::memory_order_relaxed);
    }
    shard.used = shard.live;
    Table* const old = table;
    table = larger.release();
    shard.table.store(table, std::memory_order_release);
    retire(shard, nullptr, std::unique_ptr<Table>(old));
  }
  std::size_t at = place_of(entry.hash(), table->mask);
  while (table->slots[at].load(std::memory_order_relaxed))
    at = (at + 1) & table->mask;
  table->slots[at].store(&entry, std::memory_order_release);
  ++shard.used;
  ++shard.live;
}

bool Store::remove(std::string_view key, std::uint64_t hash) {
  Shard& shard = shard_of(hash);
  const std::lock_guard lock(shard.mutex);
  free_retired(shard);
  std::atomic<Entry*>* const slot =
      find_slot(*shard.table.load(std::memory_order_relaxed), key, hash);
  if (!slot) return false;
  unlink(shard, *slot->load(std::memory_order_relaxed));
  count_bytes(shard);
  return true;
}

void Store::clear() {
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    while (!shard.small.empty())
      unlink(shard, shard.small.front());
    while (!shard.main.empty())
      unlink(shard, shard.main.front());
    free_retired(shard);
    count_bytes(shard);
  }
}

void Store::for_each(FunctionRef<void(const Entry&)> visit) {
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    shard.small.for_each([&](Entry& entry) { visit(entry); });
    shard.main.for_each([&](Entry& entry) { visit(entry); });
  }
}

// Out of its queue and out of sight; freed later.
void Store::unlink(Shard& shard, Entry& entry) {
  std::atomic<Entry*>* const slot =
      find_slot(*shard.table.load(std::memory_order_relaxed), entry.key(), entry.hash());
  MERIDIAN_ASSERT(slot);
  slot->store(tombstone(), std::memory_order_release);
  --shard.live;
  (entry.in_main ? shard.main_bytes : shard.small_bytes) -= entry.size();
  static_cast<ListNode<EntryQueueTag>&>(entry).unlink();
  retire(shard, &entry, nullptr);
}

void Store::retire(Shard& shard, Entry* entry, std::unique_ptr<Table> table) {
  shard.retired.push_back({.epoch = reclaimer_.retire_epoch(),
                           .entry = Entry::Owner(entry),
                           .table = std::move(table)});
}

void Store::free_retired(Shard& shard) {
  if (shard.retired.empty()) return;
  const std::uint64_t safe = reclaimer_.safe_epoch();
  while (!shard.retired.empty() && shard.retired.front().epoch < safe)
    shard.retired.pop_front();
}

void Store::make_room(Shard& shard, std::size_t wanted) {
  while (shard.small_bytes + shard.main_bytes + wanted > shard_bytes_max_) {
    const bool small_is_over = shard.small_bytes * 10 > shard_bytes_max_;
    if (!shard.small.empty() && (small_is_over || shard.main.empty())) {
      evict_small(shard);
    } else {
      evict_main(shard);
    }
  }
}

void Store::evict_small(Shard& shard) {
  Entry& oldest = shard.small.front();
  if (oldest.uses() > 0) {
    static_cast<ListNode<EntryQueueTag>&>(oldest).unlink();
    shard.small_bytes -= oldest.size();
    oldest.in_main = true;
    oldest.decay();
    shard.main.push_back(oldest);
    shard.main_bytes += oldest.size();
    return;
  }
  remember_ghost(shard, oldest.hash());
  unlink(shard, oldest);
  shard.evictions.fetch_add(1, std::memory_order_relaxed);
}

void Store::evict_main(Shard& shard) {
  Entry& oldest = shard.main.front();
  if (oldest.uses() > 0) {
    oldest.decay();
    static_cast<ListNode<EntryQueueTag>&>(oldest).unlink();
    shard.main.push_back(oldest);
    return;
  }
  unlink(shard, oldest);
  shard.evictions.fetch_add(1, std::memory_order_relaxed);
}

// As many ghosts as there are entries.
void Store::remember_ghost(Shard& shard, std::uint64_t hash) {
  if (shard.ghosts.insert(hash).second) shard.ghost_order.push_back(hash);
  while (shard.ghost_order.size() > shard.live + 16) {
    shard.ghosts.erase(shard.ghost_order.front());
    shard.ghost_order.pop_front();
  }
}

void Store::count_bytes(Shard& shard) noexcept {
  shard.bytes.store(shard.small_bytes + shard.main_bytes, std::memory_order_relaxed);
  shard.count.store(shard.live, std::memory_order_relaxed);
}

std::size_t Store::bytes() const noexcept {
  std::size_t sum = 0;
  for (const Shard& shard : shards_)
    sum += shard.bytes.load(std::memory_order_relaxed);
  return sum;
}

std::size_t Store::count() const noexcept {
  std::size_t sum = 0;
  for (const Shard& shard : shards_)
    sum += shard.count.load(std::memory_order_relaxed);
  return sum;
}

std::uint64_t Store::evictions() const noexcept {
  std::uint64_t sum = 0;
  for (const Shard& shard : shards_)
    sum += shard.evictions.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace meridian
