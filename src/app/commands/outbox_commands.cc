// outbox: what waits to be published, and what to do about a gap.

#include "app/commands/command_line.h"
#include "wire/json/writer.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

namespace meridian {
namespace {

std::string text_of(const json::Value& value, std::string_view name) {
  return std::string(value.string_at(name).value_or(""));
}

bool flag_of(const json::Value& value, std::string_view name) {
  const json::Value* const member = value.find(name);
  return member && member->boolean().value_or(false);
}

double number_of(const json::Value& value, std::string_view name) {
  const json::Value* const member = value.find(name);
  return member ? member->number().value_or(0) : 0;
}

int show_status(const CommandLine& line) {
  auto folder = line.data_folder();
  if (!folder) return complain(folder.error());
  auto answer = AdminClient(*folder).get("outbox");
  if (!answer) return complain(answer.error());
  const std::string state = text_of(*answer, "state");
  const bool bad = state == "gap" || flag_of(*answer, "alarm");
  if (line.json) {
    std::printf("%s\n", json::to_text(*answer).c_str());
    return bad ? 1 : 0;
  }
  if (!flag_of(*answer, "owner")) {
    const std::string other = text_of(*answer, "owned_by");
    std::printf("not the owner: %s publishes\n", other.empty() ? "nobody" : other.c_str());
  }
  std::printf("state        %s%s\n", state.c_str(), flag_of(*answer, "alarm") ? " (alarm)" : "");
  std::printf("order        %s\n",
              flag_of(*answer, "in_commit_order")
                  ? "that of the commits, by the feed"
                  : "as the table shows them, until the feed is back");
  std::printf("numbered     %.0f\n", number_of(*answer, "numbered"));
  std::printf("published    %.0f\n", number_of(*answer, "published"));
  std::printf("waiting      %.0f, the oldest for %.3f s\n",
              number_of(*answer, "waiting"),
              number_of(*answer, "oldest_seconds"));
  std::printf("dead letters %.0f since the start\n",
              number_of(*answer, "dead_letters_since_start"));
  const std::string problem = text_of(*answer, "problem");
  if (!problem.empty()) std::printf("problem      %s\n", problem.c_str());
  if (const json::Value* const rules = answer->find("broken_rules"); rules && rules->array()) {
    for (const json::Value& rule : *rules->array()) {
      std::printf(
          "broken rule  %s: %s\n", text_of(rule, "name").c_str(), text_of(rule, "reason").c_str());
    }
  }
  return bad ? 1 : 0;
}

int resume(const CommandLine& line, bool republish, bool skip) {
  if (republish == skip) {
    return complain(Error(Errc::invalid, "say one of --republish and --skip"));
  }
  auto folder = line.data_folder();
  if (!folder) return complain(folder.error());
  auto answer = AdminClient(*folder).post(
      "outbox-resume",
      json::Value(json::Value::Object{{"how", json::Value(republish ? "republish" : "skip")}}));
  if (!answer) return complain(answer.error());
  std::printf("asked for; `meridian outbox status` says what comes of it\n");
  return 0;
}

int list_dead_letters(const CommandLine& line) {
  auto folder = line.data_folder();
  if (!folder) return complain(folder.error());
  auto answer = AdminClient(*folder).get("outbox-dead-letters");
  if (!answer) return complain(answer.error());
  if (line.json) {
    std::printf("%s\n", json::to_text(*answer).c_str());
    return 0;
  }
  if (const json::Value* const letters = answer->find("dead_letters");
      letters && letters->array()) {
    for (const json::Value& letter : *letters->array()) {
      std::printf("%s  number %s, row %s, %s: %s\n",
                  text_of(letter, "at").c_str(),
                  text_of(letter, "number").c_str(),
                  text_of(letter, "id").c_str(),
                  text_of(letter, "subject").c_str(),
                  text_of(letter, "error").c_str());
    }
  }
  return 0;
}

}  // namespace

void add_outbox_commands(CLI::App& program, CommandLine& line, int& code) {
  CLI::App* const outbox = program.add_subcommand("outbox", "Look after rows that become messages");
  outbox->require_subcommand(1);
  CLI::App* const status = outbox->add_subcommand(
      "status", "Say how far publishing has come; exits with 1 at a gap or an alarm");
  status->callback([&line, &code] { code = show_status(line); });
  status->footer("Example:\n  meridian --json outbox status");
  {
    auto republish = std::make_shared<bool>(false);
    auto skip = std::make_shared<bool>(false);
    CLI::App* const command =
        outbox->add_subcommand("resume", "Go on where messages are missing (see status)");
    command->add_flag("--republish",
                      *republish,
                      "Publish once more what the stream has lost, from the rows that are kept");
    command->add_flag("--skip", *skip, "Go on behind the gap; what is missing stays missing");
    command->callback([&line, &code, republish, skip] { code = resume(line, *republish, *skip); });
    command->footer("Example:\n  meridian outbox resume --republish");
  }
  CLI::App* const letters = outbox->add_subcommand(
      "dead-letters", "List rows that could not become messages, the newest first");
  letters->callback([&line, &code] { code = list_dead_letters(line); });
  letters->footer("Example:\n  meridian outbox dead-letters");
}

}  // namespace meridian
