#pragma once
// What a pull consumer delivers, asked for ahead: while a batch is being worked on, the next one
// comes.
//
// Belongs to the loop of its JetStream, which outlives it. Never holds more than was asked for:
// messages_max, and about bytes_max.

#include "base/result.h"
#include "runtime/event.h"
#include "streams/jetstream.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// One delivery of one message.
class Delivery {
 public:
  explicit Delivery(const nats::Operation& operation);
  // Of a message that was kept elsewhere.
  Delivery(std::string_view subject, std::string_view headers, std::string_view payload);

  std::string_view subject() const noexcept { return view(0, subject_size_); }
  // Where to send +ACK, +NAK, +TERM, +WPI.
  std::string_view reply() const noexcept { return view(subject_size_, reply_size_); }
  std::string_view headers() const noexcept {
    return view(subject_size_ + reply_size_, headers_size_);
  }
  std::string_view payload() const noexcept {
    const std::size_t begin = subject_size_ + reply_size_ + headers_size_;
    return view(begin, bytes_.size() - begin);
  }
  std::size_t size() const noexcept { return bytes_.size(); }

  std::uint64_t sequence = 0;  // Of the stream.
  std::uint64_t delivery = 0;  // Of the consumer, counted without gaps.
  std::uint64_t pending = 0;   // What the consumer had still to deliver.
  std::uint64_t attempts = 0;  // How often it has been delivered, as the server counts.
  std::int64_t time = 0;       // Nanoseconds since 1970, when the stream stored it.

 private:
  std::string_view view(std::size_t begin, std::size_t size) const noexcept {
    return std::string_view(bytes_).substr(begin, size);
  }

  std::string bytes_;
  std::size_t subject_size_;
  std::size_t reply_size_;
  std::size_t headers_size_;
};

struct PullOptions {
  std::string stream;
  std::string consumer;
  std::size_t messages_max = 1'000;  // Held and asked for.
  std::size_t bytes_max = 16uz * 1024 * 1024;
};

class PullSubscription {
 public:
  PullSubscription(EpollLoop& loop, JetStream& jetstream, PullOptions options);
  PullSubscription(const PullSubscription&) = delete;
  PullSubscription& operator=(const PullSubscription&) = delete;
  ~PullSubscription();

  // What is there, at least one message and at most this many, in the order of delivery. Errors:
  // timeout (nothing came), not_found (the consumer or its stream is gone), unavailable, cancelled.
  Async<Result<std::vector<Delivery>>> take(std::size_t messages_max, Deadline deadline);

  std::size_t held_count() const noexcept { return held_.size(); }

  // No more is asked for until take() is called.
  void stop_asking() noexcept { asking_ = false; }

 private:
  struct Asked {
    std::uint64_t number = 0;
    std::size_t messages_left = 0;
    Time ends_at{};  // Later than the server's own end.
  };

  void receive(const nats::Operation* operation);
  void take_status(const nats::Operation& operation, int status);
  void ask_for_more();

  EpollLoop& loop_;
  JetStream& jetstream_;
  PullOptions options_;
  std::string inbox_;
  std::uint64_t subscription_ = 0;
  std::uint64_t asked_number_ = 0;
  std::deque<Asked> asked_;  // The server serves them in this order.
  std::deque<Delivery> held_;
  std::size_t held_size_ = 0;
  std::optional<Error> failure_;
  bool asking_ = true;
  Time refused_at_{};
  Event some_;
};

}  // namespace meridian
