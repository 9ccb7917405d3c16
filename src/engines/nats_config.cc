#include "engines/nats_config.h"

#include <algorithm>
#include <fmt/format.h>

namespace meridian {

std::string quote_nats_word(std::string_view word) {
  std::string quoted = "\"";
  for (const char c : word) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string to_nats_conf(const NatsServerConfig& config) {
  // A line of 4,096 bytes, which is what clients may send, grows on its way through the door.
  // max_pending at least a message of the largest size, or a subscriber could never have it.
  constexpr std::uint64_t pending_size_min = 64uz * 1024 * 1024;
  return fmt::format(
      R"(host: "127.0.0.1"
port: -1
server_name: {name}
authorization {{ token: ${token}, timeout: 5 }}
ports_file_dir: {folder}
jetstream {{
  store_dir: {folder}
  max_file_store: {file_store}
  max_memory_store: {memory_store}
}}
max_payload: {payload}
max_control_line: 8192
max_pending: {pending}
max_connections: 1000000
write_deadline: "30s"
logtime: true
)",
      fmt::arg("name", quote_nats_word(config.server_name)),
      fmt::arg("token", nats_token_variable),
      fmt::arg("folder", quote_nats_word(config.folder.native())),
      fmt::arg("file_store", config.file_store_size_max),
      fmt::arg("memory_store", config.memory_store_size_max),
      fmt::arg("payload", config.payload_size_max),
      fmt::arg("pending", std::max(pending_size_min, config.payload_size_max)));
}

}  // namespace meridian
