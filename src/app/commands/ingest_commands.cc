// ingest: how the rules are doing, and what an operator does about them.

#include "app/commands/command_line.h"
#include "wire/json/writer.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace meridian {
namespace {

struct IngestOptions {
  std::string rule{};
  std::string why{};
  bool accept_stream = false;
  std::vector<std::int64_t> letters{};
  bool all = false;
  std::string state = "dead";
  std::int64_t limit = 100;
  std::string from{}, to{}, into{};
  bool force = false;
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

int show_letters(const CommandLine& line, const IngestOptions& options) {
  auto answer = ask(line,
                    "letters",
                    json::Value(json::Value::Object{{"rule", json::Value(options.rule)},
                                                    {"state", json::Value(options.state)},
                                                    {"limit", json::Value(options.limit)}}));
  if (!answer || line.json) return say(line, answer, {});
  std::printf(
      "%8s %-16s %10s %-12s %7s %s\n", "id", "rule", "sequence", "reason", "attempt", "error");
  if (const json::Value* const letters = answer->find("letters"); letters && letters->array()) {
    for (const json::Value& letter : *letters->array()) {
      std::printf("%8lld %-16s %10lld %-12s %7lld %s\n",
                  number_of(letter, "id"),
                  text_of(letter, "rule").c_str(),
                  number_of(letter, "sequence"),
                  text_of(letter, "reason").c_str(),
                  number_of(letter, "attempt"),
                  text_of(letter, "error").c_str());
      std::printf("         %s\n", text_of(letter, "payload").c_str());
    }
  }
  return 0;
}

// "retry" until nothing is left that has not been tried, or "discard".
int settle_letters(const CommandLine& line, const IngestOptions& options, const std::string& how) {
  if (options.letters.empty() && !options.all) {
    return complain(Error(Errc::invalid, "name the letters by their ids, or say --all"));
  }
  json::Value::Array letters;
  for (const std::int64_t letter : options.letters)
    letters.emplace_back(letter);
  auto answer = ask(line,
                    how,
                    json::Value(json::Value::Object{{"rule", json::Value(options.rule)},
                                                    {"letters", json::Value(std::move(letters))}}));
  if (!answer) return complain(answer.error());
  const std::string text =
      how == "retry" ? std::to_string(number_of(*answer, "rows")) + " became rows, " +
                           std::to_string(number_of(*answer, "dead")) + " are dead again, " +
                           std::to_string(number_of(*answer, "others")) + " were settled before"
                     : std::to_string(number_of(*answer, "others")) + " were discarded";
  (void)say(line, answer, text);
  return number_of(*answer, "dead") == 0 ? 0 : 1;
}

bool is_sequence(const std::string& text) {
  constexpr std::size_t digits_max = 18;
  return !text.empty() && text.size() <= digits_max &&
         text.find_first_not_of("0123456789") == std::string::npos;
}

// "2026-01-01T00:00" and the like as parse_rfc3339() wants it.
std::string to_full_time(std::string text) {
  if (text.size() == 10) text += "T00:00";
  if (text.size() == 16) text += ":00";
  if (!text.ends_with('Z')) text += 'Z';
  return text;
}

// As `name`_sequence or `name`_time.
void add_place(json::Value::Object& body, const std::string& name, const std::string& text) {
  if (text.empty()) return;
  if (is_sequence(text)) {
    body.push_back({name + "_sequence", json::Value(std::int64_t{std::stoll(text)})});
  } else {
    body.push_back({name + "_time", json::Value(to_full_time(text))});
  }
}

int replay(const CommandLine& line, const IngestOptions& options) {
  json::Value::Object body{{"rule", json::Value(options.rule)},
                           {"into", json::Value(options.into)},
                           {"force", json::Value(options.force)}};
  add_place(body, "from", options.from);
  add_place(body, "to", options.to);
  if (auto begun = ask(line, "replay", json::Value(std::move(body))); !begun) {
    return complain(begun.error());
  }
  for (;;) {
    constexpr auto pause = std::chrono::milliseconds(100);
    std::this_thread::sleep_for(pause);
    auto status = ask(line,
                      "replay-status",
                      json::Value(json::Value::Object{{"rule", json::Value(options.rule)}}));
    if (!status) return complain(status.error());
    const std::string state = text_of(*status, "state");
    if (state == "running") continue;
    if (line.json) {
      (void)say(line, status, {});
    } else {
      std::printf("%lld rows, %lld duplicates, %lld dead letters, up to message %lld\n",
                  number_of(*status, "rows"),
                  number_of(*status, "duplicates"),
                  number_of(*status, "dead"),
                  number_of(*status, "last_sequence"));
    }
    if (state == "done") return 0;
    return complain(Error(Errc::unavailable, text_of(*status, "why")));
  }
}

int roll_back(const CommandLine& line, const IngestOptions& options) {
  json::Value::Object body{{"rule", json::Value(options.rule)}};
  add_place(body, "to", options.to);
  auto answer = ask(line, "rollback", json::Value(std::move(body)));
  if (!answer) return complain(answer.error());
  return say(
      line,
      answer,
      "the effects of " + std::to_string(number_of(*answer, "rows")) + " messages are undone");
}

void add_letter_commands(CLI::App& ingest, CommandLine& line, int& code) {
  auto options = std::make_shared<IngestOptions>();
  CLI::App* const letters =
      ingest.add_subcommand("dead-letters", "Look at messages that became no row, and settle them");
  letters->require_subcommand(1);
  {
    CLI::App* const command = letters->add_subcommand("list", "List them, the oldest first");
    command->add_option("rule", options->rule, "Of this rule alone");
    command->add_option(
        "--state", options->state, "dead, retried, discarded or all of them (\"\")");
    command->add_option("--limit", options->limit, "At most so many");
    command->callback([&line, &code, options] { code = show_letters(line, *options); });
  }
  for (const std::string how : {"retry", "discard"}) {
    CLI::App* const command = letters->add_subcommand(
        how,
        how == "retry" ? "Run them again; exits with 1 when one is dead again. At most 1000 at once"
                       : "Settle them without an effect");
    command->add_option("rule", options->rule, "The rule")->required();
    command->add_option("id", options->letters, "The letters' ids");
    command->add_flag("--all", options->all, "All that are dead, the oldest first");
    command->callback([&line, &code, options, how] { code = settle_letters(line, *options, how); });
    command->footer("Examples:\n  meridian ingest dead-letters " + how +
                    " orders 17 18\n  meridian ingest dead-letters " + how + " orders --all");
  }
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
  add_letter_commands(*ingest, line, code);
  {
    CLI::App* const command = ingest->add_subcommand(
        "rollback", "Undo what messages wrote, by the statement that the rule declares for it");
    command->add_option("rule", options->rule, "The rule")->required();
    command
        ->add_option("--to",
                     options->to,
                     "The last message that keeps its effect: a sequence, or a time (UTC)")
        ->required();
    command->callback([&line, &code, options] { code = roll_back(line, *options); });
    command->footer(
        "Examples:\n  meridian ingest rollback orders --to 1042\n"
        "  meridian ingest rollback orders --to 2026-01-01T08:30");
  }
  {
    CLI::App* const command = program.add_subcommand(
        "replay", "Run messages of a stream again through an ingest rule's statement");
    command->add_option("rule", options->rule, "The rule")->required();
    command->add_option("--from", options->from, "A sequence, or a time (UTC)")->required();
    command->add_option("--to", options->to, "Likewise, included; the present end without it");
    command->add_option(
        "--into", options->into, "A table to write to, made like the rule's if absent");
    command->add_flag("--force", options->force, "Though the statement has no ON CONFLICT");
    command->callback([&line, &code, options] { code = replay(line, *options); });
    command->footer(
        "Examples:\n  meridian replay orders --from 2026-01-01T00:00 --to 2026-01-02T00:00\n"
        "  meridian replay orders --from 1 --into orders_again");
  }
}

}  // namespace meridian
