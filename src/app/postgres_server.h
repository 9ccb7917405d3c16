#pragma once
// The PostgreSQL behind the timeline, owned or given: how libpq and the relaying backends reach it.

#include "app/config/config.h"
#include "base/secret.h"
#include "engines/postgres_engine.h"
#include "pool/connector.h"
#include "timeline/postgres/role_keys.h"
#include "timeline/postgres/session.h"

#include <memory>
#include <string>

namespace meridian {

class PostgresServer {
 public:
  // The owned engine.
  static PostgresServer owned(const PostgresEngine& engine, std::string database);

  // The server of timeline.url. Errors: invalid (the URL, the password file, the authorities).
  static Result<PostgresServer> given(const config::TimelineConfig& config, std::string database);

  bool is_owned() const noexcept { return owned_; }
  const std::string& database() const noexcept { return database_; }

  // As the user that owns Meridian's schema. Another database when one is named.
  PostgresOptions admin_options(std::string database = {}) const;

  // As a login role, with the password that `keys`, which outlive the use, keep. Errors: not_found.
  Result<PostgresOptions> role_options(RoleKeys& keys,
                                       const std::string& role,
                                       const std::string& database) const;

  ServerOptions relay_options() const { return relay_; }

 private:
  bool owned_ = false;
  std::string url_;
  std::string user_;
  Secret password_;
  std::string database_;
  ServerOptions relay_;
};

}  // namespace meridian
