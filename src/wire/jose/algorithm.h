#pragma once
// The signature algorithms that a token may use (RFC 7518, section 3.1; RFC 8037, section 3.1). All
// are asymmetric: who can verify cannot sign.

#include <cstdint>
#include <optional>
#include <string_view>

namespace meridian::jose {

enum class Algorithm : std::uint8_t { rs256, rs384, rs512, ps256, es256, es384, eddsa };

// The name in headers and keys: "RS256".
std::string_view to_string(Algorithm algorithm) noexcept;

// Empty for every other name: "none", "HS256", "rs256".
std::optional<Algorithm> parse_algorithm(std::string_view name) noexcept;

}  // namespace meridian::jose
