// up and serve: the node itself.

#include "app/commands/command_line.h"
#include "app/config/documentation.h"
#include "app/config/surroundings.h"
#include "app/node.h"
#include "runtime/log.h"
#include "runtime/signals.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <signal.h>
#include <string>
#include <sys/prctl.h>

namespace meridian {
namespace {

struct RunOptions {
  bool own_engines = false;
  bool allow_core_dumps = false;
  std::vector<std::string> mutations{};
};

void announce(const Node& node, const config::Config& config, const std::string& file) {
  std::printf("Meridian is up.\n\n");
  for (const auto& [door, address] : node.doors()) {
    std::printf("  %-10s %s\n", door.c_str(), address.c_str());
  }
  std::printf("  %-10s %s\n", "data", config.data.c_str());
  std::printf("  %-10s %s\n\n", "config", file.empty() ? "(defaults)" : file.c_str());
  std::printf("Get a token:   meridian token --data %s --subject SUBJECT\n", config.data.c_str());
  std::printf("Stop:          Ctrl-C, or SIGTERM to process %d\n", static_cast<int>(::getpid()));
  std::fflush(stdout);
}

// With no configuration at all a first one is written, so that what a developer may do stands in a
// file.
Result<void> write_starter(const CommandLine& line) {
  MERIDIAN_TRY(const std::string present, line.config_file_in_use());
  if (!present.empty()) return {};
  MERIDIAN_TRY(const std::string folder, line.data_folder());
  std::error_code failed;
  const bool existed = std::filesystem::exists(folder, failed);
  std::filesystem::create_directories(folder, failed);
  if (!existed) {
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all, failed);
  }
  const std::string path = (std::filesystem::path(folder) / "meridian.yaml").native();
  std::ofstream file(path);
  file << config::starter_file();
  if (!file.flush()) return fail(Errc::unavailable, "writing " + path + " failed");
  std::printf("There was no configuration; wrote one with the role developer: %s\n", path.c_str());
  return {};
}

Result<CoherenceMutations> to_mutations(const std::vector<std::string>& names,
                                        NodeOptions& options) {
  CoherenceMutations mutations;
  for (const std::string& name : names) {
    if (name == "no-fence") {
      mutations.no_fence = true;
    } else if (name == "last-pending-only") {
      mutations.last_pending_only = true;
    } else if (name == "naive-join") {
      mutations.naive_join = true;
    } else if (name == "no-token") {
      mutations.no_token = true;
    } else if (name == "position-first") {
      mutations.position_first = true;
    } else if (name == "no-wait") {
      options.commit_wait = false;
    } else if (name == "ack-before-commit") {
      options.ack_before_commit = true;
    } else {
      return fail(Errc::invalid,
                  "--test-mutation takes no-fence, last-pending-only, naive-join, no-token, "
                  "position-first, no-wait or ack-before-commit");
    }
  }
  return mutations;
}

int run(const CommandLine& line, const RunOptions& run_options) {
  // Secrets live in this memory: it is not to be dumped or traced by others.
  if (!run_options.allow_core_dumps) ::prctl(PR_SET_DUMPABLE, 0);
  ::signal(SIGPIPE, SIG_IGN);
  Signals::block({SIGTERM, SIGINT, SIGHUP});
  if (run_options.own_engines) {
    if (auto written = write_starter(line); !written) return complain(written.error());
  }
  auto config = line.read_config();
  if (!config) return complain(config.error());
  NodeOptions options;
  options.own_engines = run_options.own_engines;
  options.read_config = [line] { return line.read_config(); };
  auto mutations = to_mutations(run_options.mutations, options);
  if (!mutations) return complain(mutations.error());
  options.mutations = *mutations;
  if (!run_options.mutations.empty()) {
    log_warning(
        "node",
        "parts of the protocols are switched off for a test: reads may be stale, messages lost");
  }
  auto file = line.config_file_in_use();

  EpollLoop loop;
  Scope scope(loop);
  int code = 0;
  scope.spawn(
      [](EpollLoop& on, config::Config given, NodeOptions with, std::string name, int& result)
          -> Async<> {
        const config::Config shown = given;
        Node node(on, std::move(given), std::move(with));
        auto opened = co_await node.open();
        if (opened) {
          announce(node, shown, name);
          co_await node.serve();
        } else {
          result = complain(opened.error());
        }
        co_await node.close();
        on.stop();
      }(loop, *config, std::move(options), file.value_or(""), code));
  loop.run();
  return code;
}

}  // namespace

void add_node_commands(CLI::App& program, CommandLine& line, int& code) {
  for (const bool own : {true, false}) {
    auto options = std::make_shared<RunOptions>(RunOptions{.own_engines = own});
    CLI::App* const command =
        own ? program.add_subcommand("up",
                                     "Start a node that owns its PostgreSQL, Redis and NATS where "
                                     "no url is configured")
            : program.add_subcommand(
                  "serve", "Start a node in front of the servers that the configuration names");
    command->add_flag("--allow-core-dumps",
                      options->allow_core_dumps,
                      "Let debuggers and core dumps see the process, which holds secrets");
    command
        ->add_option("--test-mutation",
                     options->mutations,
                     "Switch a part of the coherence protocol off, for tests")
        ->group("");
    command->callback([&line, &code, options] { code = run(line, *options); });
    command->footer(
        own ? "Examples:\n  meridian up\n  meridian up --config shop.yaml --data /tmp/shop"
            : "Example:\n  meridian serve --config /etc/meridian.yaml");
  }
}

}  // namespace meridian
