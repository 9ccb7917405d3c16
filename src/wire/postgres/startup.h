#pragma once
// What a client sends first: a request for TLS or GSS, a cancel, or the StartupMessage (protocol
// documentation, "Start-up" and "Message Formats"). Parsed results are views of the given bytes.
//
// Nothing here has been authenticated: parameters are to be applied after that, and never on a
// connection that Meridian uses for itself.

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace meridian::postgres {

inline constexpr std::size_t startup_bytes_max = 64 * 1024;
inline constexpr std::size_t startup_parameters_max = 64;

// A protocol version as it travels: major << 16 | minor.
struct ProtocolVersion {
  std::uint16_t major = 3;
  std::uint16_t minor = 0;

  std::uint32_t code() const noexcept { return std::uint32_t{major} << 16 | minor; }
  friend auto operator<=>(const ProtocolVersion&, const ProtocolVersion&) = default;
};
inline constexpr ProtocolVersion version_3_0{3, 0};
inline constexpr ProtocolVersion version_3_2{3, 2};

// What the first bytes of a connection look like.
enum class Opening : std::uint8_t {
  unclear,     // More bytes are needed (8 always suffice).
  foreign,     // Not PostgreSQL's protocol.
  direct_tls,  // A TLS ClientHello at once (PostgreSQL 17); ALPN must be "postgresql".
  ssl_request,
  gss_request,
  cancel,
  startup,
};

// Looks at `head` only, so that several doors can share a port. Never wrong about `foreign`, except
// that a startup may still turn out to be one on parsing.
Opening recognise(std::string_view head) noexcept;

struct SslRequest {};
struct GssRequest {};

// `key` is as long as the client was given: 4 bytes in protocol 3.0, up to 256 in 3.2. It is a
// secret: compare in constant time, do not log.
struct CancelRequest {
  std::uint32_t process_id = 0;
  std::string_view key;
};

struct Parameter {
  std::string_view name;
  std::string_view value;
};

struct StartupMessage {
  ProtocolVersion version;  // As asked for: the minor version may be one that nobody knows.
  std::vector<Parameter> parameters;  // In the order sent; `user` is there and not empty.

  // The last one of that name, as PostgreSQL takes it; null when absent.
  const Parameter* find(std::string_view name) const noexcept;
  std::string_view user() const noexcept;
  std::string_view database() const noexcept;  // The user's name when the client names none.
};

using FirstPacket = std::variant<SslRequest, GssRequest, CancelRequest, StartupMessage>;

// How many bytes the packet at the front of `head` has; 0 while fewer than 4 bytes are there.
// Errors: invalid for a length below 8 or above startup_bytes_max.
Result<std::size_t> first_packet_bytes(std::string_view head);

// `received` is everything that has come: the whole packet and nothing else. That nothing follows
// is part of the check: bytes sent in clear behind a request for encryption would later be taken
// for encrypted ones (CVE-2021-23214), and every other packet here is answered before more may
// come. Errors: invalid.
Result<FirstPacket> parse_first_packet(std::string_view received);

// What to answer to a version or `_pq_.` options that are not known here (protocol 3.2 is).
struct Negotiation {
  ProtocolVersion version;                     // In force from now on.
  std::vector<std::string_view> unrecognised;  // Names of the options.
  bool needed = false;  // Send NegotiateProtocolVersion, before authentication.
};
Negotiation negotiate(const StartupMessage& startup, ProtocolVersion newest = version_3_2);

}  // namespace meridian::postgres
