#pragma once
// Base64url without padding (RFC 4648, section 5), in its one canonical form.

#include "base/result.h"

#include <string>
#include <string_view>

namespace meridian::jose {

std::string to_base64url(std::string_view bytes);

// Errors: invalid. Refused are padding, white space, the characters + and / of plain base64, a size
// that no bytes encode to, and last characters whose unused bits are not zero: else one token could
// be written in several ways.
Result<std::string> from_base64url(std::string_view text);

}  // namespace meridian::jose
