#pragma once
// What the door does to the headers of a message: takes away those that only Meridian may set, and
// adds the verified identity of who published it.
//
//   Meridian-Identity: iss=k8s;sub=system:serviceaccount:shop:checkout;role=checkout;req=0193...
//
// With a key there is `;mac=` behind it (gate/stamp_mac.h): whoever has the key can tell that the
// message came through a door and says what it said there.
//
// Values are percent-encoded (RFC 3986, section 2.1), so that no value can be taken for another
// field.

#include "base/ids.h"
#include "base/result.h"
#include "base/secret.h"
#include "gate/principal.h"
#include "gate/stamp_mac.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace meridian {

// Room that is kept for it in each message.
inline constexpr std::size_t nats_stamp_size_max = 1'024;

class NatsStamp {
 public:
  // An empty `mac_key`: no MAC. Errors: denied (an identity so long that it would not fit).
  static Result<NatsStamp> make(const Principal& principal,
                                RequestId request,
                                const Secret& mac_key);

  // The headers of a message that had none. Requires that there is no MAC.
  std::string_view plain() const noexcept { return plain_; }
  bool has_mac() const noexcept { return mac_.has_value(); }

  struct Message {
    std::string_view subject;
    std::string_view headers;  // The whole block, or empty.
    std::string_view payload;
  };

  // Writes to `out` the block with our line in it. A request id that the message brings in its
  // `traceparent` stands in the place of the visit's, and is returned; nil: there was none. Errors:
  // invalid (a block that readers would understand differently), denied with the rule (a header
  // that the role may not set).
  Result<RequestId> rewrite(const Message& message, std::string& out) const;

  // The same identity by another policy.
  void renew(std::shared_ptr<const Role> role) { role_ = std::move(role); }

 private:
  NatsStamp() = default;

  std::string identity_;  // Up to the request id.
  std::string request_;   // Of the visit, in hex.
  std::string plain_;
  std::string message_id_mark_;  // Goes in front of a Nats-Msg-Id.
  std::shared_ptr<const Role> role_;
  std::optional<StampMac> mac_;
};

}  // namespace meridian
