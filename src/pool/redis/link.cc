#include "pool/redis/link.h"

#include "base/assert.h"
#include "base/secret.h"

#include <algorithm>
#include <utility>

namespace meridian::redis {
namespace {

// A send buffer that a large request left behind is given back.
constexpr std::size_t kept_bytes_max = 256 << 10;

// After so many reads in a row the visits get their turn, to take what came.
constexpr int reads_in_a_row_max = 4;

}  // namespace

LinkGround::LinkGround(Loop& on, Metrics& metrics, LinkLimits given)
    : loop(on),
      limits(given),
      changed(on),
      budget(metrics.gauge("meridian_redis_held_bytes",
                           "Bytes of replies that visits have yet to take.")),
      read_buffer(given.read_buffer_size),
      requests(
          metrics.counter("meridian_redis_requests_total", "Requests that were relayed to Redis.")),
      replies(
          metrics.counter("meridian_redis_replies_total", "Replies of Redis to relayed requests.")),
      sent_bytes(metrics.counter("meridian_redis_sent_bytes_total", "Bytes sent to Redis.")),
      received_bytes(
          metrics.counter("meridian_redis_received_bytes_total", "Bytes received from Redis.")),
      dropped_exchanges(
          metrics.counter("meridian_redis_dropped_exchanges_total",
                          "Visits that took their replies too slowly and lost them.")),
      dropped_messages(metrics.counter("meridian_redis_dropped_messages_total",
                                       "Push messages that nobody had asked for.")),
      pending(metrics.gauge("meridian_redis_pending_requests",
                            "Relayed requests that Redis has not answered.")) {}

Link::Link(LinkGround& ground, std::unique_ptr<Stream> stream, Kind kind)
    : ground_(ground),
      stream_(std::move(stream)),
      kind_(kind),
      framer_(ground.limits.replies),
      taken_(ground.loop),
      scope_(ground.loop) {}

Link::~Link() {
  open_ = false;
  fail_all();
  if (wipes_sent_) wipe(out_.data(), out_.size());
}

void Link::request(Exchange& exchange,
                   std::string_view bytes,
                   Effect effect,
                   std::uint32_t replies_count) {
  MERIDIAN_ASSERT(replies_count > 0 || owner_ == &exchange);
  MERIDIAN_ASSERT(exchange.link_ == nullptr || exchange.link_ == this);
  exchange.replies_left_ += replies_count;
  if (exchange.failed()) return;
  if (!open_) {
    // One that waits already is told by serve(), with what else was lost.
    if (exchange.link_ == nullptr) exchange.fail(closed_error());
    return;
  }
  ground_.requests.add(std::max(replies_count, 1U));
  if (replies_count > 0) expect(exchange, effect, replies_count);
  out_ += bytes;
  ground_.loop.at_batch_end(*this);
  if (kind_ == Kind::shared && !watching_) {
    watching_ = true;
    scope_.spawn(watch_silence());
  }
}

void Link::expect(Exchange& exchange, Effect effect, std::uint32_t replies_count) {
  const bool writes = effect == Effect::writes;
  exchange.link_ = this;
  ground_.replies_pending += replies_count;
  if (!expected_.empty() && expected_.back().exchange == &exchange) {
    expected_.back().replies_count += replies_count;
    expected_.back().writes |= writes;
    return;
  }
  const bool waited = exchange.replies_left_ > replies_count;
  if (!waited) exchange.first_request_ = answered_count_ + expected_.size();
  expected_.push_back({.exchange = &exchange,
                       .begin = sent_total_ + (out_.size() - sent_size_),
                       .replies_count = replies_count,
                       .writes = writes});
}

void Link::set_owner(Exchange& exchange) {
  MERIDIAN_ASSERT(kind_ == Kind::exclusive && owner_ == nullptr && exchange.link_ == nullptr);
  if (!open_) {
    exchange.fail(closed_error());
    return;
  }
  owner_ = &exchange;
  exchange.link_ = this;
}

void Link::clear_owner() noexcept {
  if (!owner_) return;
  Exchange& owner = *owner_;
  forget(owner);
  if (owner.replies_left_ > 0 || owner.wait_) {
    owner.fail(Error(Errc::cancelled, "the connection to Redis was given back"));
  }
}

// Leaves no trace of an exchange: replies that are on their way to it will be dropped.
void Link::forget(Exchange& exchange) noexcept {
  if (owner_ == &exchange) {
    owner_ = nullptr;
    taken_.notify_all();
  }
  exchange.link_ = nullptr;
  const std::uint64_t first = exchange.first_request_;
  for (std::size_t i = first > answered_count_ ? first - answered_count_ : 0; i < expected_.size();
       ++i) {
    if (expected_[i].exchange == &exchange) expected_[i].exchange = nullptr;
  }
}

void Link::on_taken(Exchange& exchange) noexcept {
  if (owner_ == &exchange) taken_.notify_all();
}

void Link::on_batch_end() {
  show_pending();
  if (open_ && !sending_) send_queued();
}

void Link::send_queued() {
  while (open_ && sent_size_ < out_.size()) {
    const Transfer transfer = stream_->try_write(std::string_view(out_).substr(sent_size_));
    switch (transfer.status) {
      case Transfer::Status::done:
        sent_size_ += transfer.size;
        sent_total_ += transfer.size;
        ground_.sent_bytes.add(transfer.size);
        break;
      case Transfer::Status::would_block:
        drop_sent();
        if (!sending_) {
          sending_ = true;
          scope_.spawn(send_rest());
        }
        return;
      case Transfer::Status::ended:
      case Transfer::Status::failed:
        close(Error(Errc::unavailable, "sending to Redis: " + stream_->failure()));
        return;
    }
  }
  drop_sent();
}

// What the connection did not take at once.
Async<> Link::send_rest() {
  while (open_ && sent_size_ < out_.size()) {
    if (co_await stream_->writable() == Wake::cancelled) break;
    send_queued();
  }
  sending_ = false;
}

void Link::drop_sent() noexcept {
  if (sent_size_ == out_.size()) {
    if (std::exchange(wipes_sent_, false)) wipe(out_.data(), out_.size());
    out_.clear();
    sent_size_ = 0;
    if (out_.capacity() > kept_bytes_max) out_.shrink_to_fit();
  } else if (sent_size_ > out_.size() / 2 && !wipes_sent_) {
    // Moved at most as many times as it was sent, so the cost is that of sending.
    out_.erase(0, sent_size_);
    sent_size_ = 0;
  }
  if (ground_.changed.any_waiting() && has_room()) ground_.changed.notify_all();
}

void Link::close(Error why) noexcept {
  if (!open_) return;
  open_ = false;
  why_ = std::move(why);
  stream_->close();
  ground_.changed.notify_all();
  taken_.notify_all();
}

Async<Error> Link::serve() {
  Error why = co_await read_replies();
  close(std::move(why));
  fail_all();
  co_await scope_.close();
  co_return why_;
}

Async<Error> Link::read_replies() {
  int reads_in_a_row = 0;
  while (open_) {
    if (reads_too_far()) {
      if (co_await taken_.wait() == Wake::cancelled) co_return Error(Errc::cancelled);
      continue;
    }
    const Transfer transfer = stream_->try_read(ground_.read_buffer);
    switch (transfer.status) {
      case Transfer::Status::done:
        received_total_ += transfer.size;
        ground_.received_bytes.add(transfer.size);
        if (auto handed = hand_out({ground_.read_buffer.data(), transfer.size}); !handed) {
          co_return std::move(handed).error();
        }
        if (++reads_in_a_row < reads_in_a_row_max) break;
        reads_in_a_row = 0;
        if (co_await ground_.loop.yield() == Wake::cancelled) co_return Error(Errc::cancelled);
        break;
      case Transfer::Status::would_block:
        reads_in_a_row = 0;
        if (co_await stream_->readable() == Wake::cancelled) co_return Error(Errc::cancelled);
        break;
      case Transfer::Status::ended:
        co_return Error(Errc::unavailable, "Redis closed the connection");
      case Transfer::Status::failed:
        co_return Error(Errc::unavailable, "receiving from Redis: " + stream_->failure());
    }
  }
  co_return why_;
}

// Looks at a shared link that owes replies now and then, so that no clock is read for a request.
Async<> Link::watch_silence() {
  while (open_ && !expected_.empty()) {
    const std::uint64_t received_before = received_total_;
    const std::uint64_t answered_before = answered_count_;
    if (co_await ground_.loop.sleep(ground_.limits.reply_timeout) == Wake::cancelled) break;
    const bool silent = received_total_ == received_before && answered_count_ == answered_before;
    if (silent && !expected_.empty()) {
      close(Error(Errc::unavailable,
                  "it has not answered for " + to_text(ground_.limits.reply_timeout)));
    }
  }
  watching_ = false;
}

Result<void> Link::hand_out(std::string_view bytes) {
  while (!bytes.empty()) {
    MERIDIAN_TRY(const resp::ReplyFramer::Piece piece, framer_.next(bytes));
    if (owner_ && (piece.push || expected_.empty())) {
      // A message, or a reply that only the owner can tell from one: RESP2 subscriptions.
      hold_for(*owner_, piece);
    } else if (piece.push || (kind_ == Kind::exclusive && expected_.empty())) {
      if (piece.last) ground_.dropped_messages.add();
    } else {
      MERIDIAN_CHECK(hand_out_reply(piece));
    }
  }
  show_pending();
  return {};
}

Result<void> Link::hand_out_reply(const resp::ReplyFramer::Piece& piece) {
  if (expected_.empty()) {
    return fail(Errc::invalid, "Redis sent a reply to no request");
  }
  Expected& front = expected_.front();
  Exchange* const exchange = front.exchange;
  if (exchange) hold_for(*exchange, piece);
  if (!piece.last) return {};
  ground_.replies.add();
  --ground_.replies_pending;
  const bool still_waits = front.exchange == exchange && exchange;
  if (--front.replies_count == 0) {
    expected_.pop_front();
    ++answered_count_;
    if (ground_.changed.any_waiting() && has_room()) ground_.changed.notify_all();
  }
  if (!still_waits) return {};
  if (--exchange->replies_left_ == 0 && owner_ != exchange) exchange->link_ = nullptr;
  exchange->wake_if_enough();
  return {};
}

// Gives a part of a reply to who asked for it, or drops the exchange that holds too much.
void Link::hold_for(Exchange& exchange, const resp::ReplyFramer::Piece& piece) {
  const LinkLimits& limits = ground_.limits;
  const auto exceeds = [size = piece.bytes.size()](std::size_t held, std::size_t max) {
    return held > max || size > max - held;
  };
  const bool too_slow = exceeds(exchange.held_.size(), limits.held_bytes_max);
  if (!too_slow && !exceeds(ground_.budget.held_bytes(), limits.held_bytes_total_max)) {
    exchange.hold(piece.bytes, piece.last, ground_.budget);
    exchange.wake_if_enough();
    return;
  }
  ground_.dropped_exchanges.add();
  forget(exchange);
  exchange.drop(too_slow ? "held_bytes_max=" + std::to_string(limits.held_bytes_max)
                         : "held_bytes_total_max=" + std::to_string(limits.held_bytes_total_max));
}

bool Link::reads_too_far() const noexcept {
  return owner_ && owner_->held_.size() >= ground_.limits.read_ahead_max;
}

Error Link::closed_error() const {
  return Error(Errc::unavailable, "the connection to Redis is closed: " + why_.detail());
}

Error Link::loss(const Expected& expected) const {
  if (expected.begin >= sent_total_) {
    return Error(Errc::unavailable, "the request was not sent to Redis: " + why_.detail());
  }
  return Error(expected.writes ? Errc::outcome_unknown : Errc::unavailable,
               "Redis was lost before it answered: " + why_.detail());
}

void Link::fail_all() noexcept {
  while (!expected_.empty()) {
    const Expected expected = expected_.front();
    expected_.pop_front();
    ++answered_count_;
    ground_.replies_pending -= expected.replies_count;
    if (expected.exchange) expected.exchange->fail(loss(expected));
  }
  if (owner_) {
    std::exchange(owner_, nullptr)
        ->fail(Error(Errc::unavailable, "Redis was lost: " + why_.detail()));
  }
  show_pending();
  ground_.changed.notify_all();
}

// Once for many requests.
void Link::show_pending() noexcept {
  ground_.pending.set(static_cast<std::int64_t>(ground_.replies_pending));
}

}  // namespace meridian::redis
