#include "pool/nats/connector.h"

#include "runtime/tls.h"
#include "wire/nats/parser.h"

#include <array>
#include <span>
#include <utility>
#include <vector>

namespace meridian::nats {

Async<Result<std::unique_ptr<Stream>>> Connector::open(Deadline deadline) {
  const Endpoint wanted = options_.endpoint();
  if (!wanted.is_unix() && wanted.port == 0) {
    co_return fail(Errc::unavailable, "the NATS server has not come up yet");
  }
  MERIDIAN_CO_TRY(auto resolved,
                  co_await blocking_.run([endpoint = wanted] { return resolve(endpoint); }));
  MERIDIAN_CO_TRY(const std::vector<Endpoint> endpoints, std::move(resolved));
  Error last(Errc::unavailable, wanted.to_string() + " has no address");
  for (const Endpoint& endpoint : endpoints) {
    auto socket = co_await meridian::connect(loop_, endpoint, deadline);
    if (socket) co_return std::make_unique<SocketStream>(loop_, *std::move(socket));
    last = std::move(socket).error();
    if (last.code() == Errc::cancelled || last.code() == Errc::timeout) break;
  }
  co_return std::unexpected(std::move(last));
}

Async<Result<Connection>> Connector::connect(Deadline deadline) {
  MERIDIAN_CO_TRY(auto stream, co_await open(deadline));
  connects_.add();
  Connection connection{.stream = std::move(stream), .info = {}, .rest = {}};
  Parser parser(Sender::server, {});
  std::array<char, 4'096> buffer;
  for (;;) {
    MERIDIAN_CO_TRY(const std::size_t size,
                    co_await read_some(*connection.stream, std::span(buffer), deadline));
    if (size == 0) co_return fail(Errc::unavailable, "the NATS server closed the connection");
    std::string_view input(buffer.data(), size);
    const auto operation = parser.next(input);
    if (!operation || (*operation && (*operation)->kind != OperationKind::info)) {
      co_return fail(Errc::invalid, "it does not begin with INFO, as a NATS server does");
    }
    if (!*operation) continue;
    MERIDIAN_CO_TRY(connection.info, parse_info((*operation)->text));
    connection.rest = input;
    break;
  }
  // Secrets go nowhere in plain text where TLS was asked for, whatever the server says.
  if (options_.tls) {
    const std::string server_name = options_.endpoint().host;
    auto encrypted = co_await TlsStream::connect(std::move(connection.stream),
                                                 options_.tls,
                                                 {.deadline = deadline,
                                                  .already_read = connection.rest,
                                                  .alpn = {},
                                                  .server_name = server_name});
    if (!encrypted) co_return fail_while("TLS with NATS", encrypted.error());
    connection.stream = *std::move(encrypted);
    connection.rest.clear();
  } else if (connection.info.tls_required) {
    co_return fail(Errc::unavailable, "the NATS server wants TLS: write tls:// in nats.url");
  }
  info_ = connection.info;
  co_return connection;
}

Async<Result<ServerInfo>> Connector::server_info(Deadline deadline) {
  if (!info_) {
    MERIDIAN_CO_TRY(const Connection connection, co_await connect(deadline));
    connection.stream->close();
  }
  co_return *info_;
}

void Connector::add_credentials(ConnectOptions& options) const {
  if (options_.secret.empty()) return;
  if (options_.user.empty()) {
    options.auth_token = options_.secret;
  } else {
    options.user = options_.user;
    options.password = options_.secret;
  }
}

}  // namespace meridian::nats
