#include "app/config/url.h"

#include "base/escape.h"
#include "base/number.h"

#include <algorithm>
#include <cstddef>

namespace meridian::config {
namespace {

constexpr std::size_t url_size_max = 2'048;

bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) noexcept {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Unreserved, general and sub-delimiters, and whole percent triplets (RFC 3986, section 2).
Parsed<void> check_characters(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '%') {
      if (text.size() - i < 3 || !is_hex(text[i + 1]) || !is_hex(text[i + 2])) {
        return std::unexpected("has a % that no two hexadecimal digits follow");
      }
    } else if (!is_letter(c) && !is_digit(c) &&
               !std::string_view("-._~:/?#[]@!$&'()*+,;=").contains(c)) {
      return std::unexpected("has the character " + quote(text.substr(i, 1)) +
                             ", which a URL may hold only percent-encoded");
    }
  }
  return {};
}

// host, host:port or [address]:port (section 3.2.2).
Parsed<void> take_host(std::string_view authority, Url& url) {
  std::string_view port;
  bool has_port = false;
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return std::unexpected("has a [ without its ]");
    url.host = authority.substr(1, end - 1);
    port = authority.substr(end + 1);
    has_port = port.starts_with(':');
    if (!port.empty() && !has_port) return std::unexpected("has text between ] and the port");
    if (has_port) port.remove_prefix(1);
  } else {
    const std::size_t colon = authority.find(':');
    has_port = colon != std::string_view::npos;
    url.host = authority.substr(0, colon);
    if (has_port) port = authority.substr(colon + 1);
  }
  if (url.host.empty()) return std::unexpected("names no host");
  if (url.host.contains(',')) return std::unexpected("names several hosts; one is needed");
  if (!has_port) return {};
  const auto number = parse_number<std::uint16_t>(port);
  if (!number || *number == 0) return std::unexpected("has no port from 1 to 65535 after the host");
  url.port = number;
  return {};
}

}  // namespace

Parsed<Url> parse_url(std::string_view text) {
  if (text.size() > url_size_max) {
    return std::unexpected("is a URL of " + std::to_string(text.size()) + " bytes; at most " +
                           std::to_string(url_size_max));
  }
  if (text.contains("${")) return std::unexpected("names a variable; those are not filled in here");
  if (auto checked = check_characters(text); !checked) return std::unexpected(checked.error());
  const std::size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos || scheme_end == 0) {
    return std::unexpected("is not a URL such as scheme://host");
  }
  Url url;
  for (const char c : text.substr(0, scheme_end)) {
    if (!is_letter(c) && !is_digit(c) && c != '+' && c != '-' && c != '.') {
      return std::unexpected("is not a URL such as scheme://host");
    }
    url.scheme += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  std::string_view rest = text.substr(scheme_end + 3);
  if (const std::size_t hash = rest.find('#'); hash != std::string_view::npos) {
    url.has_fragment = true;
    rest = rest.substr(0, hash);
  }
  if (const std::size_t question = rest.find('?'); question != std::string_view::npos) {
    url.query = std::string(rest.substr(question + 1));
    rest = rest.substr(0, question);
  }
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  url.path = rest.substr(slash);
  std::string_view authority = rest.substr(0, slash);
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    const std::string_view user = authority.substr(0, at);
    const std::size_t colon = user.find(':');
    url.user = user.substr(0, colon);
    url.has_password = colon != std::string_view::npos;
    authority = authority.substr(at + 1);
  }
  if (auto taken = take_host(authority, url); !taken) return std::unexpected(taken.error());
  return url;
}

Parsed<std::vector<Url>> parse_urls(std::string_view text) {
  std::vector<Url> urls;
  for (;;) {
    const std::size_t comma = text.find(',');
    auto url = parse_url(text.substr(0, comma));
    if (!url) return std::unexpected(std::move(url).error());
    urls.push_back(*std::move(url));
    if (comma == std::string_view::npos) return urls;
    if (urls.size() == urls_count_max) {
      return std::unexpected("names more than " + std::to_string(urls_count_max) + " servers");
    }
    text.remove_prefix(comma + 1);
  }
}

}  // namespace meridian::config
