#pragma once
// The small language of the startup parameter `options`, as PGOPTIONS and drivers write it:
// "-c name=value", "-cname=value" and "--name=value", separated by white space, a backslash taking
// the next character as it is (PostgreSQL documentation, "postgres" and "libpq: options").

#include "base/result.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::postgres {

inline constexpr std::size_t options_bytes_max = 8 * 1024;
inline constexpr std::size_t options_settings_max = 64;

// One run-time setting. The name is as PostgreSQL would look it up, in lower case with '_' for '-'.
struct Setting {
  std::string name;
  std::string value;
  friend bool operator==(const Setting&, const Setting&) = default;
};

// Errors: invalid, for a switch other than these, a setting without '=', an empty or impossible
// name (CVE-2026-107349: "-c=" made a parser loop for ever), or more than the bounds above.
Result<std::vector<Setting>> parse_options(std::string_view options);

}  // namespace meridian::postgres
