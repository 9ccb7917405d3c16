#pragma once
// What the commands share: where the configuration and the data folder are, and how they print.

#include "app/admin_client.h"
#include "app/config/config.h"
#include "base/result.h"

#include <string>

namespace meridian {

// Options that stand before or behind any command.
struct CommandLine {
  std::string config_file;  // --config
  std::string data;         // --data
  bool json = false;        // --json

  // The configuration of the file that --config or MERIDIAN_CONFIG names, or of the data folder's
  // own; the defaults when there is none.
  Result<config::Config> read_config() const;

  // The file that read_config() reads; empty for none.
  Result<std::string> config_file_in_use() const;

  // Where the node's data is.
  Result<std::string> data_folder() const;
};

// Prints an error for the operator and gives the exit code for it.
int complain(const Error& error);

// 5m, 1h30m. Errors: invalid.
Result<Duration> parse_duration_argument(std::string_view text);

// Each adds its subcommands to the program; `code` is what main() returns.
}  // namespace meridian

namespace CLI {
class App;
}

namespace meridian {

void add_node_commands(CLI::App& program, CommandLine& line, int& code);
void add_token_commands(CLI::App& program, CommandLine& line, int& code);
void add_trail_commands(CLI::App& program, CommandLine& line, int& code);
void add_policy_commands(CLI::App& program, CommandLine& line, int& code);
void add_outbox_commands(CLI::App& program, CommandLine& line, int& code);
void add_ingest_commands(CLI::App& program, CommandLine& line, int& code);
void add_config_commands(CLI::App& program, CommandLine& line, int& code);

}  // namespace meridian
