#pragma once
// The program's version, from the build.

#include <string_view>

namespace meridian {

std::string_view version() noexcept;

}  // namespace meridian
