#pragma once
// A secret from the file that a setting ending in _file names.

#include "base/result.h"
#include "base/secret.h"

#include <cstddef>
#include <string>

namespace meridian::config {

inline constexpr std::size_t secret_bytes_max = std::size_t{64} << 10U;

// The file's bytes without the line break at the end. Blocks. Errors, with the file's name and
// never its content: not_found, denied, unavailable; invalid when it is empty, too large, or holds
// a NUL or several lines.
Result<Secret> read_secret_file(const std::string& file);

}  // namespace meridian::config
