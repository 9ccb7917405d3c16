#include "engines/secret_file.h"

#include "base/escape.h"
#include "engines/owned_file.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace meridian {
namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::size_t chance_size = 32;
constexpr std::size_t text_size = (chance_size * 8 + 5) / 6;

}  // namespace

Secret make_secret(Random& random) {
  std::array<std::uint8_t, chance_size> chance{};
  random.fill_secret(chance);
  std::string text;
  text.reserve(text_size);
  std::uint32_t bits = 0;
  int bits_count = 0;
  for (const std::uint8_t byte : chance) {
    bits = (bits << 8 | byte) & 0xffff;
    bits_count += 8;
    while (bits_count >= 6) {
      bits_count -= 6;
      text += alphabet[(bits >> bits_count) & 63];
    }
  }
  text += alphabet[(bits << (6 - bits_count)) & 63];
  wipe(reinterpret_cast<char*>(chance.data()), chance.size());
  return Secret(std::move(text));
}

Result<std::optional<Secret>> load_secret(const std::filesystem::path& path) {
  MERIDIAN_TRY(auto text, read_file(path, text_size + 1));
  if (!text) return std::nullopt;
  if (text->ends_with('\n')) text->pop_back();
  Secret secret(std::move(*text));
  if (secret.reveal().size() != text_size ||
      secret.reveal().find_first_not_of(alphabet) != std::string_view::npos) {
    return fail(Errc::invalid,
                quote(path.native(), 1024) +
                    " does not hold a secret that Meridian made (43 characters of base64url); "
                    "restore it from a backup");
  }
  return secret;
}

Result<Secret> store_new_secret(const std::filesystem::path& path, Random& random) {
  Secret secret = make_secret(random);
  MERIDIAN_CHECK(replace_file(path, secret.reveal()));
  return secret;
}

Result<Secret> load_or_make_secret(const std::filesystem::path& path, Random& random) {
  MERIDIAN_TRY(auto secret, load_secret(path));
  if (secret) return std::move(*secret);
  return store_new_secret(path, random);
}

}  // namespace meridian
