#pragma once
// Connections to the NATS server behind, each for one visit.
//
// Belongs to one loop.

#include "base/metrics.h"
#include "base/secret.h"
#include "runtime/blocking_pool.h"
#include "runtime/epoll_loop.h"
#include "runtime/socket.h"
#include "wire/nats/handshake.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

struct ssl_ctx_st;

namespace meridian::nats {

struct ConnectorOptions {
  std::function<Endpoint()> endpoint;  // Of now. Any thread.
  std::shared_ptr<ssl_ctx_st> tls{};   // From make_tls_client(); empty for none.
  std::string user{};                  // Empty: the secret is the server's token.
  Secret secret{};                     // Empty: none is asked for.
};

// A connection that has introduced itself, and to which nothing was said yet.
struct Connection {
  std::unique_ptr<Stream> stream;
  ServerInfo info;
  std::string rest;  // What came after its INFO.
};

class Connector {
 public:
  // `blocking` resolves names and outlives the connector.
  Connector(EpollLoop& loop, BlockingPool& blocking, ConnectorOptions options, Metrics& metrics)
      : loop_(loop),
        blocking_(blocking),
        options_(std::move(options)),
        connects_(metrics.counter("meridian_nats_connects_total",
                                  "Connections made to the NATS server behind.")) {}

  // Errors: unavailable, timeout, cancelled; invalid when it is no NATS.
  Async<Result<Connection>> connect(Deadline deadline);

  // What the server said of itself last; it is asked when nobody did so yet. Errors: as connect().
  Async<Result<ServerInfo>> server_info(Deadline deadline);

  // What we are known as there.
  void add_credentials(ConnectOptions& options) const;

 private:
  Async<Result<std::unique_ptr<Stream>>> open(Deadline deadline);

  EpollLoop& loop_;
  BlockingPool& blocking_;
  ConnectorOptions options_;
  Counter& connects_;
  std::optional<ServerInfo> info_;
};

}  // namespace meridian::nats
