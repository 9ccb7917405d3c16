// policy, roles and views: what a running node has been told, explained.

#include "app/commands/command_line.h"
#include "wire/json/writer.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>

namespace meridian {
namespace {

std::string text_of(const json::Value& value, std::string_view name) {
  return std::string(value.string_at(name).value_or(""));
}

Result<json::Value> ask(const CommandLine& line, std::string_view path) {
  MERIDIAN_TRY(const std::string folder, line.data_folder());
  return AdminClient(folder).get(path);
}

struct TestOptions {
  std::string token, variable, door, action, resource, role;
};

int test_policy(const CommandLine& line, const TestOptions& options) {
  auto folder = line.data_folder();
  if (!folder) return complain(folder.error());
  std::string token = options.token;
  if (!options.variable.empty()) {
    const char* const text = std::getenv(options.variable.c_str());
    if (!text) return complain(Error(Errc::invalid, "the environment has no " + options.variable));
    token = text;
  }
  auto answer = AdminClient(*folder).post(
      "policy-test",
      json::Value(json::Value::Object{{"token", json::Value(token)},
                                      {"door", json::Value(options.door)},
                                      {"action", json::Value(options.action)},
                                      {"resource", json::Value(options.resource)},
                                      {"role", json::Value(options.role)}}));
  if (!answer) return complain(answer.error());
  const json::Value* const allowed = answer->find("allowed");
  const bool yes = allowed && allowed->boolean().value_or(false);
  if (line.json) {
    std::printf("%s\n", json::to_text(*answer).c_str());
  } else {
    std::printf("%s\n", yes ? "allowed" : "refused");
    for (const char* const name : {"why", "role", "binding", "issuer", "subject", "expires_at"}) {
      const std::string text = text_of(*answer, name);
      if (!text.empty()) std::printf("  %-10s %s\n", name, text.c_str());
    }
  }
  return yes ? 0 : 1;
}

int explain_views(const CommandLine& line, const std::string& wanted) {
  auto answer = ask(line, "views");
  if (!answer) return complain(answer.error());
  if (line.json) {
    std::printf("%s\n", json::to_text(*answer).c_str());
    return 0;
  }
  bool found = wanted.empty();
  if (const json::Value* const views = answer->find("views"); views && views->array()) {
    for (const json::Value& view : *views->array()) {
      if (!wanted.empty() && text_of(view, "name") != wanted) continue;
      found = true;
      std::printf("%s\n", text_of(view, "explanation").c_str());
    }
  }
  if (const json::Value* const broken = answer->find("broken"); broken && broken->array()) {
    for (const json::Value& view : *broken->array()) {
      if (!wanted.empty() && text_of(view, "name") != wanted) continue;
      found = true;
      std::printf("%s\n  cannot be read: %s\n\n",
                  text_of(view, "name").c_str(),
                  text_of(view, "reason").c_str());
    }
  }
  if (!found) return complain(Error(Errc::not_found, "there is no view " + wanted));
  return 0;
}

// One line a view: what it is called, which keys are its, and who reads for it.
int list_views(const CommandLine& line) {
  auto answer = ask(line, "views");
  if (!answer) return complain(answer.error());
  if (line.json) {
    std::printf("%s\n", json::to_text(*answer).c_str());
    return 0;
  }
  const auto print = [](const std::string& name,
                        const std::string& key,
                        const std::string& role,
                        const std::string& state) {
    std::printf("%-20s %-32s %-20s %s\n", name.c_str(), key.c_str(), role.c_str(), state.c_str());
  };
  print("view", "key", "reads as", "state");
  if (const json::Value* const views = answer->find("views"); views && views->array()) {
    for (const json::Value& view : *views->array()) {
      const json::Value* const cached = view.find("cached");
      print(text_of(view, "name"),
            text_of(view, "key"),
            text_of(view, "role"),
            cached && cached->boolean().value_or(false) ? "cached" : "read each time");
    }
  }
  if (const json::Value* const broken = answer->find("broken"); broken && broken->array()) {
    for (const json::Value& view : *broken->array()) {
      print(text_of(view, "name"), "-", "-", "cannot be read: " + text_of(view, "reason"));
    }
  }
  return 0;
}

int review_roles(const CommandLine& line) {
  auto answer = ask(line, "roles");
  if (!answer) return complain(answer.error());
  if (line.json) {
    std::printf("%s\n", json::to_text(*answer).c_str());
    return 0;
  }
  std::printf("%-20s %-12s %s\n", "role", "review by", "bound to");
  bool overdue = false;
  if (const json::Value* const bindings = answer->find("bindings"); bindings && bindings->array()) {
    for (const json::Value& binding : *bindings->array()) {
      const json::Value* const late = binding.find("overdue");
      const bool is_late = late && late->boolean().value_or(false);
      overdue = overdue || is_late;
      const std::string date = text_of(binding, "review_by");
      std::printf("%-20s %-12s %s%s\n",
                  text_of(binding, "role").c_str(),
                  date.empty() ? "-" : date.c_str(),
                  text_of(binding, "binding").c_str(),
                  is_late ? "  (overdue)" : "");
    }
  }
  return overdue ? 1 : 0;
}

}  // namespace

void add_policy_commands(CLI::App& program, CommandLine& line, int& code) {
  {
    CLI::App* const policy = program.add_subcommand("policy", "Ask what the policy says");
    policy->require_subcommand(1);
    auto options = std::make_shared<TestOptions>();
    CLI::App* const command =
        policy->add_subcommand("test", "Explain one decision; exits with 1 when it is no");
    command->add_option(
        "--token", options->token, "The token; others on this machine may see arguments");
    command->add_option(
        "--token-variable", options->variable, "Use the token in this environment variable");
    command->add_option("--door", options->door, "postgres, redis or nats")->required();
    command
        ->add_option("--action",
                     options->action,
                     "connect, read, write, forget, command, publish or subscribe")
        ->required();
    command->add_option(
        "--resource", options->resource, "A database, a key, a command or a subject");
    command->add_option("--role", options->role, "The wanted role, where the token has several");
    command->callback([&line, &code, options] { code = test_policy(line, *options); });
    command->footer(
        "Example:\n  meridian policy test --token \"$T\" --door redis --action read --resource "
        "order:1");
  }
  {
    CLI::App* const roles = program.add_subcommand("roles", "Look at roles and their bindings");
    roles->require_subcommand(1);
    CLI::App* const command = roles->add_subcommand(
        "review", "List the bindings with their review dates; exits with 1 when one is overdue");
    command->callback([&line, &code] { code = review_roles(line); });
  }
  {
    CLI::App* const views =
        program.add_subcommand("views", "List the views; explain says more of each");
    views->require_subcommand(0, 1);
    views->callback([views, &line, &code] {
      if (views->get_subcommands().empty()) code = list_views(line);
    });
    auto name = std::make_shared<std::string>();
    CLI::App* const command =
        views->add_subcommand("explain", "Say for each view what invalidates it");
    command->add_option("view", *name, "Only this one");
    command->callback([&line, &code, name] { code = explain_views(line, *name); });
  }
}

}  // namespace meridian
