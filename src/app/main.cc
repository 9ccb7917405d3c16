// The program `meridian`.

#include "app/commands/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <curl/curl.h>
#include <exception>

int main(int count, char** arguments) {
  using namespace meridian;  // NOLINT: nothing else is here.
  ::curl_global_init(CURL_GLOBAL_DEFAULT);
  CLI::App program(
      "Meridian: one identity-aware front door for a system built around one consistent SQL "
      "database.",
      "meridian");
  program.require_subcommand(1);
  program.fallthrough();
  CommandLine line;
  int code = 0;
  program.add_option("--config", line.config_file, "The configuration file; or MERIDIAN_CONFIG");
  program.add_option("--data", line.data, "The data folder; or MERIDIAN_DATA");
  program.add_flag("--json", line.json, "Print JSON where there is something to read");
  add_node_commands(program, line, code);
  add_token_commands(program, line, code);
  add_trail_commands(program, line, code);
  add_policy_commands(program, line, code);
  add_outbox_commands(program, line, code);
  add_ingest_commands(program, line, code);
  add_config_commands(program, line, code);
  try {
    program.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return program.exit(error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "meridian: %s\n", error.what());
    return 1;
  }
  return code;
}
