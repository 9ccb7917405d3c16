#include "pool/nats/connector.h"

#include "runtime/tls.h"
#include "wire/nats/parser.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace meridian::nats {

Async<Result<std::unique_ptr<Stream>>> Connector::open(Endpoint wanted, Deadline deadline) {
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

// All of them, beginning with another each time; those that failed lately come last.
std::vector<Endpoint> Connector::servers_in_turn() {
  std::vector<Endpoint> servers = options_.endpoints();
  const auto first = static_cast<std::ptrdiff_t>(turn_++ % servers.size());
  std::ranges::rotate(servers, servers.begin() + first);
  const Time now = loop_.now();
  std::erase_if(avoided_until_, [&](const auto& each) { return each.second <= now; });
  std::vector<Endpoint> avoided;
  std::erase_if(servers, [&](const Endpoint& server) {
    if (!avoided_until_.contains(server.to_string())) return false;
    avoided.push_back(server);
    return true;
  });
  servers.insert(servers.end(), avoided.begin(), avoided.end());
  return servers;
}

void Connector::avoid(const Endpoint& server) {
  avoided_until_[server.to_string()] = loop_.now() + avoided_for;
}

Async<Result<Connection>> Connector::connect(Deadline deadline) {
  const std::vector<Endpoint> servers = servers_in_turn();
  Error last(Errc::unavailable, "there is no server");
  for (std::size_t i = 0; i < servers.size(); ++i) {
    // One that is silent leaves time for the others.
    const Time now = loop_.now();
    const auto others = static_cast<std::int64_t>(servers.size() - i);
    const Deadline share = deadline.is_never() || deadline.passed(now)
                               ? deadline
                               : Deadline::at(now + (deadline.time() - now) / others);
    auto connection = co_await connect_to(servers[i], share);
    if (connection) co_return connection;
    last = std::move(connection).error();
    if (last.code() == Errc::cancelled || deadline.passed(loop_.now())) break;
    avoid(servers[i]);
    if (i + 1 < servers.size()) failovers_.add();
  }
  if (servers.size() > 1) {
    co_return fail(last.code(), "no NATS server answers; the last one said: " + last.detail());
  }
  co_return std::unexpected(std::move(last));
}

Async<Result<Connection>> Connector::connect_to(Endpoint server, Deadline deadline) {
  MERIDIAN_CO_TRY(auto stream, co_await open(server, deadline));
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
    const std::string server_name = server.host;
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
  // It is about to stop, and says so: others first.
  if (connection.info.lame_duck) avoid(server);
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

void Connector::add_credentials(ConnectOptions& options, const ServerInfo& info) const {
  // A server that knows no proxies sends no nonce, unless it wants one signed by its users.
  if (options_.proxy_key && !info.nonce.empty()) {
    options.proxy_signature = options_.proxy_key->sign(info.nonce);
  }
  if (options_.secret.empty()) return;
  if (options_.user.empty()) {
    options.auth_token = options_.secret;
  } else {
    options.user = options_.user;
    options.password = options_.secret;
  }
}

}  // namespace meridian::nats
