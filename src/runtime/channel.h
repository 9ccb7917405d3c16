#pragma once
// A bounded queue between fibres of one loop. A full channel makes the sender wait; a closed one
// gives what is left and then nothing.

#include "runtime/event.h"

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

namespace meridian {

template <class T>
class Channel {
 public:
  Channel(Loop& loop, std::size_t items_max) noexcept
      : items_max_(items_max), not_empty_(loop), not_full_(loop) {}

  // False when the channel is closed or the wait ended otherwise; the item is lost then.
  Async<bool> send(T item) {
    while (!closed_ && items_.size() >= items_max_) {
      if (co_await not_full_.wait() != Wake::ready) co_return false;
    }
    co_return try_send(std::move(item));
  }

  // False when full or closed.
  bool try_send(T item) {
    if (closed_ || items_.size() >= items_max_) return false;
    items_.push_back(std::move(item));
    not_empty_.notify_one();
    return true;
  }

  // Empty when closed and drained, when the deadline passed, or when cancelled.
  Async<std::optional<T>> receive(Deadline deadline = Deadline::never()) {
    while (items_.empty()) {
      if (closed_) co_return std::nullopt;
      if (co_await not_empty_.wait(deadline) != Wake::ready) co_return std::nullopt;
    }
    co_return try_receive();
  }

  std::optional<T> try_receive() {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    not_full_.notify_one();
    return item;
  }

  void close() noexcept {
    closed_ = true;
    not_empty_.notify_all();
    not_full_.notify_all();
  }

  bool closed() const noexcept { return closed_; }
  std::size_t count() const noexcept { return items_.size(); }

 private:
  std::size_t items_max_;
  std::deque<T> items_;
  bool closed_ = false;
  Event not_empty_;
  Event not_full_;
};

}  // namespace meridian
