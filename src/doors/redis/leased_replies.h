#pragma once
// Tells replies from messages on a visit's own link, and counts which replies are still to come.
//
// A reply of the door's own, and a request on another link, must wait until they have come: a
// confirmation may be behind messages, and a message may have been passed on in part. In RESP2 a
// message looks like a reply; it is one where the request that is to be answered next was sent by
// somebody who was subscribed.

#include "base/result.h"
#include "wire/resp/reply_framer.h"

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

namespace meridian {

class LeasedReplies {
 public:
  // A request was sent that will get so many replies, or one error in their place: SUBSCRIBE and
  // its kin get a confirmation for each channel. `subscribed`: before it.
  void expect(std::size_t replies_count, bool confirmations, bool subscribed);

  // What comes from now on cannot be told apart: MONITOR.
  void give_up() noexcept;

  // Bytes that were passed on. `subscribed`: as of all requests so far. Errors: invalid (out of
  // step).
  Result<void> pass(std::string_view bytes, bool subscribed);

  // Nothing is to come that was asked for, and nothing was passed on in part.
  bool settled() const noexcept { return expected_.empty() && framer_.between_replies(); }
  bool between() const noexcept { return framer_.between_replies(); }

 private:
  struct Expected {
    std::size_t count;
    bool confirmations;
    bool subscribed;
  };

  void end_reply(bool push, bool subscribed);

  std::deque<Expected> expected_;
  resp::ReplyFramer framer_;
  std::string head_;  // The beginning of the present reply.
  bool gave_up_ = false;
};

}  // namespace meridian
