// trace and audit: what the trail says, read from its files.

#include "app/commands/command_line.h"
#include "gate/trail/export.h"
#include "gate/trail/trace.h"
#include "gate/trail/trail_reader.h"
#include "gate/trail/verify.h"
#include "runtime/epoll_loop.h"
#include "runtime/scope.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

namespace meridian {
namespace {

struct SearchOptions {
  std::string request, subject, role, door, key, node, since, until;
  std::vector<std::string> kinds;
  std::string trail;  // Another folder than the node's.
};

void add_search_options(CLI::App& command, SearchOptions& options) {
  command.add_option("--request", options.request, "Of this request id");
  command.add_option("--subject", options.subject, "Of this subject");
  command.add_option("--role", options.role, "Of this role");
  command.add_option("--door", options.door, "Through this door");
  command.add_option("--key", options.key, "About this key, view or resource");
  command.add_option("--node", options.node, "Of this node");
  command.add_option("--kind", options.kinds, "Of this kind; may be given again");
  command.add_option("--since", options.since, "From this time on, such as 2026-11-21T08:00:00Z");
  command.add_option("--until", options.until, "Before this time");
  command.add_option(
      "--trail", options.trail, "The trail's folder, for a copy; the node's unless given");
}

Result<trail::Filter> to_filter(const SearchOptions& options) {
  trail::Filter filter{.node = options.node,
                       .subject = options.subject,
                       .role = options.role,
                       .door = options.door,
                       .key = options.key};
  if (!options.request.empty()) {
    filter.request = RequestId::parse(options.request);
    if (!filter.request)
      return fail(Errc::invalid, "--request is no request id: " + options.request);
  }
  for (const std::string& name : options.kinds) {
    const auto kind = trail::parse_record_kind(name);
    if (!kind) return fail(Errc::invalid, "there are no records of kind " + name);
    filter.kinds.push_back(*kind);
  }
  const auto time = [](const std::string& text, std::optional<WallTime>& into) -> Result<void> {
    if (text.empty()) return {};
    WallTime parsed;
    if (!parse_rfc3339(text, parsed)) {
      return fail(Errc::invalid, "a time is written 2026-11-21T08:00:00Z, not " + text);
    }
    into = parsed;
    return {};
  };
  MERIDIAN_CHECK(time(options.since, filter.since));
  MERIDIAN_CHECK(time(options.until, filter.until));
  return filter;
}

Result<std::filesystem::path> trail_folder(const CommandLine& line, const std::string& given) {
  if (!given.empty()) return std::filesystem::path(given);
  MERIDIAN_TRY(const std::string folder, line.data_folder());
  return std::filesystem::path(folder) / "trail";
}

void print(const trail::Entry& entry, bool json) {
  std::printf("%s\n", (json ? trail::to_json_line(entry) : trail::to_text_line(entry)).c_str());
}

int search(const CommandLine& line, const SearchOptions& options, bool follows, bool otlp) {
  auto folder = trail_folder(line, options.trail);
  if (!folder) return complain(folder.error());
  auto filter = to_filter(options);
  if (!filter) return complain(filter.error());
  auto reader = trail::TrailReader::open(*folder, std::move(*filter));
  if (!reader) return complain(reader.error());
  if (follows) {
    EpollLoop loop;
    Scope scope(loop);
    int code = 0;
    scope.spawn([](EpollLoop& on, trail::TrailReader& from, bool json, int& result) -> Async<> {
      const auto see = [json](const trail::Entry& entry) -> Result<void> {
        print(entry, json);
        std::fflush(stdout);
        return {};
      };
      auto ended = co_await trail::follow(from, on, std::chrono::milliseconds(200), see);
      if (!ended) result = complain(ended.error());
      on.stop();
    }(loop, *reader, line.json, code));
    loop.run();
    return code;
  }
  trail::OtlpBatch batch;
  for (;;) {
    auto entry = reader->next();
    if (!entry) return complain(entry.error());
    if (!*entry) break;
    if (!otlp) {
      print(**entry, line.json);
      continue;
    }
    batch.add(**entry);
    if (batch.full()) std::printf("%s\n", batch.take().c_str());
  }
  if (otlp && batch.count() > 0) std::printf("%s\n", batch.take().c_str());
  for (const std::string& broken : reader->broken())
    std::fprintf(stderr, "meridian: %s\n", broken.c_str());
  return reader->broken().empty() ? 0 : 1;
}

int verify(const CommandLine& line, const std::string& given, const std::string& node) {
  auto folder = trail_folder(line, given);
  if (!folder) return complain(folder.error());
  auto report = trail::verify(*folder, {.node = node});
  if (!report) return complain(report.error());
  std::printf("%s\n", (line.json ? trail::to_json(*report) : trail::to_text(*report)).c_str());
  return report->intact() ? 0 : 1;
}

int trace(const CommandLine& line, const std::string& text, const std::string& given) {
  const auto request = RequestId::parse(text);
  if (!request) return complain(Error(Errc::invalid, "this is no request id: " + text));
  auto folder = trail_folder(line, given);
  if (!folder) return complain(folder.error());
  auto story = trail::trace(*folder, *request, {});
  if (!story) return complain(story.error());
  std::printf("%s\n", (line.json ? trail::to_json(*story) : trail::to_text(*story)).c_str());
  return story->steps.empty() ? 1 : 0;
}

}  // namespace

void add_trail_commands(CLI::App& program, CommandLine& line, int& code) {
  {
    struct Options {
      std::string request, trail;
    };
    auto options = std::make_shared<Options>();
    CLI::App* const command =
        program.add_subcommand("trace", "Tell the story of one request, over all doors");
    command->add_option("request", options->request, "The request id")->required();
    command->add_option(
        "--trail", options->trail, "The trail's folder, for a copy; the node's unless given");
    command->callback(
        [&line, &code, options] { code = trace(line, options->request, options->trail); });
    command->footer("Example:\n  meridian trace 0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b");
  }
  CLI::App* const audit =
      program.add_subcommand("audit", "Read, search, verify and export the audit trail");
  audit->require_subcommand(1);
  {
    auto options = std::make_shared<SearchOptions>();
    CLI::App* const command = audit->add_subcommand("tail", "Print records as they come");
    add_search_options(*command, *options);
    command->callback([&line, &code, options] { code = search(line, *options, true, false); });
  }
  {
    auto options = std::make_shared<SearchOptions>();
    CLI::App* const command = audit->add_subcommand("search", "Print the records that match");
    add_search_options(*command, *options);
    command->callback([&line, &code, options] { code = search(line, *options, false, false); });
    command->footer(
        "Example:\n  meridian audit search --kind denied --role storefront --since "
        "2026-11-21T00:00:00Z");
  }
  {
    struct Options {
      std::string trail, node;
    };
    auto options = std::make_shared<Options>();
    CLI::App* const command =
        audit->add_subcommand("verify", "Check every byte; exits with 1 when something is wrong");
    command->add_option(
        "--trail", options->trail, "The trail's folder, for a copy; the node's unless given");
    command->add_option("--node", options->node, "Only this node's");
    command->callback(
        [&line, &code, options] { code = verify(line, options->trail, options->node); });
  }
  {
    auto options = std::make_shared<SearchOptions>();
    auto format = std::make_shared<std::string>("jsonl");
    CLI::App* const command =
        audit->add_subcommand("export", "Print the records for another system");
    add_search_options(*command, *options);
    command->add_option("--format", *format, "jsonl, or otlp for OpenTelemetry logs as JSON")
        ->check(CLI::IsMember({"jsonl", "otlp"}));
    command->callback([&line, &code, options, format] {
      CommandLine as_json = line;
      as_json.json = true;
      code = search(as_json, *options, false, *format == "otlp");
    });
  }
}

}  // namespace meridian
