#pragma once
// Who published a message, as the door has verified and stamped it (doors/nats/stamp.h).

#include "base/result.h"
#include "gate/stamp_mac.h"

#include <string>
#include <string_view>

namespace meridian {

struct Producer {
  std::string issuer;
  std::string subject;
  std::string role;
  std::string request;  // A request id in hex; empty for none.
};

// A message as far as a MAC in its stamp vouches for it.
struct StampedMessage {
  std::string_view headers;  // A whole block, or empty.
  std::string_view subject{};
  std::string_view message_id{};  // Nats-Msg-Id; empty: none.
  std::string_view payload{};
};

// By the message's stamp. With `mac` the stamp must have the MAC of this very message; without, it
// is believed as it is. Errors: unauthenticated (no stamp, two of them, one that the door does not
// make; a MAC that is missing or another's).
Result<Producer> parse_producer(const StampedMessage& message, const StampMac* mac);

}  // namespace meridian
