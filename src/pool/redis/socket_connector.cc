#include "pool/redis/socket_connector.h"

#include "runtime/tls.h"

#include <utility>
#include <vector>

namespace meridian::redis {

Async<Result<std::unique_ptr<Stream>>> SocketConnector::connect(Deadline deadline) {
  MERIDIAN_CO_TRY(auto resolved, co_await blocking_.run([endpoint = options_.endpoint] {
    return resolve(endpoint);
  }));
  MERIDIAN_CO_TRY(const std::vector<Endpoint> endpoints, std::move(resolved));
  Error last(Errc::unavailable, options_.endpoint.to_string() + " has no address");
  for (const Endpoint& endpoint : endpoints) {
    auto socket = co_await meridian::connect(loop_, endpoint, deadline);
    if (!socket) {
      last = std::move(socket).error();
      if (last.code() == Errc::cancelled || last.code() == Errc::timeout) break;
      continue;
    }
    std::unique_ptr<Stream> stream = std::make_unique<SocketStream>(loop_, *std::move(socket));
    if (!options_.tls) co_return stream;
    auto encrypted = co_await TlsStream::connect(std::move(stream),
                                                 options_.tls,
                                                 {.deadline = deadline,
                                                  .already_read = {},
                                                  .alpn = {},
                                                  .server_name = options_.endpoint.host});
    if (!encrypted) co_return fail_while("TLS with Redis", encrypted.error());
    stream = *std::move(encrypted);
    co_return stream;
  }
  co_return std::unexpected(std::move(last));
}

Async<Result<RedisLogin>> SocketConnector::login(Deadline /*deadline*/) {
  co_return login_();
}

}  // namespace meridian::redis
