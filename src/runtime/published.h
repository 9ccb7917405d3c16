#pragma once
// Published<T>: a value that one thread replaces now and then and all threads read all the time
// (keys, roles, revocations).
//
// The value is immutable and replaced whole. Each reader keeps its own copy of the pointer, so
// reading costs one load of a number that hardly ever changes; the lock is taken once a replacement
// by each reader.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace meridian {

template <class T>
class Published {
 public:
  using Pointer = std::shared_ptr<const T>;

  // Requires a value that is not null.
  explicit Published(Pointer first) : value_(std::move(first)) {}
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  // Any thread.
  void publish(Pointer next) {
    {
      const std::lock_guard lock(mutex_);
      value_.swap(next);
      version_.fetch_add(1, std::memory_order_release);
    }
    // The old value ends here, outside the lock, unless a reader still has it.
  }

  // The value of now. Any thread.
  Pointer get() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }

  // One reader's copy. Belongs to one thread; the Published outlives it.
  class Reader {
   public:
    explicit Reader(const Published& published) : published_(published) { refresh(); }

    // The value of now. Stays valid at least until the next get() of this reader.
    const Pointer& get() {
      if (published_.version_.load(std::memory_order_acquire) != version_) refresh();
      return value_;
    }

    // Changes with each replacement. Of the value that get() returned last.
    std::uint64_t version() const noexcept { return version_; }

   private:
    void refresh() {
      const std::lock_guard lock(published_.mutex_);
      version_ = published_.version_.load(std::memory_order_relaxed);
      value_ = published_.value_;
    }

    const Published& published_;
    std::uint64_t version_ = 0;
    Pointer value_;
  };

 private:
  mutable std::mutex mutex_;
  Pointer value_;
  std::atomic<std::uint64_t> version_{0};
};

}  // namespace meridian
