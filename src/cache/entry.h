#pragma once
// One kept value: a single block of memory with its key, what it depends on, and its text.
//
// Immutable but for the count of its use, so that any loop reads it without a lock.

#include "base/list.h"
#include "cache/coherence.h"
#include "cache/view.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace meridian {

struct EntryQueueTag;

class Entry final : public ListNode<EntryQueueTag> {
 public:
  struct Deleter {
    void operator()(Entry* entry) const noexcept;
  };
  using Owner = std::unique_ptr<Entry, Deleter>;

  static Owner make(const ViewKey& key, const ViewValue& value, const SlotStamp& stamp);

  std::uint64_t hash() const noexcept { return hash_; }
  std::string_view key() const noexcept { return {text(), key_size_}; }
  const SlotStamp& stamp() const noexcept { return stamp_; }
  std::size_t size() const noexcept { return size_; }  // Bytes of memory, all told.

  bool present() const noexcept { return present_; }
  std::string_view json() const noexcept { return {text() + key_size_, json_size_}; }
  std::size_t fields_count() const noexcept { return fields_count_; }

  // Calls visit(name, value) for each field until it returns false.
  template <class F>
  void for_each_field(F&& visit) const {
    const char* at = text() + key_size_ + json_size_;
    for (std::uint32_t i = 0; i < fields_count_; ++i) {
      const std::string_view name = take(at);
      const std::string_view value = take(at);
      if (!visit(name, value)) return;
    }
  }

  // How often it was hit lately, up to 3: what S3-FIFO needs to know.
  std::uint8_t uses() const noexcept { return uses_.load(std::memory_order_relaxed); }
  void use() const noexcept {
    const std::uint8_t uses = uses_.load(std::memory_order_relaxed);
    if (uses < 3) uses_.store(static_cast<std::uint8_t>(uses + 1), std::memory_order_relaxed);
  }
  void decay() noexcept {
    const std::uint8_t uses = uses_.load(std::memory_order_relaxed);
    if (uses > 0) uses_.store(static_cast<std::uint8_t>(uses - 1), std::memory_order_relaxed);
  }

  bool in_main = false;  // Which of the shard's queues it is in. Under the shard's lock.

 private:
  Entry() = default;
  ~Entry() = default;

  const char* text() const noexcept { return reinterpret_cast<const char*>(this + 1); }
  static std::string_view take(const char*& at) noexcept;

  std::uint64_t hash_ = 0;
  std::size_t size_ = 0;
  std::uint32_t key_size_ = 0;
  std::uint32_t json_size_ = 0;
  std::uint32_t fields_count_ = 0;
  bool present_ = false;
  mutable std::atomic<std::uint8_t> uses_{0};
  SlotStamp stamp_;
};

}  // namespace meridian
