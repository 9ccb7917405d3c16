#include "gate/nats_permissions.h"

#include "base/escape.h"
#include "wire/json/reader.h"
#include "wire/nats/headers.h"
#include "wire/nats/subject.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>
#include <utility>

namespace meridian {
namespace {

// A longer request cannot be judged, and is refused.
constexpr std::size_t request_size_max = 65'536;

constexpr std::string_view jetstream = "$JS.";

std::optional<json::Value> parse_request(std::string_view payload) {
  auto request = json::parse(payload, {.size_max = request_size_max});
  if (!request || !request->object()) return std::nullopt;
  return *std::move(request);
}

// Where it is neither text nor absent it is not judged.
std::optional<std::string_view> text_or_empty(const json::Value& object, std::string_view name) {
  const json::Value* const member = object.find(name);
  if (!member || member->is_null()) return std::string_view();
  return member->string();
}

bool is_set(const json::Value& object, std::string_view name) {
  const json::Value* const member = object.find(name);
  if (!member || member->is_null()) return false;
  return !(member->array() && member->array()->empty());
}

bool is_stream_name(std::string_view name) noexcept {
  return !name.empty() && name.find_first_of(". \t\r\n*>/\\") == std::string_view::npos;
}

}  // namespace

Result<NatsPermissions> NatsPermissions::compile(const std::string& role,
                                                 const NatsConfig& config) {
  const auto what = [&](std::string_view part) {
    return fmt::format("role \"{}\", nats {}", role, part);
  };
  NatsPermissions made;
  made.config_ = config;
  MERIDIAN_TRY(made.publish_,
               SubjectRules::compile(what("publish"), config.publish, config.publish_deny));
  MERIDIAN_TRY(made.subscribe_,
               SubjectRules::compile(what("subscribe"), config.subscribe, config.subscribe_deny));
  for (const auto* const list : {&config.publish, &config.subscribe}) {
    const auto wrong = std::ranges::find_if(
        *list, [](const std::string& pattern) { return nats::first_token(pattern) == "$JS"; });
    if (wrong != list->end()) {
      return fail(Errc::invalid,
                  fmt::format("{}: JetStream is allowed by stream, with consume and manage",
                              what(quote(*wrong))));
    }
  }
  MERIDIAN_TRY(made.consume_, compile_streams(what("consume"), config.consume));
  MERIDIAN_TRY(made.manage_, compile_streams(what("manage"), config.manage));
  for (const std::string& queue : config.queues)
    made.queues_.emplace_back(queue, what("queues ") + quote(queue));
  for (const std::string& header : config.headers)
    made.headers_.emplace_back(header, what("headers ") + quote(header));
  made.any_queue_ = what("queues: any");
  made.queue_denial_ = what("queues: it is not listed");
  made.header_denial_ = what("headers: it is not listed");
  made.jetstream_denial_ = what("consume and manage: no stream that would allow it");
  made.way_in_ = what(to_string(Action::connect));
  return made;
}

Result<NatsPermissions::StreamRules> NatsPermissions::compile_streams(
    std::string_view what, const std::vector<std::string>& patterns) {
  StreamRules rules;
  for (const std::string& pattern : patterns) {
    std::string_view name = pattern;
    if (name.ends_with('*')) name.remove_suffix(1);
    if (pattern != "*" && !is_stream_name(name)) {
      return fail(Errc::invalid,
                  fmt::format("{}: {} is no name of a stream", what, quote(pattern)));
    }
    rules.push_back({pattern, fmt::format("{} {}", what, quote(pattern))});
  }
  return rules;
}

const NatsPermissions::StreamRule* NatsPermissions::find(const StreamRules& rules,
                                                         std::string_view stream) noexcept {
  if (!is_stream_name(stream)) return nullptr;
  for (const StreamRule& rule : rules) {
    const std::string_view pattern = rule.pattern;
    const bool matches = pattern.ends_with('*')
                             ? stream.starts_with(pattern.substr(0, pattern.size() - 1))
                             : stream == pattern;
    if (matches) return &rule;
  }
  return nullptr;
}

Decision NatsPermissions::allow_by(const StreamRule* rule) const noexcept {
  return rule ? Decision{.allowed = true, .rule = rule->text} : denied();
}

Decision NatsPermissions::decide_queue(std::string_view queue) const noexcept {
  if (queues_.empty()) return {.allowed = true, .rule = any_queue_};
  for (const auto& [name, text] : queues_) {
    if (name == queue) return {.allowed = true, .rule = text};
  }
  return {.allowed = false, .rule = queue_denial_};
}

bool NatsPermissions::is_control_header(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 7> beginnings{"Nats-Rollup",
                                                       "Nats-TTL",
                                                       "Nats-Expected-",
                                                       "Nats-Schedule",
                                                       "Nats-Incr",
                                                       "Nats-Batch-",
                                                       "Nats-Marker-"};
  return std::ranges::any_of(beginnings, [&](std::string_view beginning) {
    return nats::name_begins_with(name, beginning);
  });
}

Decision NatsPermissions::decide_header(std::string_view name) const noexcept {
  for (const auto& [allowed, text] : headers_) {
    const std::string_view pattern = allowed;
    const bool matches = pattern.ends_with('*')
                             ? nats::name_begins_with(name, pattern.substr(0, pattern.size() - 1))
                             : nats::equal_names(name, pattern);
    if (matches) return {.allowed = true, .rule = text};
  }
  return {.allowed = false, .rule = header_denial_};
}

Decision NatsPermissions::decide_publish(std::string_view subject,
                                         std::string_view payload,
                                         MayReceive may_receive) const {
  if (subject.starts_with(jetstream)) return decide_jetstream(subject, payload, may_receive);
  return publish_.decide(subject);
}

// What a role may publish to or receive, it may keep in a stream.
bool NatsPermissions::may_use(std::string_view pattern) const noexcept {
  const auto whole = [&](const SubjectRules& rules) {
    const auto answer = rules.decide_pattern(pattern);
    return answer.decision.allowed && !answer.partly;
  };
  return whole(publish_) || whole(subscribe_);
}

// $JS.ACK.<stream>.<consumer>.<5 numbers>, and since 2.9 also
// $JS.ACK.<domain>.<account>.<stream>... (ADR-15). Everything else is a request.
Decision NatsPermissions::decide_jetstream(std::string_view subject,
                                           std::string_view payload,
                                           MayReceive may_receive) const {
  if (!nats::is_subject(subject)) return denied();
  std::string_view rest = subject;
  (void)nats::take_token(rest);
  const std::string_view kind = nats::take_token(rest);
  if (kind == "ACK") {
    constexpr std::ptrdiff_t dots_short = 6;
    if (std::ranges::count(rest, '.') > dots_short) {
      (void)nats::take_token(rest);
      (void)nats::take_token(rest);
    }
    return allow_by(find(consume_, nats::take_token(rest)));
  }
  if (kind == "FC") return allow_by(find(consume_, nats::take_token(rest)));
  if (kind != "API") return denied();
  const std::string_view noun = nats::take_token(rest);
  if (noun == "INFO" && rest.empty()) {
    if (!consume_.empty()) return allow_by(&consume_.front());
    return allow_by(manage_.empty() ? nullptr : &manage_.front());
  }
  if (noun == "DIRECT" && nats::take_token(rest) == "GET") {
    return allow_by(find(consume_, nats::take_token(rest)));
  }
  const std::string_view verb = nats::take_token(rest);
  if (noun == "STREAM") return decide_stream_request(verb, rest, payload);
  if (noun == "CONSUMER") return decide_consumer_request(verb, rest, payload, may_receive);
  return denied();
}

Decision NatsPermissions::decide_stream_request(std::string_view verb,
                                                std::string_view rest,
                                                std::string_view payload) const {
  if (verb == "NAMES" && rest.empty()) return decide_stream_names(payload);
  if (verb == "MSG") {
    const std::string_view what = nats::take_token(rest);
    if (what == "GET") return allow_by(find(consume_, rest));
    if (what == "DELETE") return allow_by(find(manage_, rest));
    return denied();
  }
  const std::string_view stream = rest;
  if (verb == "INFO") {
    const StreamRule* const rule = find(consume_, stream);
    return allow_by(rule ? rule : find(manage_, stream));
  }
  if (verb == "DELETE" || verb == "PURGE") return allow_by(find(manage_, stream));
  if (verb == "CREATE" || verb == "UPDATE") {
    const StreamRule* const rule = find(manage_, stream);
    return rule && may_define(stream, payload) ? allow_by(rule) : denied();
  }
  return denied();
}

// The stream that keeps a subject: for who may use the subject.
Decision NatsPermissions::decide_stream_names(std::string_view payload) const {
  const StreamRule* const rule = !consume_.empty()  ? &consume_.front()
                                 : !manage_.empty() ? &manage_.front()
                                                    : nullptr;
  if (!rule) return denied();
  if (rule->pattern == "*") return allow_by(rule);
  const auto request = parse_request(payload);
  const auto subject = request ? text_or_empty(*request, "subject") : std::nullopt;
  return subject && !subject->empty() && may_use(*subject) ? allow_by(rule) : denied();
}

// The definition of a stream: it takes in, and gives out, only what the role may itself.
bool NatsPermissions::may_define(std::string_view stream, std::string_view payload) const {
  const auto request = parse_request(payload);
  if (!request || text_or_empty(*request, "name") != stream) return false;
  if (const json::Value* const subjects = request->find("subjects")) {
    if (!subjects->array() && !subjects->is_null()) return false;
    if (subjects->array()) {
      for (const json::Value& subject : *subjects->array()) {
        if (!subject.string() || !may_use(*subject.string())) return false;
      }
    }
  }
  // A stream without subjects listens to its own name.
  const bool copies = is_set(*request, "mirror") || is_set(*request, "sources");
  if (!is_set(*request, "subjects") && !copies && !may_use(stream)) return false;
  const auto may_copy = [&](const json::Value& source) {
    const auto name = text_or_empty(source, "name");
    return source.object() && !is_set(source, "external") && name && find(consume_, *name);
  };
  if (is_set(*request, "mirror") && !may_copy(*request->find("mirror"))) return false;
  if (is_set(*request, "sources")) {
    const json::Value::Array* const sources = request->find("sources")->array();
    if (!sources || !std::ranges::all_of(*sources, may_copy)) return false;
  }
  if (is_set(*request, "republish")) {
    const json::Value& republish = *request->find("republish");
    const auto destination = republish.object() ? text_or_empty(republish, "dest") : std::nullopt;
    if (!destination) return false;
    const auto answer = publish_.decide_pattern(*destination);
    if (!answer.decision.allowed || answer.partly) return false;
  }
  return !is_set(*request, "subject_transform");
}

Decision NatsPermissions::decide_consumer_request(std::string_view verb,
                                                  std::string_view rest,
                                                  std::string_view payload,
                                                  MayReceive may_receive) const {
  const bool durable = verb == "DURABLE";
  if (durable || verb == "MSG") {
    const std::string_view what = nats::take_token(rest);
    if (what != (durable ? "CREATE" : "NEXT")) return denied();
  }
  const std::string_view stream = nats::take_token(rest);
  const StreamRule* const rule = find(consume_, stream);
  if (!rule) return denied();
  if (durable || verb == "CREATE") {
    return may_consume(stream, payload, may_receive) ? allow_by(rule) : denied();
  }
  constexpr std::array<std::string_view, 5> others{"NAMES", "LIST", "INFO", "DELETE", "MSG"};
  return std::ranges::find(others, verb) != others.end() ? allow_by(rule) : denied();
}

// The definition of a consumer: it delivers only to who may receive. Which messages is the stream's
// permission, whatever the filter.
bool NatsPermissions::may_consume(std::string_view stream,
                                  std::string_view payload,
                                  MayReceive may_receive) const {
  const auto request = parse_request(payload);
  if (!request) return false;
  const auto named = text_or_empty(*request, "stream_name");
  if (!named || (!named->empty() && *named != stream)) return false;
  const json::Value* const config = request->find("config");
  if (!config || !config->object()) return false;
  const auto deliver = text_or_empty(*config, "deliver_subject");
  return deliver && (deliver->empty() || may_receive(*deliver));
}

}  // namespace meridian
