// ingest: how the rules are doing, and what an operator does about them.

#include "app/commands/command_line.h"
#include "wire/json/writer.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

namespace meridian {
namespace {

struct IngestOptions {
  std::string rule;
  std::string why;
  bool accept_stream = false;
};

std::string text_of(const json::Value& value, std::string_view name) {
  return std::string(value.string_at(name).value_or(""));
}

long long number_of(const json::Value& value, std::string_view name) {
  const json::Value* const member = value.find(name);
  return member ? static_cast<long long>(member->integer().value_or(0)) : 0;
}

Result<json::Value> ask(const CommandLine& line, const std::string& action, json::Value body) {
  MERIDIAN_TRY(const std::string folder, line.data_folder());
  return AdminClient(folder).post("ingest/" + action, body);
}

int say(const CommandLine& line, const Result<json::Value>& answer, const std::string& text) {
  if (!answer) return complain(answer.error());
  std::printf("%s\n", line.json ? json::to_text(*answer).c_str() : text.c_str());
  return 0;
}

int show_status(const CommandLine& line) {
  auto answer = ask(line, "status", json::Value(json::Value::Object()));
  if (!answer) return complain(answer.error());
  if (line.json) return say(line, answer, {});
  bool good = true;
  std::printf("%-20s %-12s %-20s %12s %10s %12s %10s %8s\n",
              "rule",
              "state",
              "stream",
              "floor",
              "pending",
              "rows",
              "duplicate",
              "dead");
  if (const json::Value* const rules = answer->find("rules"); rules && rules->array()) {
    for (const json::Value& rule : *rules->array()) {
      const std::string state = text_of(rule, "state");
      good = good && (state == "running" || state == "waiting" || state == "starting");
      std::printf("%-20s %-12s %-20s %12lld %10lld %12lld %10lld %8lld\n",
                  text_of(rule, "rule").c_str(),
                  state.c_str(),
                  text_of(rule, "stream").c_str(),
                  number_of(rule, "floor"),
                  number_of(rule, "pending"),
                  number_of(rule, "rows"),
                  number_of(rule, "duplicates"),
                  number_of(rule, "dead"));
      const auto note = [&](const char* name, const char* label) {
        const std::string text = text_of(rule, name);
        if (!text.empty()) std::printf("  %s%s\n", label, text.c_str());
      };
      note("why", "");
      if (state == "waiting") note("holder", "it is worked on by ");
      note("gap", "the stream no longer had ");
      note("one_by_one", "rows go in one by one: ");
    }
  }
  return good ? 0 : 1;
}

}  // namespace

void add_ingest_commands(CLI::App& program, CommandLine& line, int& code) {
  CLI::App* const ingest =
      program.add_subcommand("ingest", "Look after the rules that make rows of messages");
  ingest->require_subcommand(1);
  auto options = std::make_shared<IngestOptions>();
  const auto rule_body = [options] {
    return json::Value::Object{{"rule", json::Value(options->rule)}};
  };
  {
    CLI::App* const command = ingest->add_subcommand(
        "status", "Say how each rule is doing; exits with 1 when one does not run");
    command->callback([&line, &code] { code = show_status(line); });
    command->footer("Example:\n  meridian ingest status --json");
  }
  {
    CLI::App* const command =
        ingest->add_subcommand("pause", "Stop a rule on all nodes until it is resumed");
    command->add_option("rule", options->rule, "The rule")->required();
    command->add_option("--why", options->why, "For whoever looks at its status");
    command->callback([&line, &code, options, rule_body] {
      auto body = rule_body();
      body.push_back({"why", json::Value(options->why)});
      code = say(line, ask(line, "pause", json::Value(body)), options->rule + " is paused");
    });
    command->footer("Example:\n  meridian ingest pause orders --why 'the table is being moved'");
  }
  {
    CLI::App* const command = ingest->add_subcommand(
        "resume", "Let a paused rule go on, or one that fails try again at once");
    command->add_option("rule", options->rule, "The rule")->required();
    command->add_flag("--accept-stream",
                      options->accept_stream,
                      "Take the stream as it is now for a new one, from its beginning");
    command->callback([&line, &code, options, rule_body] {
      auto body = rule_body();
      body.push_back({"accept_stream", json::Value(options->accept_stream)});
      code = say(line, ask(line, "resume", json::Value(body)), options->rule + " goes on");
    });
    command->footer(
        "Examples:\n  meridian ingest resume orders\n"
        "  meridian ingest resume orders --accept-stream");
  }
}

}  // namespace meridian
