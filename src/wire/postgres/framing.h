#pragma once
// Re-framing: where one PostgreSQL message ends and the next begins, in either direction. Every
// message's type and length are checked against a table before a byte of its body is believed or
// kept, so a relay forwards nothing that the other side could read differently.
//
// A Framer sees one direction of one connection after its start-up packet. It does no I/O, keeps no
// bytes, and looks at headers alone.

#include "base/assert.h"
#include "base/result.h"
#include "wire/postgres/bytes.h"
#include "wire/postgres/message_type.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace meridian::postgres {

// The most that a message of a kind may say it is: its length field, which counts itself and not
// the type. Whoever must hold a message whole sizes buffers by these; a streamable one can be
// passed on in parts.
struct FramingLimits {
  std::uint32_t message_bytes_max = 1U << 30;    // Streamable: Bind, CopyData, DataRow, ...
  std::uint32_t buffered_bytes_max = 1U << 24;   // Query, Parse, errors, row descriptions.
  std::uint32_t password_bytes_max = 17 * 1024;  // A token of 16 KiB and what SASL wraps around it.
  std::uint32_t small_bytes_max = 64 * 1024;     // Names, tags, settings, notifications.
};

// What the front of a buffer holds.
struct Frame {
  enum class Status : std::uint8_t {
    whole,    // size bytes, all there.
    partial,  // missing more bytes make it whole, or complete the header when size is 0.
    refused,  // Not a message of this direction within the limits: Framer::refusal() says why.
  };
  Status status = Status::partial;
  char type = 0;            // 0 while the header is incomplete.
  bool streamable = false;  // The parts may be passed on as they come; see Framer::pass().
  std::uint64_t size = 0;   // With the type and the length field.
  std::uint64_t missing = 0;

  FrontendType frontend() const noexcept { return static_cast<FrontendType>(type); }
  BackendType backend() const noexcept { return static_cast<BackendType>(type); }
};

inline constexpr std::size_t header_bytes = 5;

// The table of one direction under given limits; made once and shared by all connections.
class FramingRules {
 public:
  // Requires limits below 2 GiB, where PostgreSQL's own lengths end.
  explicit FramingRules(Sender sender, const FramingLimits& limits = {});

  struct Rule {
    std::uint32_t length_min = 1;  // An unknown type has a minimum above its maximum.
    std::uint32_t length_max = 0;
    bool streamable = false;
    const char* limit = nullptr;  // The name of the limit that length_max is.
  };
  const Rule& operator[](char type) const noexcept {
    return rules_[static_cast<unsigned char>(type)];
  }
  Sender sender() const noexcept { return sender_; }

 private:
  Sender sender_;
  std::array<Rule, 256> rules_;
};

class Framer {
 public:
  // `rules` outlive the framer.
  explicit Framer(const FramingRules& rules) noexcept : rules_(&rules) {}

  // The message at the front of `bytes`. Requires !passing().
  Frame next(std::string_view bytes) const noexcept {
    MERIDIAN_ASSERT(rest_ == 0);
    Frame frame;
    if (bytes.size() < header_bytes) {
      frame.missing = header_bytes - bytes.size();
      return frame;
    }
    frame.type = bytes[0];
    const auto length = load_big_endian<std::uint32_t>(bytes.data() + 1);
    const FramingRules::Rule& rule = (*rules_)[frame.type];
    if (length < rule.length_min || length > rule.length_max) [[unlikely]] {
      frame.status = Frame::Status::refused;
      return frame;
    }
    frame.streamable = rule.streamable;
    frame.size = std::uint64_t{length} + 1;
    if (bytes.size() >= frame.size) [[likely]] {
      frame.status = Frame::Status::whole;
    } else {
      frame.missing = frame.size - bytes.size();
    }
    return frame;
  }

  // Why next() refused what `bytes` begins with: names the type, the length and the limit.
  Error refusal(std::string_view bytes) const;

  // Passes a partial message on in parts: `available` bytes of it (header included) leave now, and
  // take() says how many of the bytes to come still belong to it. Requires a partial frame.
  void pass(const Frame& frame, std::size_t available) noexcept {
    MERIDIAN_ASSERT(rest_ == 0 && frame.size > available);
    rest_ = frame.size - available;
  }

  // How many of `available` bytes belong to the message being passed; they are counted as gone.
  std::size_t take(std::size_t available) noexcept {
    const std::uint64_t taken = std::min<std::uint64_t>(rest_, available);
    rest_ -= taken;
    return static_cast<std::size_t>(taken);
  }

  // In the middle of a message that is passed on in parts.
  bool passing() const noexcept { return rest_ != 0; }
  std::uint64_t rest() const noexcept { return rest_; }

 private:
  const FramingRules* rules_;
  std::uint64_t rest_ = 0;
};

}  // namespace meridian::postgres
