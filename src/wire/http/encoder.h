#pragma once
// Writes HTTP/1.1 responses (RFC 9112).

#include "base/time.h"
#include "wire/http/message.h"

#include <string>

namespace meridian::http {

struct ResponseContext {
  WallTime now;            // For Date (RFC 9110, section 6.6.1).
  bool keep_alive = true;  // Of the request; false also where the server wants to end.
  bool head = false;       // The request was HEAD: the body is measured and not sent.
};

// The whole response. Line ends and NULs in header values become spaces, so that a value from
// outside cannot begin a header of its own.
std::string encode(const Response& response, const ResponseContext& context);

// What a client waits for that sent "Expect: 100-continue".
inline constexpr std::string_view continue_response = "HTTP/1.1 100 Continue\r\n\r\n";

// "Sat, 21 Nov 2026 08:15:30 GMT" (RFC 9110, section 5.6.7).
std::string to_http_date(WallTime time);

}  // namespace meridian::http
