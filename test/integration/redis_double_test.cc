// SimRedis, which simulations rely on, says what redis-server says: the same requests get the same
// bytes from both.

#include "base/escape.h"
#include "base/function_ref.h"
#include "redis/real_redis.h"
#include "redis/sim_redis.h"
#include "runtime/scope.h"
#include "runtime/sim/sim_stream.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace meridian {
namespace {

constexpr std::string_view end_mark = "$7\r\nthe end\r\n";

// What a fresh SimRedis answers to these bytes.
std::string ask_double(std::string_view bytes) {
  SimLoop loop(1);
  SimRedis redis(loop);
  Scope scope(loop);
  std::string answer;
  auto [ours, theirs] = SimStream::make_pair(loop, {});
  redis.accept(std::move(theirs));
  scope.spawn(
      [](SimRedis& server, Stream& stream, std::string_view request, std::string& out) -> Async<> {
        EXPECT_TRUE(co_await write_all(stream, request, Deadline::never()));
        std::array<char, 1'024> buffer;
        while (!out.ends_with(end_mark)) {
          const auto size = co_await read_some(stream, buffer, Deadline::never());
          if (!size || *size == 0) break;
          out.append(buffer.data(), *size);
        }
        co_await server.stop();
      }(redis, *ours, bytes, answer));
  loop.run(std::chrono::seconds(10));
  return answer;
}

TEST(SimRedis, SaysWhatRedisSays) {
  const std::vector<std::string> scripts{
      "PING\nPING hello\nECHO hello\nSELECT 0\nCLIENT SETNAME x\nCLIENT GETNAME\n",
      "GET a\nSET a 1\nGET a\nEXISTS a a b\nDEL a b\nGET a\nUNLINK a\n",
      "INCR n\nINCR n\nGET n\nSET n x\nINCR n\nSET n 9223372036854775807\nINCR n\nEXPIRE n 10\n"
      "EXPIRE m 10\n",
      "MULTI\nSET a 1\nINCR a\nGET b\nEXEC\nGET a\n",
      "MULTI\nMULTI\nSET a 1\nDISCARD\nGET a\nDISCARD\nEXEC\n",
      "MULTI\nNOPE x\nSET a 1\nEXEC\nGET a\n",
      "MULTI\nGET\nEXEC\nMULTI\nINCR a\nRESET\nGET a\n",
      "get\nGET a b\nset a\nnope\nNOPE a b\n",
      "SUBSCRIBE c d\nPING\nPING x\nGET a\nUNSUBSCRIBE c\nUNSUBSCRIBE\nUNSUBSCRIBE\nGET a\n",
      "SUBSCRIBE c\nRESET\nGET a\nPUBLISH c x\n",
      "*1\r\n$4\r\nPING\r\n\r\n*0\r\nPING\r\n",
  };
  EpollLoop loop;
  RealRedis server(loop);
  Scope scope(loop);
  const auto compare = [&]() -> Async<> {
    EXPECT_TRUE(co_await server.start());
    for (const bool resp3 : {false, true}) {
      for (const std::string& script : scripts) {
        (void)co_await server.talk("FLUSHALL\nECHO \"the end\"\n", end_mark);
        // The greetings differ in what nobody simulates, so they end before the script begins.
        const std::string greeting = resp3 ? "HELLO 3\n" : "HELLO 2\n";
        const std::string whole = greeting + "ECHO start\n" + script + "RESET\nECHO \"the end\"\n";
        const auto behind_start = [](std::string_view answer) {
          constexpr std::string_view start = "$5\r\nstart\r\n";
          return std::string(answer.substr(std::min(answer.find(start), answer.size())));
        };
        const auto real = co_await server.talk(whole, end_mark);
        EXPECT_TRUE(real);
        EXPECT_EQ(behind_start(ask_double(whole)), behind_start(real.value_or("")))
            << escape(script) << (resp3 ? " RESP3" : " RESP2");
      }
    }
    loop.stop();
  };
  scope.spawn(compare());
  loop.run();
}

}  // namespace
}  // namespace meridian
