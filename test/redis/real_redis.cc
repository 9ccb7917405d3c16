#include "redis/real_redis.h"

#include "runtime/socket.h"

#include <array>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

}  // namespace

RealRedis::~RealRedis() {
  kill();
}

void RealRedis::kill() {
  server_.reset();  // Kills and reaps it.
}

Async<Result<void>> RealRedis::start(std::vector<std::string> arguments) {
  std::vector<std::string> command{"/usr/bin/redis-server",
                                   "--port",
                                   "0",
                                   "--unixsocket",
                                   endpoint().path,
                                   "--save",
                                   "",
                                   "--appendonly",
                                   "no",
                                   "--enable-debug-command",
                                   "yes"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  auto started = Child::start(loop_,
                              {.command = std::move(command),
                               .directory = folder_.path(),
                               .log_file = folder_ / "redis.log"});
  if (!started) co_return std::unexpected(std::move(started).error());
  server_ = *std::move(started);
  const Deadline deadline = loop_.after(seconds(60));
  for (;;) {
    const auto answer = co_await talk("PING\r\n", "\r\n");
    if (answer && !answer->starts_with("-LOADING")) co_return Result<void>();
    if (deadline.passed(loop_.now())) co_return fail(Errc::timeout, "redis-server does not answer");
    (void)co_await loop_.sleep(milliseconds(5));
  }
}

Async<Result<std::string>> RealRedis::talk(std::string_view bytes, std::string_view end) {
  const Deadline deadline = loop_.after(seconds(60));
  MERIDIAN_CO_TRY(Socket socket, co_await connect(loop_, endpoint(), deadline));
  SocketStream stream(loop_, std::move(socket));
  // An early error makes the server close while we write; what it said is still there to read.
  (void)co_await write_all(stream, bytes, deadline);
  std::string answer;
  std::array<char, 65'536> buffer;
  while (!answer.ends_with(end)) {
    MERIDIAN_CO_TRY(const std::size_t size, co_await read_some(stream, buffer, deadline));
    if (size == 0) break;
    answer.append(buffer.data(), size);
  }
  co_return answer;
}

std::unique_ptr<redis::SocketConnector> RealRedis::connector(redis::RedisLogin login) {
  return std::make_unique<redis::SocketConnector>(
      loop_,
      blocking_,
      redis::SocketConnectorOptions{.endpoint = endpoint(), .tls = {}},
      [login = std::move(login)] { return login; });
}

}  // namespace meridian
