#pragma once
// What the http door answers: health, metrics, discovery, keys, token exchange, status; and to this
// machine's operator over the node's own Unix socket, the command line's requests.
//
// On the main loop.

#include "app/config/config.h"
#include "app/ingest_service.h"
#include "app/outbox_service.h"
#include "app/timeline_service.h"
#include "base/metrics.h"
#include "cache/view_reader.h"
#include "doors/http/door.h"
#include "engines/supervisor.h"
#include "gate/gate.h"
#include "gate/own_issuer.h"
#include "gate/token_exchange.h"
#include "gate/trail/trail_writer.h"
#include "pool/pool_set.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace meridian {

struct HttpServiceParts {
  EpollLoop& loop;
  const std::shared_ptr<const config::Config>& config;  // Of now; a reload replaces it.
  Metrics& metrics;
  trail::TrailWriter& trail;
  Gate& gate;
  OwnIssuer& issuer;
  TokenExchange& exchange;
  TimelineService& timeline;
  const Published<ViewSet>& views;
  const Published<Policy>& policy;
  ViewCache cache;
  PoolSet& pools;
  std::vector<std::pair<std::string, const Supervisor*>> engines;  // Those that are owned.
  OutboxService* outbox = nullptr;                                 // Null where there is no NATS.
  std::vector<std::pair<std::string, std::string>> doors;          // Name and address.
  IngestService* ingest;                                           // Likewise.
  std::function<Result<std::string>()>
      reload;  // Reads the configuration again; says what came of it.
};

class HttpService final : public HttpHandler {
 public:
  explicit HttpService(HttpServiceParts parts) : parts_(std::move(parts)) {}

  Async<http::Response> handle(http::Request request,
                               HttpCaller caller,
                               Deadline deadline) override;

  void set_doors(std::vector<std::pair<std::string, std::string>> doors) {
    parts_.doors = std::move(doors);
  }

 private:
  http::Response ready() const;
  http::Response status() const;
  Async<http::Response> exchange(http::Request request, HttpCaller caller, Deadline deadline);

  // Admin (http_admin.cc).
  Async<http::Response> administer(std::string path,
                                   http::Request request,
                                   HttpCaller caller,
                                   Deadline deadline);
  http::Response mint(const json::Value& body, const HttpCaller& caller);
  Async<http::Response> revoke(json::Value body, HttpCaller caller, Deadline deadline);
  Async<http::Response> test_policy(json::Value body, Deadline deadline);
  Async<http::Response> outbox_status();
  Async<http::Response> resume_outbox(json::Value body, HttpCaller caller, Deadline deadline);
  Async<http::Response> outbox_dead_letters(Deadline deadline);
  Async<http::Response> administer_ingest(std::string action,
                                          json::Value body,
                                          HttpCaller caller,
                                          Deadline deadline);
  http::Response list_views() const;
  http::Response list_roles() const;
  Result<void> record(const HttpCaller& caller, std::string_view action, std::string_view detail);

  HttpServiceParts parts_;
};

}  // namespace meridian
