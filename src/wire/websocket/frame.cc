#include "wire/websocket/frame.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>

namespace meridian::websocket {
namespace {

constexpr std::uint8_t final_bit = 0x80;
constexpr std::uint8_t reserved_bits = 0x70;
constexpr std::uint8_t mask_bit = 0x80;
constexpr std::uint8_t size_bits = 0x7f;
constexpr std::uint8_t size_in_2_bytes = 126;
constexpr std::uint8_t size_in_8_bytes = 127;

bool is_control(std::uint8_t opcode) noexcept {
  return (opcode & 0x8) != 0;
}

}  // namespace

// Of the header whose first bytes are there; two of them say how long it is.
std::size_t Decoder::header_size() const noexcept {
  constexpr std::size_t least = 2;
  constexpr std::size_t mask_size = 4;
  if (header_filled_ < least) return least;
  const std::uint8_t said = header_[1] & size_bits;
  const std::size_t size_size = said == size_in_8_bytes ? 8 : said == size_in_2_bytes ? 2 : 0;
  return least + size_size + mask_size;
}

std::expected<void, CloseCode> Decoder::begin_frame() {
  const std::uint8_t opcode = header_[0] & 0x0f;
  const bool final = (header_[0] & final_bit) != 0;
  const std::uint8_t said = header_[1] & size_bits;
  const std::size_t size_size = said == size_in_8_bytes ? 8 : said == size_in_2_bytes ? 2 : 0;
  std::uint64_t size = size_size == 0 ? said : 0;
  for (std::size_t i = 0; i < size_size; ++i)
    size = size << 8 | header_[2 + i];
  if (size >> 63 != 0) return std::unexpected(CloseCode::protocol_error);
  switch (static_cast<Opcode>(opcode)) {
    case Opcode::continuation:
      if (!in_message_) return std::unexpected(CloseCode::protocol_error);
      in_message_ = !final;
      break;
    case Opcode::text:
    case Opcode::binary:
      if (in_message_) return std::unexpected(CloseCode::protocol_error);
      in_message_ = !final;
      break;
    case Opcode::close:
    case Opcode::ping:
    case Opcode::pong:
      if (!final || size > control_size_max) return std::unexpected(CloseCode::protocol_error);
      control_.clear();
      break;
    default:
      return std::unexpected(CloseCode::protocol_error);
  }
  opcode_ = static_cast<Opcode>(opcode);
  left_ = size;
  std::copy_n(header_.begin() + 2 + static_cast<std::ptrdiff_t>(size_size), 4, mask_.begin());
  mask_at_ = 0;
  in_payload_ = true;
  header_filled_ = 0;
  return {};
}

void Decoder::end_control() {
  if (opcode_ == Opcode::ping) {
    answer_ = std::string(make_header(Opcode::pong, control_.size()).view()) + control_;
  } else if (opcode_ == Opcode::close) {
    // Its code and nothing of its text.
    control_.resize(control_.size() < 2 ? 0 : 2);
    answer_ = std::string(make_header(Opcode::close, control_.size()).view()) + control_;
    closed_ = true;
  }
}

std::expected<std::size_t, CloseCode> Decoder::unwrap(std::span<char> bytes) {
  std::size_t out = 0;
  std::size_t in = 0;
  while (in < bytes.size() && !closed_) {
    if (!in_payload_) {
      header_[header_filled_++] = static_cast<unsigned char>(bytes[in++]);
      if (header_filled_ == 1 && (header_[0] & reserved_bits) != 0) {
        return std::unexpected(CloseCode::protocol_error);
      }
      // A client masks every frame (section 5.1).
      if (header_filled_ == 2 && (header_[1] & mask_bit) == 0) {
        return std::unexpected(CloseCode::protocol_error);
      }
      if (header_filled_ < header_size()) continue;
      if (auto begun = begin_frame(); !begun) return std::unexpected(begun.error());
    }
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size() - in));
    const bool control = is_control(static_cast<std::uint8_t>(opcode_));
    for (std::size_t i = 0; i < size; ++i) {
      const char c =
          static_cast<char>(static_cast<unsigned char>(bytes[in + i]) ^ mask_[(mask_at_ + i) & 3]);
      if (control) {
        control_ += c;
      } else {
        bytes[out + i] = c;
      }
    }
    mask_at_ = (mask_at_ + size) & 3;
    if (!control) out += size;
    in += size;
    left_ -= size;
    if (left_ != 0) break;
    in_payload_ = false;
    if (control) end_control();
  }
  return out;
}

Header make_header(Opcode opcode, std::uint64_t size) noexcept {
  Header header;
  const auto put = [&](std::uint64_t byte) {
    header.bytes[header.size++] = static_cast<char>(static_cast<unsigned char>(byte & 0xff));
  };
  put(final_bit | static_cast<std::uint8_t>(opcode));
  if (size < size_in_2_bytes) {
    put(size);
    return header;
  }
  const int size_size = size <= UINT16_MAX ? 2 : 8;
  put(size_size == 2 ? size_in_2_bytes : size_in_8_bytes);
  for (int i = size_size - 1; i >= 0; --i)
    put(size >> (8 * i));
  return header;
}

std::string make_close(CloseCode code) {
  std::string frame(make_header(Opcode::close, 2).view());
  const auto number = static_cast<std::uint16_t>(code);
  frame += static_cast<char>(number >> 8);
  frame += static_cast<char>(number & 0xff);
  return frame;
}

std::string accept_value(std::string_view key) {
  const std::string joined = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, SHA_DIGEST_LENGTH> digest{};
  ::SHA1(reinterpret_cast<const unsigned char*>(joined.data()), joined.size(), digest.data());
  std::array<unsigned char, 32> text{};  // 20 bytes are 28 characters, and a NUL.
  const int size = EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(digest.size()));
  return {reinterpret_cast<const char*>(text.data()), static_cast<std::size_t>(size)};
}

bool is_key(std::string_view key) noexcept {
  if (key.size() != 24 || !key.ends_with("==")) return false;
  return std::ranges::all_of(key.substr(0, 22), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
  });
}

}  // namespace meridian::websocket
