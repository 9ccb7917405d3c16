#pragma once
// A Fetcher gets documents from outside over HTTP or HTTPS: an issuer's discovery document and its
// keys.
//
// Implementations: CurlFetcher, and SimFetcher in simulation. It never follows a redirect, never
// speaks another protocol, and takes no more time and bytes than it is told.
//
// Belongs to one loop.

#include "base/result.h"
#include "base/time.h"
#include "runtime/async.h"

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace meridian {

struct FetchRequest {
  std::string url;  // http://... or https://...
  Duration connect_timeout = std::chrono::seconds(2);
  Duration total_timeout = std::chrono::seconds(5);
  std::size_t body_size_max = 65'536;
  std::size_t headers_size_max = 65'536;  // Of all responses together that a server may send first.
};

struct FetchResponse {
  int status = 200;  // A redirect is a response like any other.
  std::string content_type = {};
  std::string body = {};
  std::optional<Duration> max_age = {};  // Of Cache-Control; zero where it forbids keeping.
};

class Fetcher {
 public:
  virtual ~Fetcher() = default;

  // Errors: invalid (another protocol), timeout, exhausted (body_size_max,
  // headers_size_max), unavailable (no
  // connection, a certificate that is not good), cancelled.
  virtual Async<Result<FetchResponse>> get(FetchRequest request) = 0;
};

}  // namespace meridian
