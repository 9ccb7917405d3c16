#pragma once
// The operations of the NATS client protocol, from both sides, and how they are written
// (docs.nats.io, NATS Protocol).

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace meridian::nats {

enum class OperationKind : std::uint8_t {
  connect,  // From a client.
  pub,
  hpub,
  sub,
  unsub,
  info,  // From a server.
  msg,
  hmsg,
  ok,
  err,
  ping,  // From both.
  pong,
};
std::string_view to_string(OperationKind kind) noexcept;

// One operation as it was read. The views are into the bytes that it was read from.
struct Operation {
  OperationKind kind{};
  std::string_view raw;  // All of it.
  std::string_view subject;
  std::string_view reply;    // Empty: none.
  std::string_view queue;    // Of SUB; empty: none.
  std::string_view sid;      // Of SUB, UNSUB, MSG, HMSG.
  std::string_view headers;  // With the line NATS/1.0 and the empty one at the end.
  std::string_view payload;
  std::string_view text;  // The JSON of INFO and CONNECT; what -ERR says, without its quotes.
  std::uint64_t max = 0;  // Of UNSUB: after how many messages; 0: at once.
};

// `headers` is a whole block, or empty for a PUB.
void append_publish(std::string& out,
                    std::string_view subject,
                    std::string_view reply,
                    std::string_view headers,
                    std::string_view payload);

// Its line and its headers: what stands before the payload and its CR LF.
void append_publish_begin(std::string& out,
                          std::string_view subject,
                          std::string_view reply,
                          std::string_view headers,
                          std::size_t payload_size);

// Likewise a MSG or HMSG.
void append_message(std::string& out,
                    std::string_view subject,
                    std::string_view sid,
                    std::string_view reply,
                    std::string_view headers,
                    std::string_view payload);

void append_subscribe(std::string& out,
                      std::string_view subject,
                      std::string_view queue,
                      std::string_view sid);
void append_unsubscribe(std::string& out, std::string_view sid, std::uint64_t max);
void append_error(std::string& out, std::string_view text);

inline constexpr std::string_view ping_bytes = "PING\r\n";
inline constexpr std::string_view pong_bytes = "PONG\r\n";
inline constexpr std::string_view ok_bytes = "+OK\r\n";

}  // namespace meridian::nats
