#include "wire/nats/nkey.h"

#include "base/assert.h"

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace meridian::nats {
namespace {

constexpr std::size_t key_size = 32;
constexpr std::size_t checksum_size = 2;
constexpr unsigned char seed_kind = 18 << 3;  // "S" in base32.
constexpr std::string_view base32_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

// CRC-16/XMODEM.
std::uint16_t checksum_of(std::string_view bytes) noexcept {
  std::uint16_t sum = 0;
  for (const char c : bytes) {
    sum = static_cast<std::uint16_t>(sum ^ (static_cast<unsigned char>(c) << 8));
    for (int bit = 0; bit < 8; ++bit) {
      const bool carry = (sum & 0x8000) != 0;
      sum = static_cast<std::uint16_t>(sum << 1);
      if (carry) sum = static_cast<std::uint16_t>(sum ^ 0x1021);
    }
  }
  return sum;
}

std::string checksum_bytes(std::string_view bytes) {
  const std::uint16_t sum = checksum_of(bytes);
  return {static_cast<char>(sum & 0xff), static_cast<char>(sum >> 8)};
}

// RFC 4648, section 6, without padding; bits that are left over must be none.
std::optional<std::string> from_base32(std::string_view text) {
  std::string bytes;
  std::uint32_t held = 0;
  int bits = 0;
  for (const char c : text) {
    const std::size_t digit = base32_digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    held = held << 5 | static_cast<std::uint32_t>(digit);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes += static_cast<char>(held >> bits & 0xff);
      held &= (1U << bits) - 1;
    }
  }
  if (held != 0 || bits >= 5) return std::nullopt;
  return bytes;
}

std::string to_base32(std::string_view bytes) {
  std::string text;
  std::uint32_t held = 0;
  int bits = 0;
  for (const char c : bytes) {
    held = held << 8 | static_cast<unsigned char>(c);
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += base32_digits[held >> bits & 31];
    }
    held &= (1U << bits) - 1;
  }
  if (bits > 0) text += base32_digits[held << (5 - bits) & 31];
  return text;
}

std::string to_base64url(std::string_view bytes) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  std::uint32_t held = 0;
  int bits = 0;
  for (const char c : bytes) {
    held = held << 8 | static_cast<unsigned char>(c);
    bits += 8;
    while (bits >= 6) {
      bits -= 6;
      text += digits[held >> bits & 63];
    }
    held &= (1U << bits) - 1;
  }
  if (bits > 0) text += digits[held << (6 - bits) & 63];
  return text;
}

struct FreeKey {
  void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

Key to_key(const Secret& seed) {
  const std::string_view bytes = seed.reveal();
  Key key(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519,
                                       nullptr,
                                       reinterpret_cast<const unsigned char*>(bytes.data()),
                                       bytes.size()));
  MERIDIAN_ASSERT(key != nullptr);
  return key;
}

}  // namespace

Result<Nkey> Nkey::from_seed(const Secret& seed) {
  auto decoded = from_base32(seed.reveal());
  if (!decoded) return fail(Errc::invalid, "it is not base32");
  const Secret bytes(*std::move(decoded));
  const std::string_view all = bytes.reveal();
  if (all.size() != 2 + key_size + checksum_size) {
    return fail(Errc::invalid, "its size is not that of an nkey's seed");
  }
  const std::string_view body = all.substr(0, 2 + key_size);
  if (checksum_bytes(body) != all.substr(body.size())) {
    return fail(Errc::invalid, "its checksum is wrong");
  }
  const auto first = static_cast<unsigned char>(body[0]);
  const auto second = static_cast<unsigned char>(body[1]);
  if ((first & 0xf8) != seed_kind) return fail(Errc::invalid, "it is no seed, which begins with S");
  Nkey key;
  // The kind of the key lies across the two bytes.
  key.kind_ = static_cast<unsigned char>((first & 7) << 5 | (second & 0xf8) >> 3);
  key.key_ = Secret(std::string(body.substr(2)));
  return key;
}

std::string Nkey::public_key() const {
  const Key key = to_key(key_);
  std::array<unsigned char, key_size> raw{};
  std::size_t size = raw.size();
  MERIDIAN_ASSERT(EVP_PKEY_get_raw_public_key(key.get(), raw.data(), &size) == 1);
  std::string bytes(1, static_cast<char>(kind_));
  bytes.append(reinterpret_cast<const char*>(raw.data()), size);
  return to_base32(bytes + checksum_bytes(bytes));
}

std::string Nkey::sign(std::string_view nonce) const {
  const Key key = to_key(key_);
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  MERIDIAN_ASSERT(context != nullptr);
  MERIDIAN_ASSERT(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1);
  std::array<unsigned char, 64> signature{};
  std::size_t size = signature.size();
  MERIDIAN_ASSERT(EVP_DigestSign(context.get(),
                                 signature.data(),
                                 &size,
                                 reinterpret_cast<const unsigned char*>(nonce.data()),
                                 nonce.size()) == 1);
  return to_base64url({reinterpret_cast<const char*>(signature.data()), size});
}

}  // namespace meridian::nats
