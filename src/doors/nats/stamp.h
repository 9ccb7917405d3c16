#pragma once
// What the door does to the headers of a message: takes away those that only Meridian may set, and
// adds the verified identity of who published it.
//
//   Meridian-Identity: iss=k8s;sub=system:serviceaccount:shop:checkout;role=checkout;req=0193...
//
// Values are percent-encoded (RFC 3986, section 2.1), so that no value can be taken for another
// field.

#include "base/ids.h"
#include "base/result.h"
#include "gate/principal.h"

#include <string>
#include <string_view>

namespace meridian {

// Room that is kept for it in each message.
inline constexpr std::size_t nats_stamp_size_max = 1'024;

class NatsStamp {
 public:
  // Errors: denied (an identity so long that it would not fit).
  static Result<NatsStamp> make(const Principal& principal, RequestId request);

  // The headers of a message that had none.
  std::string_view plain() const noexcept { return plain_; }

  // Writes to `out` the block with our line in it. A request id that the message brings in its
  // `traceparent` stands in the place of the visit's. Errors: invalid (a block that readers would
  // understand differently), denied with the rule (a header that the role may not set).
  Result<void> rewrite(std::string_view block, std::string& out) const;

 private:
  NatsStamp() = default;

  std::string identity_;  // Up to the request id.
  std::string request_;   // Of the visit, in hex.
  std::string plain_;
  std::string message_id_mark_;  // Goes in front of a Nats-Msg-Id.
  std::shared_ptr<const Role> role_;
};

}  // namespace meridian
