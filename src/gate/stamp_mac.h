#pragma once
// The MAC in the identity that doors stamp on messages: HMAC-SHA-256 (RFC 2104) over the subject,
// the message's id, the SHA-256 of its payload and the identity. The network behind the door need
// not be believed by who has the key: a message that was forged, changed, given another subject or
// another's identity there is known by it. A message that is repeated whole is not.
//
// What is hashed: each of the four parts behind its size as 8 bytes, most significant first. What
// is written: base64url without padding, 43 characters.
//
// A value. The key outlives nothing: it is taken over.

#include "base/secret.h"

#include <memory>
#include <string>
#include <string_view>

struct evp_mac_ctx_st;

namespace meridian {

class StampMac {
 public:
  struct Parts {
    std::string_view subject;
    std::string_view message_id;  // The value of Nats-Msg-Id as it is stored; empty: none.
    std::string_view payload;
    std::string_view identity;  // The value of Meridian-Identity up to its `;mac=`.
  };

  // Requires a key that is not empty.
  explicit StampMac(const Secret& key);

  std::string of(const Parts& parts) const;

  // Whether `mac` is that of these parts. In constant time.
  bool verify(const Parts& parts, std::string_view mac) const;

  // Splits the value of a Meridian-Identity; `mac` is empty when it has none.
  struct Stamped {
    std::string_view identity;
    std::string_view mac;
  };
  static Stamped split(std::string_view stamp) noexcept;

 private:
  struct Free {
    void operator()(evp_mac_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_mac_ctx_st, Free> context_;
};

}  // namespace meridian
