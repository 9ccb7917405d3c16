#include "engines/redis_config.h"

#include <array>
#include <cstddef>
#include <fmt/format.h>

namespace meridian {

std::string quote_redis_word(std::string_view word) {
  std::string quoted = "\"";
  for (const char c : word) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

Secret to_redis_conf(const RedisServerConfig& config) {
  constexpr std::array<std::string_view, 3> policies{"noeviction", "volatile-lru", "allkeys-lru"};
  return Secret(fmt::format(
      R"(port 0
unixsocket {socket}
unixsocketperm 700
protected-mode yes
requirepass {password}
enable-debug-command no
enable-module-command no
enable-protected-configs no
daemonize no
databases 1
dir {folder}
logfile ""
save ""
appendonly {durable}
appendfsync everysec
maxmemory {memory}
maxmemory-policy {policy}
)",
      fmt::arg("socket", quote_redis_word(config.socket.native())),
      fmt::arg("password", quote_redis_word(config.password.reveal())),
      fmt::arg("folder", quote_redis_word(config.folder.native())),
      fmt::arg("durable", config.durable ? "yes" : "no"),
      fmt::arg("memory", config.memory_size_max),
      fmt::arg("policy", policies[static_cast<std::size_t>(config.eviction)])));
}

}  // namespace meridian
