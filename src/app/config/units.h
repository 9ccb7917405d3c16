#pragma once
// Durations, sizes and dates as people write them: "1h30m", "64 MiB", "2027-01-31".
//
// A number without its unit is refused: whoever reads the file must not have to guess. What is
// printed reads back as the same value.

#include "app/config/problems.h"
#include "base/time.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace meridian::config {

// Whole numbers, each with its unit (d, h, m, s, ms, us), the larger unit first: "250ms", "1h30m".
Parsed<Duration> parse_duration(std::string_view text);
std::string print_duration(Duration duration);  // Requires whole microseconds, not negative.

// A whole number and B, KiB, MiB, GiB or TiB.
Parsed<std::uint64_t> parse_bytes(std::string_view text);
std::string print_bytes(std::uint64_t bytes);

// YYYY-MM-DD (ISO 8601), a day that exists.
Parsed<std::chrono::sys_days> parse_date(std::string_view text);
std::string print_date(std::chrono::sys_days day);

}  // namespace meridian::config
