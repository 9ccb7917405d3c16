#include "test/checker/options.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace checker {

Options parse_options(int argc, char** argv) {
  Options options;
  double seconds = 10;
  CLI::App program(
      "Writes orders through the Postgres door, reads them through the Redis door, and checks that "
      "no read is stale.");
  program.add_option("--postgres", options.postgres, "The Postgres door")->capture_default_str();
  program.add_option("--redis", options.redis, "The Redis door")->capture_default_str();
  program.add_option("--http", options.http, "The HTTP door")->capture_default_str();
  program.add_option("--database", options.database)->capture_default_str();
  program.add_option("--role", options.role, "The role that writes")->capture_default_str();
  program
      .add_option(
          "--writer-token", options.writer_token, "A command that prints a token for writing")
      ->required();
  program
      .add_option(
          "--reader-token", options.reader_token, "A command that prints a token for reading")
      ->required();
  program.add_option("--seconds", seconds, "How long")->capture_default_str();
  program.add_option("--writers", options.writers)->capture_default_str();
  program.add_option("--readers", options.readers)->capture_default_str();
  program.add_option("--orders", options.orders, "How many orders are changed and read")
      ->capture_default_str();
  program.add_option("--pipeline", options.pipeline, "Requests a reader sends at once")
      ->capture_default_str();
  program.add_option("--at-least", options.reads_min, "Fewer checked reads than this is a failure");
  program.add_option("--seed", options.seed)->capture_default_str();
  CLI::Option* const direct =
      program.add_option("--direct", options.direct, "libpq's connection string, past Meridian");
  program
      .add_flag("--soak",
                options.soak,
                "With the tables of test/soak/coherence.sql: joined and grouped views, TRUNCATE, "
                "partitions, DDL, a large transaction; takes commands on standard input")
      ->needs(direct);
  program.add_option("--direct-writers", options.direct_writers, "Writers that go past Meridian")
      ->needs(direct);
  program.add_flag("--direct-floors",
                   options.direct_floors,
                   "Commits past Meridian must be seen too (timeline.commit_wait: database)");
  program.add_option(
      "--async-writers", options.async_writers, "Writers with synchronous_commit=off");
  program.add_flag(
      "--faults", options.faults, "Servers are killed meanwhile: errors do not fail the check");
  program.add_flag("--json", options.json, "Print the result as JSON");
  program.footer(
      "Example:\n"
      "  coherence_checker --writer-token 'meridian token --subject checkout'\n"
      "                    --reader-token 'meridian token --subject storefront' --seconds 10");
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(program.exit(error));
  }
  if (options.direct_writers + options.async_writers > options.writers) {
    std::fputs("coherence_checker: more direct and async writers than writers\n", stderr);
    std::exit(2);
  }
  options.duration = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1'000));
  return options;
}

}  // namespace checker
