#pragma once
// Connections to the NATS servers behind, each for one visit: one server, or those of a cluster in
// turn, of which some may be away.
//
// Belongs to one loop.

#include "base/metrics.h"
#include "base/secret.h"
#include "runtime/blocking_pool.h"
#include "runtime/epoll_loop.h"
#include "runtime/socket.h"
#include "wire/nats/handshake.h"
#include "wire/nats/nkey.h"

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct ssl_ctx_st;

namespace meridian::nats {

struct ConnectorOptions {
  std::function<std::vector<Endpoint>()> endpoints;  // Of now; at least one. Any thread.
  std::shared_ptr<ssl_ctx_st> tls{};                 // From make_tls_client(); empty for none.
  std::string user{};                                // Empty: the secret is the server's token.
  Secret secret{};                                   // Empty: none is asked for.
  std::optional<Nkey> proxy_key{};  // As whom the server trusts us (2.12 and later).
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
                                  "Connections made to the NATS server behind.")),
        failovers_(metrics.counter("meridian_nats_failovers_total",
                                   "Servers that did not answer, so that another was tried.")) {}

  // Errors: unavailable, timeout, cancelled; invalid when it is no NATS.
  Async<Result<Connection>> connect(Deadline deadline);

  // What the server said of itself last; it is asked when nobody did so yet. Errors: as connect().
  Async<Result<ServerInfo>> server_info(Deadline deadline);

  // What we are known as there, by the server that has said `info`.
  void add_credentials(ConnectOptions& options, const ServerInfo& info) const;

 private:
  // A server that failed is not the first choice for a while.
  static constexpr Duration avoided_for = std::chrono::seconds(5);

  Async<Result<std::unique_ptr<Stream>>> open(Endpoint server, Deadline deadline);
  Async<Result<Connection>> connect_to(Endpoint server, Deadline deadline);
  std::vector<Endpoint> servers_in_turn();
  void avoid(const Endpoint& server);

  EpollLoop& loop_;
  BlockingPool& blocking_;
  ConnectorOptions options_;
  Counter& connects_;
  Counter& failovers_;
  std::size_t turn_ = 0;
  std::map<std::string, Time> avoided_until_;  // By address; no more than there are servers.
  std::optional<ServerInfo> info_;
};

}  // namespace meridian::nats
