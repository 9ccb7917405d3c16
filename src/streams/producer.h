#pragma once
// Who published a message, as the door has verified and stamped it (doors/nats/stamp.h).

#include "base/result.h"

#include <string>
#include <string_view>

namespace meridian {

struct Producer {
  std::string issuer;
  std::string subject;
  std::string role;
  std::string request;  // A request id in hex; empty for none.
};

// Of a block of headers. Errors: unauthenticated (no stamp, two of them, or one that the door does
// not make).
Result<Producer> parse_producer(std::string_view headers);

}  // namespace meridian
