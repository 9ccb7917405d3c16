#pragma once
// A real redis-server of this test's own: in a temporary folder, on a Unix socket, gone with it.

#include "base/result.h"
#include "pool/redis/socket_connector.h"
#include "runtime/blocking_pool.h"
#include "runtime/child.h"
#include "runtime/epoll_loop.h"
#include "test/temporary_folder.h"

#include <memory>
#include <string>
#include <vector>

namespace meridian {

class RealRedis {
 public:
  explicit RealRedis(EpollLoop& loop) noexcept : loop_(loop) {}
  RealRedis(const RealRedis&) = delete;
  RealRedis& operator=(const RealRedis&) = delete;
  ~RealRedis();

  // Starts it with these arguments besides ours, and waits until it answers.
  Async<Result<void>> start(std::vector<std::string> arguments = {});

  // Ends it at once. It may be started again, in the same place.
  void kill();
  void signal(int number) { server_->signal(number); }

  Endpoint endpoint() const { return {.host = {}, .port = 0, .path = folder_ / "redis.sock"}; }

  // Sends bytes on a connection of its own and returns what comes up to `end`, or until the server
  // ends the connection. Both are views that outlive the call.
  Async<Result<std::string>> talk(std::string_view bytes, std::string_view end);

  // A connector to it that logs in with these.
  std::unique_ptr<redis::SocketConnector> connector(redis::RedisLogin login = {});

 private:
  EpollLoop& loop_;
  BlockingPool blocking_{1};
  TemporaryFolder folder_;
  std::unique_ptr<Child> server_;
};

}  // namespace meridian
