#pragma once
// The parts of a URL, strictly (RFC 3986): what the configuration must look at before it trusts
// one.

#include "app/config/problems.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::config {

// Percent-encoding is checked and kept.
struct Url {
  std::string scheme;  // Lower case.
  std::string user;
  bool has_password = false;  // Which is not kept.
  std::string host;           // An IPv6 address without its brackets.
  std::optional<std::uint16_t> port;
  std::string path;  // With its leading slash; or empty.
  std::optional<std::string> query;
  bool has_fragment = false;
};

// Errors never repeat the text: a refused URL may hold a password.
Parsed<Url> parse_url(std::string_view text);

// Several with commas between them; at least one. Errors: as of parse_url(), and too many.
inline constexpr std::size_t urls_count_max = 16;
Parsed<std::vector<Url>> parse_urls(std::string_view text);

}  // namespace meridian::config
