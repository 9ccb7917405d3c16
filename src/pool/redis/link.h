#pragma once
// A Link: one logged-in connection to Redis, and who waits for which of its replies.
//
// A shared link carries the requests of many visits, one behind the other; its replies are handed
// to them in the same order. What gathers during a batch of the loop is sent at the batch's end, so
// that many visits cost one system call. A slow visit never holds up the others: what it does not
// take is held within bounds, and beyond them dropped together with its exchange.
//
// An exclusive link has an owner, one exchange, which gets all that comes, messages included; when
// the owner does not take it, the link stops reading.
//
// Owned by a LinkPool, on its loop. The loop's fibres see it closed (open() is false) some time
// before it ends.

#include "base/metrics.h"
#include "pool/redis/exchange.h"
#include "runtime/event.h"
#include "runtime/loop.h"
#include "runtime/scope.h"
#include "runtime/stream.h"
#include "wire/resp/reply_framer.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::redis {

// What a request may do, which decides what it means when its reply is lost.
enum class Effect : std::uint8_t { reads, writes };

struct LinkLimits {
  std::size_t queued_bytes_max = 4 << 20;  // Of requests to be sent; beyond, requesters wait.
  std::size_t expected_max = 65'536;       // Exchanges that wait for replies on one link.

  // Of replies, for one exchange of a shared link. Above the largest request, so that what was
  // stored through a door can be read by a client of any speed.
  std::size_t held_bytes_max = 65 << 20;
  std::size_t held_bytes_total_max = 256 << 20;  // For all exchanges of a pool.

  std::size_t read_ahead_max = 256 << 10;  // An exclusive link reads no further ahead.
  std::size_t read_buffer_size = 64 << 10;

  // A shared link on which no byte comes for so long, up to twice that, is given up.
  Duration reply_timeout = std::chrono::seconds(30);
  resp::ReplyLimits replies{};
};

// What the links of a pool share. Outlives them and their exchanges.
struct LinkGround {
  LinkGround(Loop& on, Metrics& metrics, LinkLimits given);

  Loop& loop;
  const LinkLimits limits;
  Event changed;  // Some link has connected, has room again, or was closed.
  ReplyBudget budget;
  std::uint64_t replies_pending = 0;  // To requests of all links.
  std::vector<char> read_buffer;      // What is read is handed on at once, so one does for all.
  Counter& requests;
  Counter& replies;
  Counter& sent_bytes;
  Counter& received_bytes;
  Counter& dropped_exchanges;
  Counter& dropped_messages;
  Gauge& pending;
};

class Link final : public BatchEnd {
 public:
  enum class Kind : std::uint8_t { shared, exclusive };

  // The stream is logged in, and nothing is on its way.
  Link(LinkGround& ground, std::unique_ptr<Stream> stream, Kind kind);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link();

  // Takes requests, in RESP, that will get as many replies, and sends them at the end of the batch.
  // On a link that is closed the exchange fails at once. Whether there is room is the caller's to
  // ask before. An owner counts no replies to what is answered by messages: SUBSCRIBE and its kind.
  // Requires that the exchange waits on no other link.
  void request(Exchange& exchange,
               std::string_view bytes,
               Effect effect,
               std::uint32_t replies_count = 1);

  // What is queued now holds a secret: it is wiped when it has been sent.
  void wipe_when_sent() noexcept { wipes_sent_ = true; }

  bool open() const noexcept { return open_; }

  // Open, and below the bounds of what may wait on it.
  bool has_room() const noexcept {
    return open_ && out_.size() - sent_size_ < ground_.limits.queued_bytes_max &&
           expected_.size() < ground_.limits.expected_max;
  }

  // Replies are to come for somebody.
  bool busy() const noexcept { return !expected_.empty() || sent_size_ < out_.size(); }
  // For choosing between links.
  std::size_t expected_count() const noexcept { return expected_.size(); }

  // The exchange gets all that comes. Requires an exclusive link without an owner. It may end
  // before the link.
  void set_owner(Exchange& exchange);

  // From now on nobody does. An owner that still waits fails with cancelled.
  void clear_owner() noexcept;

  // Reads replies until the link ends, and says why it did. All that wait have failed then. Called
  // once, by the pool's fibre.
  Async<Error> serve();

  // Ends serve(), soon.
  void close(Error why) noexcept;

 private:
  friend class Exchange;

  // Requests of one exchange that were sent one after another.
  struct Expected {
    Exchange* exchange = nullptr;  // Null when it ended: its replies are dropped.
    std::uint64_t begin = 0;       // The position of the first byte among all that was queued.
    std::uint64_t replies_count = 0;
    bool writes = false;
  };

  void expect(Exchange& exchange, Effect effect, std::uint32_t replies_count);
  void forget(Exchange& exchange) noexcept;
  void on_taken(Exchange& exchange) noexcept;

  void on_batch_end() override;
  void send_queued();
  Async<> send_rest();
  void drop_sent() noexcept;

  Async<Error> read_replies();
  Async<> watch_silence();
  Result<void> hand_out(std::string_view bytes);
  Result<void> hand_out_reply(const resp::ReplyFramer::Piece& piece);
  void hold_for(Exchange& exchange, const resp::ReplyFramer::Piece& piece);
  bool reads_too_far() const noexcept;
  void fail_all() noexcept;
  void show_pending() noexcept;
  Error closed_error() const;
  Error loss(const Expected& expected) const;

  LinkGround& ground_;
  std::unique_ptr<Stream> stream_;
  Kind kind_;
  bool open_ = true;
  bool sending_ = false;  // send_rest() runs.
  Error why_{Errc::unavailable};

  std::string out_;
  bool wipes_sent_ = false;
  std::size_t sent_size_ = 0;     // Of out_.
  std::uint64_t sent_total_ = 0;  // Since the link began.

  std::deque<Expected> expected_;
  std::uint64_t answered_count_ =
      0;  // Entries of expected_ that are gone: the number of the front.
  Exchange* owner_ = nullptr;
  resp::ReplyFramer framer_;
  std::uint64_t received_total_ = 0;
  bool watching_ = false;  // watch_silence() runs.

  Event taken_;
  Scope scope_;
};

}  // namespace meridian::redis
