#include "gate/discovery.h"

#include "base/escape.h"
#include "wire/json/reader.h"

#include <algorithm>
#include <fmt/format.h>

namespace meridian {
namespace {

constexpr std::size_t url_size_max = 2'048;

struct Url {
  bool secure = false;
  std::string_view host;  // Without the port; an IPv6 address without its brackets.
};

// Scheme and host of an absolute URL of printable characters without user and fragment.
Result<Url> parse_url(std::string_view url) {
  const auto refuse = [&](std::string_view why) {
    return fail(Errc::invalid, fmt::format("the URL {} {}", quote(url), why));
  };
  if (url.size() > url_size_max) return refuse("is too long");
  if (!std::ranges::all_of(url, [](char c) { return c > 0x20 && c < 0x7f; })) {
    return refuse("has characters that must be escaped");
  }
  Url parsed;
  std::string_view rest = url;
  if (rest.starts_with("https://")) {
    parsed.secure = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return refuse("begins with neither https:// nor http://");
  }
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  if (authority.contains('@') || authority.contains('\\')) return refuse("names a user");
  if (rest.contains('#')) return refuse("has a fragment");
  const bool bracketed = authority.starts_with('[');
  const std::size_t end = bracketed ? authority.find(']') : authority.find(':');
  parsed.host =
      authority.substr(bracketed ? 1 : 0, bracketed && end != authority.npos ? end - 1 : end);
  if (parsed.host.empty()) return refuse("names no host");
  return parsed;
}

// Addresses that never leave this machine. Names are taken as they are written, not looked up.
bool is_loopback(std::string_view host) noexcept {
  if (host == "localhost" || host == "::1") return true;
  return host.starts_with("127.") &&
         std::ranges::all_of(host, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

}  // namespace

Result<void> check_issuer_url(std::string_view url, bool allow_insecure_http) {
  MERIDIAN_TRY(const Url parsed, parse_url(url));
  if (url.contains('?')) {
    return fail(Errc::invalid, fmt::format("the issuer's URL {} has a query", quote(url)));
  }
  if (!parsed.secure && !allow_insecure_http && !is_loopback(parsed.host)) {
    return fail(Errc::invalid,
                fmt::format("the issuer's URL {} is plain http; use https, or say "
                            "allow_insecure_http: true",
                            quote(url)));
  }
  return {};
}

std::string discovery_url_of(std::string_view issuer_url) {
  if (issuer_url.ends_with('/')) issuer_url.remove_suffix(1);
  return std::string(issuer_url) + "/.well-known/openid-configuration";
}

Result<std::string> read_discovery(std::string_view document,
                                   std::string_view issuer_url,
                                   bool allow_insecure_http) {
  auto parsed = json::parse(document);
  if (!parsed) return fail_while("the discovery document", parsed.error());
  auto issuer = parsed->string_at("issuer");
  if (!issuer) return fail_while("the discovery document", issuer.error());
  if (*issuer != issuer_url) {
    return fail(
        Errc::invalid,
        fmt::format(
            "the discovery document is of issuer {}, not {}", quote(*issuer), quote(issuer_url)));
  }
  auto keys_url = parsed->string_at("jwks_uri");
  if (!keys_url) return fail_while("the discovery document", keys_url.error());
  MERIDIAN_TRY(const Url url, parse_url(*keys_url));
  MERIDIAN_TRY(const Url home, parse_url(issuer_url));
  const bool local = !home.secure && is_loopback(home.host) && is_loopback(url.host);
  if (!url.secure && !local && !allow_insecure_http) {
    return fail(Errc::invalid,
                fmt::format("the discovery document's jwks_uri {} is not https", quote(*keys_url)));
  }
  return std::string(*keys_url);
}

}  // namespace meridian
