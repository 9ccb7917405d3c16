#pragma once
// The ids that cross folders: which visit, which request.

#include "base/named.h"
#include "base/time.h"

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace meridian {

class Random;

// One client connection on this node. Never reused while the process lives.
using VisitId = Named<std::uint64_t, struct VisitIdTag>;

// A UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then chance. It joins
// what one request did over all doors; as W3C trace id it is the same 16 bytes in hex.
class RequestId {
 public:
  constexpr RequestId() = default;  // The nil id: no request.
  constexpr explicit RequestId(std::array<std::uint8_t, 16> bytes) : bytes_(bytes) {}

  static RequestId make(WallTime now, Random& random);

  // Accepts the dashed form and 32 hex digits in either case.
  static std::optional<RequestId> parse(std::string_view text) noexcept;

  constexpr const std::array<std::uint8_t, 16>& bytes() const noexcept { return bytes_; }
  constexpr bool nil() const noexcept { return *this == RequestId(); }

  std::string to_string() const;  // "0193…-…": 36 characters.
  std::string to_hex() const;     // 32 characters, the trace id of a traceparent.

  friend constexpr auto operator<=>(const RequestId&, const RequestId&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

// The trace id of a W3C traceparent header ("00-<32 hex>-<16 hex>-<2 hex>"). Empty on anything else
// and on the all-zero id, which the specification calls invalid (Trace Context, section 3.2.2.3).
std::optional<RequestId> parse_traceparent(std::string_view text) noexcept;

}  // namespace meridian
