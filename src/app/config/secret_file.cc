#include "app/config/secret_file.h"

#include "app/config/bounded_file.h"
#include "base/escape.h"

#include <utility>

namespace meridian::config {

Result<Secret> read_secret_file(const std::string& file) {
  constexpr std::string_view what = "the secret file";
  MERIDIAN_TRY(std::string text, read_bounded_file(file, secret_bytes_max, what));
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  Secret secret(std::move(text));
  const auto refuse = [&](std::string_view why) {
    return fail(Errc::invalid, std::string(what) + " " + quote(file) + " " + std::string(why));
  };
  if (secret.empty()) return refuse("is empty");
  if (secret.reveal().find_first_of(std::string_view("\0\r\n", 3)) != std::string_view::npos) {
    return refuse("has more than one line, or a NUL; it holds the secret and nothing else");
  }
  return secret;
}

}  // namespace meridian::config
