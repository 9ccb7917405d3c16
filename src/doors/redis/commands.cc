#include "doors/redis/commands.h"

#include "wire/resp/encoder.h"

#include <algorithm>
#include <array>

namespace meridian {

bool is_free_command(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 15> free{"command",
                                                  "command|count",
                                                  "command|docs",
                                                  "command|getkeys",
                                                  "command|getkeysandflags",
                                                  "command|info",
                                                  "command|list",
                                                  "discard",
                                                  "echo",
                                                  "exec",
                                                  "multi",
                                                  "ping",
                                                  "time",
                                                  "unwatch",
                                                  "lolwut"};
  return std::ranges::find(free, name) != free.end();
}

ChannelUse channel_use(std::string_view name) noexcept {
  if (name == "subscribe" || name == "ssubscribe") return ChannelUse::subscribe;
  if (name == "psubscribe") return ChannelUse::subscribe_pattern;
  if (name == "unsubscribe" || name == "sunsubscribe" || name == "punsubscribe")
    return ChannelUse::unsubscribe;
  if (name == "publish" || name == "spublish") return ChannelUse::publish;
  return ChannelUse::none;
}

std::string to_request_bytes(const resp::Request& request) {
  if (!request.is_inline) return std::string(request.bytes);
  std::string bytes;
  resp::append_request(bytes, request.arguments);
  return bytes;
}

}  // namespace meridian
