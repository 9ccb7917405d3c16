#pragma once
// An Exchange: what one visit has asked of Redis, and the replies that have come for it.
//
// Owned by the visit, on the loop of its links, and used again and again, so that a request costs
// no allocation. Requests that are sent one after another count as one; their replies come as raw
// bytes, in order. It may end at any time: replies that still come are then dropped by the link.
//
//   Link* link = pool.link_for(exchange, protocol);  // null: co_await pool.wait_for_link(...)
//   link->request(exchange, bytes, Effect::reads);
//   while (exchange.replies_left() > 0 && !exchange.failed()) {
//     co_await exchange.answers(deadline);
//     exchange.take(out);  // and send it on, before the next round
//   }

#include "base/metrics.h"
#include "base/result.h"
#include "runtime/async.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace meridian::redis {

class Link;

// How many bytes of replies the exchanges of one pool hold together.
class ReplyBudget {
 public:
  // The gauge shows it.
  explicit ReplyBudget(Gauge& gauge) noexcept : gauge_(gauge) {}

  std::size_t held_bytes() const noexcept { return held_bytes_; }
  void add(std::size_t bytes) noexcept { set(held_bytes_ + bytes); }
  void remove(std::size_t bytes) noexcept { set(held_bytes_ - bytes); }

 private:
  void set(std::size_t bytes) noexcept {
    held_bytes_ = bytes;
    gauge_.set(static_cast<std::int64_t>(bytes));
  }

  std::size_t held_bytes_ = 0;
  Gauge& gauge_;
};

class Exchange {
 public:
  class Wait;

  // From so many bytes on, answers() does not wait for the rest: large replies pass in parts.
  static constexpr std::size_t part_bytes = 64 * 1024;

  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange();

  // How many replies have not come to their end. After a failure: will not.
  std::uint64_t replies_left() const noexcept { return replies_left_; }

  // The link that replies are to come from, or that this owns; null when there is none.
  Link* link() const noexcept { return link_; }

  // Waits until all replies have come, part_bytes of them are held, or the exchange has failed.
  // One fibre waits at a time.
  Wait answers(Deadline deadline = Deadline::never()) noexcept;

  // Waits until any byte is held or the exchange has failed: for subscribers.
  Wait bytes(Deadline deadline = Deadline::never()) noexcept;

  // What has come and was not taken.
  std::string_view held() const noexcept { return held_; }

  // Moves it behind `out`.
  void take(std::string& out);

  // Requests were lost. Errors: unavailable (none of them had an effect), outcome_unknown (at least
  // one that writes may have had), exhausted (the replies were not taken fast enough, and were
  // dropped), cancelled (an exclusive link was given back).
  bool failed() const noexcept { return failure_.has_value(); }
  const Error& failure() const noexcept { return *failure_; }

  // A part of a reply was taken of which the rest will not come: the client must see its connection
  // end.
  bool torn() const noexcept { return torn_; }

  // Makes a failed exchange as good as new, and one that waits for replies give up on them.
  // Requires that no fibre waits.
  void reset() noexcept;

 private:
  friend class Link;

  enum class Until : std::uint8_t { answers, bytes };

  bool enough_for(Until until) const noexcept;
  void wake_if_enough() noexcept;
  void hold(std::string_view bytes, bool ends_reply, ReplyBudget& budget);
  void fail(Error error) noexcept;
  void drop(std::string_view limit);
  void release_held() noexcept;

  Link* link_ = nullptr;             // While replies are to come, or while this owns the link.
  std::uint64_t first_request_ = 0;  // The link's number of the first entry of this exchange.
  std::uint64_t replies_left_ = 0;
  std::string held_;
  std::size_t whole_size_ = 0;  // Of the whole replies that held_ begins with.
  bool part_taken_ = false;     // The beginning of the present reply has been taken.
  bool torn_ = false;
  std::optional<Error> failure_;
  ReplyBudget* budget_ = nullptr;
  Wait* wait_ = nullptr;
};

class Exchange::Wait final : public Suspension {
 public:
  Wait(Exchange& exchange, Until until, Deadline deadline) noexcept
      : Suspension(deadline), exchange_(exchange), until_(until) {}
  ~Wait() {
    if (waiting()) exchange_.wait_ = nullptr;
  }

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
    if (exchange_.enough_for(until_)) return false;
    if (!park(handle)) return false;
    MERIDIAN_ASSERT(exchange_.wait_ == nullptr);
    exchange_.wait_ = this;
    return true;
  }
  Wake await_resume() const noexcept { return outcome(); }

 private:
  friend class Exchange;

  void detach() noexcept override { exchange_.wait_ = nullptr; }

  Exchange& exchange_;
  Until until_;
};

inline Exchange::Wait Exchange::answers(Deadline deadline) noexcept {
  return {*this, Until::answers, deadline};
}
inline Exchange::Wait Exchange::bytes(Deadline deadline) noexcept {
  return {*this, Until::bytes, deadline};
}

}  // namespace meridian::redis
