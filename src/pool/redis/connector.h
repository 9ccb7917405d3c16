#pragma once
// How connections to the Redis server behind come about.
//
// Implementations: SocketConnector (pool/redis/socket_connector.h), and in simulation whatever
// hands out one end of a simulated stream. Belongs to one loop.

#include "base/result.h"
#include "base/secret.h"
#include "runtime/async.h"
#include "runtime/deadline.h"
#include "runtime/stream.h"

#include <memory>
#include <string>

namespace meridian::redis {

struct RedisLogin {
  std::string user = "default";
  Secret password;  // Empty: the server asks for none, and AUTH is not sent.
};

class RedisConnector {
 public:
  virtual ~RedisConnector() = default;

  // A fresh connection to the server, encrypted if it is to be. Errors: unavailable, timeout,
  // exhausted, invalid, cancelled.
  virtual Async<Result<std::unique_ptr<Stream>>> connect(Deadline deadline) = 0;

  // What to log in with now; asked for each login, because secrets rotate.
  virtual Async<Result<RedisLogin>> login(Deadline deadline) = 0;
};

}  // namespace meridian::redis
