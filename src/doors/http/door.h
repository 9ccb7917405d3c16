#pragma once
// The http door: HTTP/1.1 for health, metrics, discovery, token exchange, and the command line's
// requests.
//
// It frames requests and responses; what they mean is the handler's.

#include "base/metrics.h"
#include "doors/door.h"
#include "runtime/loop.h"
#include "runtime/tls.h"
#include "wire/http/decoder.h"
#include "wire/http/message.h"

#include <memory>

namespace meridian {

// Who asks, beside what is asked.
struct HttpCaller {
  VisitId visit;
  RequestId request;  // From the traceparent header, or the visit's.
  Peer peer;
  bool encrypted = false;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;

  // Answers one request. Several may be under way for several visits.
  virtual Async<http::Response> handle(http::Request request,
                                       HttpCaller caller,
                                       Deadline deadline) = 0;
};

struct HttpDoorLimits {
  // For a request to come in whole, and for its answer.
  Duration request_timeout = std::chrono::seconds(10);
  Duration idle_timeout = std::chrono::seconds(60);  // Between two requests.
  http::RequestLimits requests{};
};

struct HttpDoorParts {
  Loop& loop;
  HttpHandler& handler;
  const TlsServer* tls;  // Null: none.
  Metrics& metrics;
  HttpDoorLimits limits{};
};

std::unique_ptr<Door> make_http_door(HttpDoorParts parts);

}  // namespace meridian
