#pragma once
// A subject as nats-server quotes it in an error: Go's %q (pkg.go.dev/strconv, Quote).

#include <string>
#include <string_view>

namespace meridian::nats {

// Characters that no version of Unicode has assigned yet are taken for printable ones.
std::string quoted(std::string_view text);

}  // namespace meridian::nats
