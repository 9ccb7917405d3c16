#pragma once
// What an issuer's discovery document says (OpenID Connect Discovery 1.0, section 4), and which
// URLs are good for fetching it and its keys.

#include "base/result.h"

#include <string>
#include <string_view>

namespace meridian {

// Errors: invalid. An issuer's URL is https, without query, fragment or user; http only on the
// loopback interface or where `allow_insecure_http`.
Result<void> check_issuer_url(std::string_view url, bool allow_insecure_http);

// The issuer's URL with "/.well-known/openid-configuration" behind it (section 4.1).
std::string discovery_url_of(std::string_view issuer_url);

// The jwks_uri of a document that is this issuer's. Errors: invalid: another issuer (section 4.3),
// or keys over plain http where the issuer itself is not on plain http.
Result<std::string> read_discovery(std::string_view document,
                                   std::string_view issuer_url,
                                   bool allow_insecure_http);

}  // namespace meridian
