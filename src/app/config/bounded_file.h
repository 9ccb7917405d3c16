#pragma once
// A whole file in memory, if it is not larger than it may be.

#include "base/result.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace meridian::config {

// `what` names the file's part in errors: "the configuration". Blocks. Errors: not_found, denied,
// unavailable with the system's reason; invalid when it has more than `bytes_max`.
Result<std::string> read_bounded_file(const std::string& file,
                                      std::size_t bytes_max,
                                      std::string_view what);

}  // namespace meridian::config
