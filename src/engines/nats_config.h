#pragma once
// The configuration that Meridian gives to its nats-server. The token is not in it: the server
// reads that from its environment, which only its own user sees.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace meridian {

// The variable of the environment that holds the token, as a string of the configuration.
inline constexpr std::string_view nats_token_variable = "MERIDIAN_NATS_TOKEN";

struct NatsServerConfig {
  std::filesystem::path folder;  // Where JetStream keeps its streams, and the file that says which
                                 // port the system chose.
  std::string server_name = "meridian";
  std::uint64_t payload_size_max = 1uz * 1024 * 1024;
  std::uint64_t file_store_size_max = 16uz * 1024 * 1024 * 1024;
  std::uint64_t memory_store_size_max = 256uz * 1024 * 1024;
};

std::string to_nats_conf(const NatsServerConfig& config);

// A string of the configuration, between double quotes.
std::string quote_nats_word(std::string_view word);

}  // namespace meridian
