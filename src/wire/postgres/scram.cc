#include "wire/postgres/scram.h"

#include "base/assert.h"
#include "base/number.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <fmt/format.h>
#include <optional>

namespace meridian::postgres {
namespace {

constexpr std::size_t nonce_random_bytes = 18;        // As libpq: 24 characters in base64.
constexpr std::string_view gs2_header = "n,,";        // No channel binding, no other identity.
constexpr std::string_view channel_binding = "biws";  // The header above in base64.

const unsigned char* octets(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string_view text_of(const ScramKey& key) noexcept {
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

ScramKey hmac(std::string_view key, std::string_view message) noexcept {
  ScramKey result;
  unsigned int size = 0;
  const auto* const done = HMAC(EVP_sha256(),
                                key.data(),
                                static_cast<int>(key.size()),
                                octets(message),
                                message.size(),
                                result.data(),
                                &size);
  MERIDIAN_ASSERT(done && size == result.size());
  return result;
}

ScramKey sha256(const ScramKey& bytes) noexcept {
  ScramKey result;
  unsigned int size = 0;
  MERIDIAN_ASSERT(
      EVP_Digest(bytes.data(), bytes.size(), result.data(), &size, EVP_sha256(), nullptr) == 1);
  MERIDIAN_ASSERT(size == result.size());
  return result;
}

// SaltedPassword of RFC 5802, section 3.
ScramKey stretch(std::string_view password, std::string_view salt, std::uint32_t iterations) {
  ScramKey result;
  MERIDIAN_ASSERT(PKCS5_PBKDF2_HMAC(password.data(),
                                    static_cast<int>(password.size()),
                                    octets(salt),
                                    static_cast<int>(salt.size()),
                                    static_cast<int>(iterations),
                                    EVP_sha256(),
                                    static_cast<int>(result.size()),
                                    result.data()) == 1);
  return result;
}

std::string to_base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(
      reinterpret_cast<unsigned char*>(text.data()), octets(bytes), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

// Only the canonical form: EVP_DecodeBlock alone would skip white space around it.
std::optional<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : (text.ends_with('=') ? 1 : 0);
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(
      reinterpret_cast<unsigned char*>(bytes.data()), octets(text), static_cast<int>(text.size()));
  if (size != static_cast<int>(bytes.size())) return std::nullopt;
  bytes.resize(bytes.size() - padding);
  if (to_base64(bytes) != text) return std::nullopt;
  return bytes;
}

std::string make_nonce(Random& random) {
  std::array<std::uint8_t, nonce_random_bytes> bytes;
  random.fill_secret(bytes);
  return to_base64({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// Takes "<letter>=<value>" from the front of a comma-separated list.
std::optional<std::string_view> take_attribute(std::string_view& list, char letter) noexcept {
  if (list.size() < 2 || list[0] != letter || list[1] != '=') return std::nullopt;
  list.remove_prefix(2);
  const std::size_t end = std::min(list.find(','), list.size());
  const std::string_view value = list.substr(0, end);
  list.remove_prefix(std::min(end + 1, list.size()));
  return value;
}

std::unexpected<Error> malformed(std::string_view what) {
  return fail(Errc::invalid, fmt::format("SCRAM: the server's message {}", what));
}

Result<void> check_password(const Secret& password) {
  constexpr std::size_t password_bytes_max = 1024;
  const bool printable =
      std::ranges::all_of(password.reveal(), [](char c) { return c >= ' ' && c <= '~'; });
  if (password.empty() || !printable || password.reveal().size() > password_bytes_max) {
    return fail(Errc::invalid,
                "SCRAM: a password must have 1 to 1024 characters, all of them printable ASCII");
  }
  return {};
}

}  // namespace

Result<ScramPassword> ScramPassword::make(Secret password) {
  MERIDIAN_CHECK(check_password(password));
  return ScramPassword(std::move(password));
}

ScramPassword::~ScramPassword() {
  OPENSSL_cleanse(&keys_, sizeof keys_);
}

const ScramPassword::Keys& ScramPassword::derive(std::string_view salt, std::uint32_t iterations) {
  if (iterations_ == iterations && salt_ == salt) return keys_;
  ScramKey salted = stretch(password_.reveal(), salt, iterations);
  keys_ = {.client = hmac(text_of(salted), "Client Key"),
           .server = hmac(text_of(salted), "Server Key")};
  OPENSSL_cleanse(salted.data(), salted.size());
  salt_ = salt;
  iterations_ = iterations;
  return keys_;
}

ScramClient::ScramClient(ScramPassword& password, Random& random, ScramLimits limits)
    : ScramClient(password, {}, make_nonce(random), limits) {}

ScramClient::ScramClient(ScramPassword& password,
                         std::string_view user,
                         std::string nonce,
                         ScramLimits limits)
    : password_(password),
      limits_(limits),
      nonce_(std::move(nonce)),
      first_(fmt::format("{}n={},r={}", gs2_header, user, nonce_)) {}

Result<std::string> ScramClient::final(std::string_view server_first) {
  std::string_view list = server_first;
  const auto nonce = take_attribute(list, 'r');
  const auto salt_text = nonce ? take_attribute(list, 's') : std::nullopt;
  const auto iterations_text = salt_text ? take_attribute(list, 'i') : std::nullopt;
  if (!iterations_text || !list.empty()) return malformed("is not r=...,s=...,i=...");
  if (nonce->size() > limits_.nonce_bytes_max) {
    return malformed(fmt::format(
        "has a nonce of {} bytes; nonce_bytes_max={}", nonce->size(), limits_.nonce_bytes_max));
  }
  const auto printable = [](char c) { return c > ' ' && c <= '~'; };  // RFC 5802, section 7.
  if (!std::ranges::all_of(*nonce, printable)) return malformed("has an unprintable nonce");
  if (!nonce->starts_with(nonce_) || nonce->size() == nonce_.size())
    return malformed("does not continue our nonce");
  if (salt_text->size() / 4 * 3 > limits_.salt_bytes_max)
    return malformed(fmt::format("has a salt above salt_bytes_max={}", limits_.salt_bytes_max));
  const auto salt = from_base64(*salt_text);
  if (!salt || salt->empty()) return malformed("has a salt that is no base64");
  const auto iterations = parse_number<std::uint32_t>(*iterations_text);
  if (!iterations || *iterations < limits_.iterations_min || *iterations > limits_.iterations_max) {
    return malformed(fmt::format("asks for an iteration count outside {} to iterations_max={}",
                                 limits_.iterations_min,
                                 limits_.iterations_max));
  }

  // RFC 5802, section 3.
  const ScramPassword::Keys& keys = password_.derive(*salt, *iterations);
  std::string message = fmt::format("c={},r={}", channel_binding, *nonce);
  const std::string authentication_message = fmt::format(
      "{},{},{}", std::string_view(first_).substr(gs2_header.size()), server_first, message);
  ScramKey proof = hmac(text_of(sha256(keys.client)), authentication_message);
  for (std::size_t i = 0; i < proof.size(); ++i)
    proof[i] ^= keys.client[i];
  server_signature_ = hmac(text_of(keys.server), authentication_message);
  proved_ = true;
  return fmt::format("{},p={}", message, to_base64(text_of(proof)));
}

Result<void> ScramClient::verify(std::string_view server_final) const {
  constexpr std::size_t error_bytes_max = 64;
  if (!proved_) return fail(Errc::invalid, "SCRAM: the server ends what it has not begun");
  std::string_view list = server_final;
  if (const auto error = take_attribute(list, 'e')) {
    // Only names of RFC 5802, section 7, are worth repeating; the text is the server's.
    const bool known = error->size() <= error_bytes_max && std::ranges::all_of(*error, [](char c) {
                         return (c >= 'a' && c <= 'z') || c == '-';
                       });
    return fail(Errc::denied,
                fmt::format("SCRAM: the server refuses: {}", known ? *error : "unknown error"));
  }
  const auto signature = take_attribute(list, 'v');
  if (!signature || !list.empty()) return malformed("is not v=...");
  if (!equal_in_constant_time(*signature, to_base64(text_of(server_signature_))))
    return malformed("has a wrong signature: it does not know the role's verifier");
  return {};
}

Result<std::string> make_scram_verifier(const Secret& password,
                                        std::span<const std::uint8_t> salt,
                                        std::uint32_t iterations) {
  MERIDIAN_CHECK(check_password(password));
  MERIDIAN_ASSERT(!salt.empty() && iterations > 0 && iterations <= 0x7fffffff);
  const std::string_view salt_text(reinterpret_cast<const char*>(salt.data()), salt.size());
  ScramKey salted = stretch(password.reveal(), salt_text, iterations);
  ScramKey client = hmac(text_of(salted), "Client Key");
  const ScramKey stored = sha256(client);
  const ScramKey server = hmac(text_of(salted), "Server Key");
  OPENSSL_cleanse(salted.data(), salted.size());
  OPENSSL_cleanse(client.data(), client.size());
  return fmt::format("{}${}:{}${}:{}",
                     scram_mechanism,
                     iterations,
                     to_base64(salt_text),
                     to_base64(text_of(stored)),
                     to_base64(text_of(server)));
}

}  // namespace meridian::postgres
