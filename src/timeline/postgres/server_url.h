#pragma once
// A server's address taken out of what libpq calls a connection string.

#include "base/result.h"

#include <cstdint>
#include <string>

namespace meridian {

struct ServerAddress {
  std::string host;  // A name, a literal address, or the folder of a Unix socket.
  std::uint16_t port = 5432;
  std::string user;
  std::string database;
  std::string sslmode;  // Empty: not said.
};

// Errors: invalid, with libpq's words.
Result<ServerAddress> parse_server_url(const std::string& url);

}  // namespace meridian
