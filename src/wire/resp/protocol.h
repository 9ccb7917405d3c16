#pragma once
// The two versions of the Redis protocol (RESP) that a connection can speak, and the numbers in it.

#include <cstdint>
#include <optional>
#include <string_view>

namespace meridian::resp {

enum class Protocol : std::uint8_t { resp2 = 2, resp3 = 3 };

// A whole number as Redis itself accepts it: one spelling for each number, so no "+1", "01", "-0"
// or blanks. Two readers of the same bytes then never see two numbers.
std::optional<std::int64_t> parse_integer(std::string_view text) noexcept;

// Whether Redis takes this argument for that word, which is written in lower case. It compares
// without case and, in C, only up to the first NUL: "STORE\0x" is STORE.
bool is_keyword(std::string_view argument, std::string_view word) noexcept;

}  // namespace meridian::resp
