#pragma once
// Connections to a Redis server over a Unix socket or TCP, with TLS if it is asked for.

#include "pool/redis/connector.h"
#include "runtime/blocking_pool.h"
#include "runtime/epoll_loop.h"
#include "runtime/socket.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

struct ssl_ctx_st;

namespace meridian::redis {

struct SocketConnectorOptions {
  Endpoint endpoint;
  std::shared_ptr<ssl_ctx_st> tls{};  // From make_tls_client(); empty for none.
};

class SocketConnector final : public RedisConnector {
 public:
  using LoginSource = std::function<RedisLogin()>;

  // `login` gives the secret of now, at once. `blocking` resolves names. Both outlive the
  // connector.
  SocketConnector(EpollLoop& loop,
                  BlockingPool& blocking,
                  SocketConnectorOptions options,
                  LoginSource login)
      : loop_(loop), blocking_(blocking), options_(std::move(options)), login_(std::move(login)) {}

  Async<Result<std::unique_ptr<Stream>>> connect(Deadline deadline) override;
  Async<Result<RedisLogin>> login(Deadline deadline) override;

 private:
  EpollLoop& loop_;
  BlockingPool& blocking_;
  SocketConnectorOptions options_;
  LoginSource login_;
};

}  // namespace meridian::redis
