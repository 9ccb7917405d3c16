#pragma once
// WebSocket's frames, as a server reads and writes them (RFC 6455, section 5). Does no I/O.
//
// Messages carry a stream of bytes here: where one ends does not matter, and text is as good as
// binary. No extension is spoken, so compression never comes.

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace meridian::websocket {

enum class Opcode : std::uint8_t {
  continuation = 0x0,
  text = 0x1,
  binary = 0x2,
  close = 0x8,
  ping = 0x9,
  pong = 0xa,
};

// Section 7.4.1.
enum class CloseCode : std::uint16_t { normal = 1000, going_away = 1001, protocol_error = 1002 };

// What a client sends: the payload of data frames, however all of it was split.
class Decoder {
 public:
  // Leaves the payload that is in `bytes` at their front and returns its size. An error is the
  // code to close with, and there is no next call.
  std::expected<std::size_t, CloseCode> unwrap(std::span<char> bytes);

  // The client has said goodbye; what follows is not looked at.
  bool closed() const noexcept { return closed_; }

  // What is to be sent back: an answer to the last ping, or to the goodbye. At most one frame.
  std::string take_answer() { return std::exchange(answer_, {}); }
  bool has_answer() const noexcept { return !answer_.empty(); }

 private:
  static constexpr std::size_t header_size_max = 14;
  static constexpr std::size_t control_size_max = 125;

  std::size_t header_size() const noexcept;
  std::expected<void, CloseCode> begin_frame();
  void end_control();

  std::array<unsigned char, header_size_max> header_{};
  std::size_t header_filled_ = 0;
  bool in_payload_ = false;
  Opcode opcode_ = Opcode::binary;
  bool in_message_ = false;  // A continuation may follow.
  std::uint64_t left_ = 0;   // Of the payload.
  std::array<unsigned char, 4> mask_{};
  std::size_t mask_at_ = 0;
  std::string control_;
  std::string answer_;
  bool closed_ = false;
};

// The header of a whole, unmasked frame: behind it stand `size` bytes of payload.
struct Header {
  std::array<char, 10> bytes{};
  std::size_t size = 0;
  std::string_view view() const noexcept { return {bytes.data(), size}; }
};
Header make_header(Opcode opcode, std::uint64_t size) noexcept;
std::string make_close(CloseCode code);

// Sec-WebSocket-Accept for a Sec-WebSocket-Key (section 4.2.2).
std::string accept_value(std::string_view key);

// Whether it is 16 bytes of base64, as section 4.1 wants it.
bool is_key(std::string_view key) noexcept;

}  // namespace meridian::websocket
