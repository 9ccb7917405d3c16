// The redis door given hostile bytes, before and after a login, split as the input says: it neither
// crashes nor hangs, tells nobody anything before a login, and leaves nothing behind.
//
// The first byte says how: bit 0 logs in first, bit 1 in RESP3, bit 2 lets Redis break in between;
// the rest of it is the size of the pieces.

#include "runtime/log.h"
#include "sim/redis_door_node.h"
#include "wire/resp/encoder.h"
#include "wire/resp/reply_framer.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace meridian::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Reads what there is, and says that nobody who was not admitted is told a value.
void drain(SimStream& stream, bool admitted) {
  std::array<char, 4'096> buffer;
  std::string received;
  for (;;) {
    const Transfer transfer = stream.try_read(buffer);
    if (transfer.size == 0) break;
    received.append(buffer.data(), transfer.size);
  }
  resp::ReplyFramer framer;
  std::string_view input = received;
  bool begins = true;
  while (!admitted && !input.empty()) {
    const auto piece = framer.next(input);
    MERIDIAN_ASSERT(piece);
    // Errors, and what QUIT and RESET are answered.
    if (begins)
      MERIDIAN_ASSERT(piece->bytes.front() == '-' || piece->bytes == "+OK\r\n" ||
                      piece->bytes == "+RESET\r\n");
    begins = piece->last;
  }
}

void run(std::string_view input) {
  const auto how = static_cast<std::uint8_t>(input.front());
  input.remove_prefix(1);
  const bool logs_in = (how & 1U) != 0;
  RedisDoorNode node(how);
  node.start();
  const auto pass = [&](Duration time) {
    (void)node.loop.run(node.loop.now().time_since_epoch() + time);
  };
  pass(milliseconds(5));
  {
    auto stream = node.connect({.buffered_max = 1 << 20});
    if (logs_in) {
      const std::string token = node.world.issuer.mint(node.loop.wall_now(), "worker:1");
      std::string request;
      resp::append_request(request,
                           {"HELLO", (how & 2U) != 0 ? "3" : "2", "AUTH", "worker", token});
      (void)stream->try_write(request);
      pass(milliseconds(5));
    }
    const std::size_t piece = 1 + (how >> 3U) * std::size_t{37};
    while (!input.empty()) {
      (void)stream->try_write(input.substr(0, piece));
      input.remove_prefix(std::min(piece, input.size()));
      if ((how & 4U) != 0 && input.size() % 3 == 0) node.sim_redis.break_connections();
      pass(milliseconds(1));
    }
    pass(seconds(1));
    drain(*stream, logs_in);
    pass(seconds(1));
    drain(*stream, true);
  }
  Scope last(node.loop);
  last.spawn(node.stop());
  while (!node.stopped)
    pass(seconds(1));
  MERIDIAN_ASSERT(node.host.visits_count() == 0 && node.registry.count() == 0);
  MERIDIAN_ASSERT(node.role_visits() == 0 && node.left_count == node.connected_count);
  MERIDIAN_ASSERT(node.world.metrics.total("meridian_redis_links") == 0);
}

}  // namespace
}  // namespace meridian::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 4'096) return 0;
  meridian::set_log_level(meridian::LogLevel::error);
  meridian::testing::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
