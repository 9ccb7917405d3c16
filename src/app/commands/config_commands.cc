// config, doctor and version.

#include "app/commands/command_line.h"
#include "app/config/print.h"
#include "app/config/reader.h"
#include "app/config/surroundings.h"
#include "app/version.h"
#include "engines/data_folder.h"
#include "wire/json/writer.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>

namespace meridian {
namespace {

int check(const CommandLine& line, const std::string& given) {
  CommandLine at = line;
  if (!given.empty()) at.config_file = given;
  auto file = at.config_file_in_use();
  if (!file) return complain(file.error());
  auto config = at.read_config();
  if (!config) {
    std::fprintf(stderr, "%s\n", config.error().detail().c_str());
    return 1;
  }
  const config::Config defaults = config::default_config(config::read_surroundings());
  std::printf(
      "%s", config::check_report(file->empty() ? "(defaults)" : *file, *config, defaults).c_str());
  return 0;
}

// One line of the doctor's findings.
struct Finding {
  bool good = true;
  std::string what;
  std::string advice;
};

bool is_program(const std::string& path) {
  return ::access(path.c_str(), X_OK) == 0;
}

std::string find_program(const std::string& name) {
  const char* const paths = std::getenv("PATH");
  std::string rest = paths ? paths : "/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    const std::string candidate = rest.substr(0, colon) + "/" + name;
    if (is_program(candidate)) return candidate;
    rest.erase(0, std::min(colon + 1, rest.size()));
  }
  return {};
}

int examine(const CommandLine& line) {
  std::vector<Finding> findings;
  const auto add = [&](bool good, std::string what, std::string advice = {}) {
    findings.push_back({.good = good, .what = std::move(what), .advice = std::move(advice)});
  };
  auto config = line.read_config();
  add(config.has_value(), "the configuration can be read", config ? "" : config.error().detail());
  if (config) {
    const bool owns_postgres = config->timeline.url.empty();
    const bool owns_redis = config->redis.url.empty();
    if (owns_postgres) {
      bool found = !config->engines.postgres.bin.empty();
      for (int major = 15; major <= 20 && !found; ++major) {
        found = is_program("/usr/lib/postgresql/" + std::to_string(major) + "/bin/postgres");
      }
      add(found, "PostgreSQL 15 or newer is installed", "apt-get install postgresql-15");
    }
    if (owns_redis) {
      add(!config->engines.redis.bin.empty() || !find_program("redis-server").empty(),
          "redis-server is installed",
          "apt-get install redis-server");
    }
    if (config->nats.url.empty() && !config->listen.nats.empty()) {
      const bool found = !config->engines.nats.bin.empty() ||
                         !find_program("nats-server").empty() ||
                         is_program("/usr/sbin/nats-server");
      add(found, "nats-server is installed", "apt-get install nats-server");
    }
    std::error_code failed;
    const auto space = std::filesystem::space(
        std::filesystem::exists(config->data, failed) ? std::filesystem::path(config->data) : "/",
        failed);
    constexpr std::uintmax_t space_min = std::uintmax_t{1} << 30;
    add(!failed && space.available >= space_min,
        "the data folder's disk has at least 1 GiB free",
        "when the disk is full, the trail refuses requests");
    auto holder = DataFolder::holder(config->data);
    if (holder && *holder) {
      auto views = AdminClient(config->data).get("views");
      add(views.has_value(),
          "a node runs on " + config->data + " and answers",
          views ? "" : views.error().detail());
      if (views) {
        const json::Value* const broken = views->find("broken");
        add(!broken || !broken->array() || broken->array()->empty(),
            "every view can be read",
            "meridian views explain says which cannot, and why");
        if (const json::Value* const list = views->find("views"); list && list->array()) {
          for (const json::Value& view : *list->array()) {
            const json::Value* const cached = view.find("cached");
            add(cached && cached->boolean().value_or(false),
                "view " + std::string(view.string_at("name").value_or("")) + " is cached",
                "meridian views explain says why not");
          }
        }
      }
      auto roles = AdminClient(config->data).get("roles");
      if (roles) {
        bool overdue = false;
        if (const json::Value* const list = roles->find("bindings"); list && list->array()) {
          for (const json::Value& binding : *list->array()) {
            const json::Value* const late = binding.find("overdue");
            overdue = overdue || (late && late->boolean().value_or(false));
          }
        }
        add(!overdue, "no binding is past its review date", "meridian roles review lists them");
      }
    } else {
      add(true, "no node runs on " + config->data);
    }
  }
  bool good = true;
  json::Value::Array list;
  for (const Finding& finding : findings) {
    good = good && finding.good;
    if (line.json) {
      list.push_back(json::Value(
          json::Value::Object{{"good", json::Value(finding.good)},
                              {"what", json::Value(finding.what)},
                              {"advice", json::Value(finding.good ? "" : finding.advice)}}));
    } else {
      std::printf("%-4s %s\n", finding.good ? "ok" : "NOT", finding.what.c_str());
      if (!finding.good && !finding.advice.empty())
        std::printf("     %s\n", finding.advice.c_str());
    }
  }
  if (line.json) std::printf("%s\n", json::to_text(json::Value(std::move(list))).c_str());
  return good ? 0 : 1;
}

}  // namespace

void add_config_commands(CLI::App& program, CommandLine& line, int& code) {
  {
    CLI::App* const config = program.add_subcommand("config", "Look at the configuration");
    config->require_subcommand(1);
    auto file = std::make_shared<std::string>();
    CLI::App* const command =
        config->add_subcommand("check", "Check a file and say what it sets up");
    command->add_option("file", *file, "The file; the one in use unless given");
    command->callback([&line, &code, file] { code = check(line, *file); });
    CLI::App* const show = config->add_subcommand("show", "Print the effective configuration");
    show->callback([&line, &code] {
      auto read = line.read_config();
      if (!read) {
        code = complain(read.error());
        return;
      }
      std::printf("%s", config::to_yaml(*read).c_str());
    });
    CLI::App* const reload =
        config->add_subcommand("reload", "Have a running node read its configuration again");
    reload->callback([&line, &code] {
      auto folder = line.data_folder();
      auto said = folder ? AdminClient(*folder).post("reload", json::Value(json::Value::Object{}))
                         : std::unexpected(folder.error());
      if (!said) {
        code = complain(said.error());
        return;
      }
      std::printf("%s", std::string(said->string_at("text").value_or("")).c_str());
    });
  }
  CLI::App* const doctor =
      program.add_subcommand("doctor", "Look for what is wrong, and say what to do");
  doctor->callback([&line, &code] { code = examine(line); });
  CLI::App* const told = program.add_subcommand("version", "Print the version");
  told->callback([&line] {
    if (line.json) {
      std::printf("{\"version\":\"%s\"}\n", std::string(version()).c_str());
    } else {
      std::printf("meridian %s\n", std::string(version()).c_str());
    }
  });
}

}  // namespace meridian
