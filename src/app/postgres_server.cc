#include "app/postgres_server.h"

#include "app/config/secret_file.h"
#include "timeline/postgres/server_url.h"

#include <utility>

namespace meridian {

PostgresServer PostgresServer::owned(const PostgresEngine& engine, std::string database) {
  PostgresServer server;
  server.owned_ = true;
  server.url_ =
      "host='" + engine.socket_folder().native() + "' port=" + std::to_string(engine.port());
  server.user_ = PostgresEngine::superuser;
  server.password_ = engine.password();
  server.database_ = std::move(database);
  server.relay_.endpoint = engine.endpoint();
  return server;
}

Result<PostgresServer> PostgresServer::given(const config::TimelineConfig& config,
                                             std::string database) {
  PostgresServer server;
  MERIDIAN_TRY(const ServerAddress address, parse_server_url(config.url));
  server.url_ = config.url;
  server.user_ = address.user;
  server.database_ = address.database.empty() ? std::move(database) : address.database;
  if (!config.password_file.empty()) {
    MERIDIAN_TRY(server.password_, config::read_secret_file(config.password_file));
  }
  Endpoint& endpoint = server.relay_.endpoint;
  if (address.host.starts_with('/')) {
    endpoint.path = address.host + "/.s.PGSQL." + std::to_string(address.port);
  } else {
    endpoint.host = address.host == "localhost" ? "127.0.0.1" : address.host;
    endpoint.port = address.port;
  }
  const std::string mode = !address.sslmode.empty() ? address.sslmode
                           : endpoint.is_local()    ? "disable"
                                                    : "verify-full";
  if (address.sslmode.empty() && !endpoint.is_local()) {
    server.url_ += server.url_.contains('?') ? "&sslmode=verify-full" : "?sslmode=verify-full";
  }
  if (!config.ca.empty()) {
    server.url_ += (server.url_.contains('?') ? "&sslrootcert=" : "?sslrootcert=") + config.ca;
  }
  if (mode != "disable" && endpoint.path.empty()) {
    const bool verify = mode.starts_with("verify");
    MERIDIAN_TRY(server.relay_.tls,
                 make_tls_client({.server_name = {}, .ca_file = config.ca, .verify = verify}));
    if (mode == "verify-full") server.relay_.tls_name = address.host;
  }
  return server;
}

PostgresOptions PostgresServer::admin_options(std::string database) const {
  return {.url = url_,
          .user = user_,
          .password = password_,
          .database = database.empty() ? database_ : std::move(database)};
}

Result<PostgresOptions> PostgresServer::role_options(RoleKeys& keys,
                                                     const std::string& role,
                                                     const std::string& database) const {
  MERIDIAN_TRY(Secret password, keys.password(role));
  constexpr Duration statement_timeout =
      std::chrono::seconds(10);  // As ViewReaderOptions::fill_timeout.
  return PostgresOptions{.url = url_,
                         .user = role,
                         .password = std::move(password),
                         .password_after =
                             [&keys, role](Secret refused, Deadline deadline) {
                               return keys.password_after(role, std::move(refused), deadline);
                             },
                         .database = database,
                         .statement_timeout = statement_timeout,
                         .lock_timeout = PostgresOptions::gives_way};
}

}  // namespace meridian
