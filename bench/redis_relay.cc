// A bare relay to Redis, to measure what relaying alone costs: decode, look up the command and its
// keys, send over a shared link, hand the reply back. No identity, policy, cache or trail.
//
//   redis_relay LISTEN REDIS      e.g. redis_relay 127.0.0.1:7001 unix:/tmp/redis.sock
//   redis-benchmark -p 7001 -t get,set -c 50 -n 1000000 -P 16

#include "pool/redis/link_pool.h"
#include "pool/redis/socket_connector.h"
#include "runtime/epoll_loop.h"
#include "runtime/socket.h"
#include "wire/resp/command_table.h"
#include "wire/resp/encoder.h"
#include "wire/resp/request_decoder.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using namespace meridian;

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "redis_relay: %s\n", why.c_str());
  std::exit(1);
}

class Relay {
 public:
  Relay(EpollLoop& loop, redis::LinkPool& pool) : loop_(loop), pool_(pool), visits_(loop) {}

  Async<> run(Endpoint endpoint) {
    std::string request;
    resp::append_request(request, {"COMMAND"});
    const auto reply = co_await pool_.call(request, redis::Effect::reads, Deadline::never());
    if (!reply) stop(reply.error().detail());
    auto table = resp::CommandTable::parse(*reply);
    if (!table) stop(table.error().detail());
    table_ = *std::move(table);
    auto listener = Listener::listen(loop_, endpoint);
    if (!listener) stop(listener.error().detail());
    std::printf("listening on %s\n", (*listener)->endpoint().to_string().c_str());
    std::fflush(stdout);
    for (;;) {
      auto socket = co_await (*listener)->accept();
      if (!socket) stop(socket.error().detail());
      visits_.spawn(serve(std::make_unique<SocketStream>(loop_, *std::move(socket))));
    }
  }

 private:
  Async<> serve(std::unique_ptr<Stream> stream) {
    resp::RequestDecoder decoder;
    decoder.set_authenticated(true);
    redis::Exchange exchange;
    std::vector<resp::KeyUse> keys;
    std::array<char, 16 * 1024> buffer;
    std::string out;
    for (;;) {
      const auto size = co_await read_some(*stream, buffer, Deadline::never());
      if (!size || *size == 0) co_return;
      std::string_view input(buffer.data(), *size);
      for (;;) {
        const auto request = decoder.next(input);
        if (!request) co_return;
        if (!*request) break;
        if (!co_await relay(**request, exchange, keys)) co_return;
      }
      while (exchange.replies_left() > 0) {
        (void)co_await exchange.answers();
        if (exchange.failed()) co_return;
        out.clear();
        exchange.take(out);
        if (!co_await write_all(*stream, out, Deadline::never())) co_return;
      }
    }
  }

  Async<bool> relay(const resp::Request request,
                    redis::Exchange& exchange,
                    std::vector<resp::KeyUse>& keys) {
    redis::Link* link = pool_.link_for(exchange, resp::Protocol::resp2);
    const resp::Command* const command = table_.find(request.arguments);
    if (!command || !command->accepts(request.arguments.size())) co_return false;
    (void)command->keys(request.arguments, keys);
    if (!command->may_share_connection(request.arguments)) co_return false;
    if (!link) {
      const auto found =
          co_await pool_.wait_for_link(exchange, resp::Protocol::resp2, Deadline::never());
      if (!found) co_return false;
      link = *found;
    }
    const bool writes = command->flags.has(resp::CommandFlag::write);
    const redis::Effect effect = writes ? redis::Effect::writes : redis::Effect::reads;
    if (request.is_inline) {
      std::string bytes;
      resp::append_request(bytes, request.arguments);
      link->request(exchange, bytes, effect);
    } else {
      link->request(exchange, request.bytes, effect);
    }
    co_return true;
  }

  EpollLoop& loop_;
  redis::LinkPool& pool_;
  resp::CommandTable table_;
  Scope visits_;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) stop("usage: redis_relay LISTEN REDIS");
  const auto listen = Endpoint::parse(arguments[1]);
  const auto server = Endpoint::parse(arguments[2]);
  if (!listen || !server) stop("an endpoint is host:port or unix:/path");
  EpollLoop loop;
  BlockingPool blocking(1);
  Metrics metrics;
  redis::SocketConnector connector(
      loop, blocking, {.endpoint = *server, .tls = {}}, [] { return redis::RedisLogin{}; });
  redis::LinkPool pool(loop, connector, metrics);
  pool.start();
  Relay relay(loop, pool);
  Scope scope(loop);
  scope.spawn(relay.run(*listen));
  loop.run();
  return 0;
}
