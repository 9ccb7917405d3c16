#include "doors/redis/leased_replies.h"

#include <algorithm>
#include <array>

namespace meridian {
namespace {

constexpr std::size_t head_size_max = 32;  // "*3\r\n$12\r\npunsubscribe\r\n" has 23.

// The first string of an array or a message: its kind, if it is one. Redis writes these lower case.
std::string_view kind_of(std::string_view head) {
  if (head.empty() || (head.front() != '*' && head.front() != '>')) return {};
  const std::size_t length_at = head.find("\r\n$");
  if (length_at == std::string_view::npos) return {};
  const std::size_t begin = head.find("\r\n", length_at + 3);
  if (begin == std::string_view::npos) return {};
  const std::string_view text = head.substr(begin + 2);
  const std::size_t end = text.find("\r\n");
  return end == std::string_view::npos ? std::string_view() : text.substr(0, end);
}

bool is_confirmation(std::string_view kind) {
  constexpr std::array<std::string_view, 6> kinds{
      "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe"};
  return std::ranges::find(kinds, kind) != kinds.end();
}

bool is_message(std::string_view kind) {
  return kind == "message" || kind == "pmessage" || kind == "smessage";
}

}  // namespace

void LeasedReplies::expect(std::size_t replies_count, bool confirmations, bool subscribed) {
  if (gave_up_) return;
  expected_.push_back(
      {.count = replies_count, .confirmations = confirmations, .subscribed = subscribed});
}

void LeasedReplies::give_up() noexcept {
  gave_up_ = true;
  expected_.clear();
}

Result<void> LeasedReplies::pass(std::string_view bytes, bool subscribed) {
  while (!bytes.empty()) {
    MERIDIAN_TRY(const resp::ReplyFramer::Piece piece, framer_.next(bytes));
    head_ += piece.bytes.substr(0, head_size_max - std::min(head_.size(), head_size_max));
    if (!piece.last) continue;
    end_reply(piece.push, subscribed);
    head_.clear();
  }
  return {};
}

void LeasedReplies::end_reply(bool push, bool subscribed) {
  if (expected_.empty()) return;
  Expected& front = expected_.front();
  const std::string_view kind = push || front.subscribed || front.confirmations || subscribed
                                    ? kind_of(head_)
                                    : std::string_view();
  const bool is_error = head_.starts_with('-') || head_.starts_with('!');
  if (is_confirmation(kind) && (push || front.confirmations)) {
    // One that nobody waits for: a server takes sharded subscriptions back by itself.
    if (!front.confirmations) return;
  } else if (push || (is_message(kind) && (front.subscribed || front.confirmations))) {
    return;
  }
  if (is_error || --front.count == 0) expected_.pop_front();
}

}  // namespace meridian
