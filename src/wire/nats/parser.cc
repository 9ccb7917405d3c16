#include "wire/nats/parser.h"

#include <algorithm>
#include <array>
#include <span>

namespace meridian::nats {
namespace {

constexpr std::size_t kept_capacity_max = 16 * 1024;
constexpr std::size_t remembered_size_max = 512;
constexpr std::size_t size_digits_max = 9;  // The server's maxParseSizeLen.

struct Verb {
  std::string_view name;
  OperationKind kind;
  Sender sender;

  // What follows it: arguments behind white space, JSON with or without some before it, or
  // anything, which is not looked at.
  enum class Rest : std::uint8_t { arguments, json, anything } rest;
};
constexpr std::array<Verb, 17> verbs{{
    {"PUB", OperationKind::pub, Sender::client, Verb::Rest::arguments},
    {"HPUB", OperationKind::hpub, Sender::client, Verb::Rest::arguments},
    {"SUB", OperationKind::sub, Sender::client, Verb::Rest::arguments},
    {"UNSUB", OperationKind::unsub, Sender::client, Verb::Rest::arguments},
    {"CONNECT", OperationKind::connect, Sender::client, Verb::Rest::json},
    {"PING", OperationKind::ping, Sender::client, Verb::Rest::anything},
    {"PONG", OperationKind::pong, Sender::client, Verb::Rest::anything},
    {"MSG", OperationKind::msg, Sender::server, Verb::Rest::arguments},
    {"HMSG", OperationKind::hmsg, Sender::server, Verb::Rest::arguments},
    {"PING", OperationKind::ping, Sender::server, Verb::Rest::anything},
    {"PONG", OperationKind::pong, Sender::server, Verb::Rest::anything},
    {"+OK", OperationKind::ok, Sender::server, Verb::Rest::anything},
    {"-ERR", OperationKind::err, Sender::server, Verb::Rest::arguments},
    {"INFO", OperationKind::info, Sender::server, Verb::Rest::json},
    // The server's parser is one for all kinds of connections, and knows these from clients too.
    {"+OK", OperationKind::ok, Sender::client, Verb::Rest::anything},
    {"-ERR", OperationKind::err, Sender::client, Verb::Rest::arguments},
    {"INFO", OperationKind::info, Sender::client, Verb::Rest::json},
}};

bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t';
}

char to_upper(char c) noexcept {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
}

// Whether one begins with as much as there is of the other.
bool agree(std::string_view line, std::string_view verb) noexcept {
  const std::size_t size = std::min(line.size(), verb.size());
  for (std::size_t i = 0; i < size; ++i) {
    if (to_upper(line[i]) != verb[i]) return false;
  }
  return true;
}

// Those of the table that carry messages.
constexpr const Verb& pub_verb = verbs[0];
constexpr const Verb& hpub_verb = verbs[1];
constexpr const Verb& msg_verb = verbs[7];
constexpr const Verb& hmsg_verb = verbs[8];
static_assert(pub_verb.name == "PUB" && hpub_verb.name == "HPUB" && msg_verb.name == "MSG" &&
              hmsg_verb.name == "HMSG");

// What the beginning of a line may become; null when nothing.
const Verb* find_verb(std::string_view line, Sender sender) noexcept {
  // Nearly all lines are of messages, spelt like this.
  if (sender == Sender::client) {
    if (line.starts_with("PUB ")) return &pub_verb;
    if (line.starts_with("HPUB ")) return &hpub_verb;
  } else {
    if (line.starts_with("HMSG ")) return &hmsg_verb;
    if (line.starts_with("MSG ")) return &msg_verb;
  }
  for (const Verb& verb : verbs) {
    if (verb.sender != sender || !agree(line, verb.name)) continue;
    const bool ends_well = verb.rest != Verb::Rest::arguments || line.size() <= verb.name.size() ||
                           is_blank(line[verb.name.size()]);
    if (ends_well) return &verb;
  }
  return nullptr;
}

// False when there are more words than the array has room for, or a CR among them.
struct Words {
  std::array<std::string_view, 5> items;
  std::size_t count = 0;
};
bool split(std::string_view text, Words& words) noexcept {
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    while (at != end && is_blank(*at))
      ++at;
    if (at == end) return true;
    const char* const begin = at;
    for (; at != end; ++at) {
      const char c = *at;
      if (c > ' ') continue;  // Nothing of what follows, for most.
      if (c == '\r') return false;
      if (is_blank(c)) break;
    }
    if (words.count == words.items.size()) return false;
    words.items[words.count++] = {begin, at};
  }
}

std::optional<std::size_t> parse_size(std::string_view digits) noexcept {
  if (digits.empty() || digits.size() > size_digits_max) return std::nullopt;
  std::size_t value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::size_t>(c - '0');
  }
  return value;
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && is_blank(text.front()))
    text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back()))
    text.remove_suffix(1);
  return text;
}

}  // namespace

std::string_view to_error_text(Fault fault) noexcept {
  switch (fault) {
    case Fault::unknown_operation:
      return "Unknown Protocol Operation";
    case Fault::line_too_long:
      return "maximum control line exceeded";
    case Fault::payload_too_large:
      return "Maximum Payload Violation";
    case Fault::bad_arguments:
      return "";
  }
  return "";
}

// `line` is without its end. The server counts from the first byte of the arguments.
bool Parser::is_too_long(std::string_view line,
                         std::size_t name_size,
                         OperationKind kind) const noexcept {
  const bool may_be_long =
      kind == OperationKind::connect || (kind == OperationKind::info && sender_ == Sender::server);
  const std::size_t size_max = may_be_long ? limits_.long_line_size_max : limits_.line_size_max;
  if (line.size() <= size_max) return false;
  std::string_view arguments = line.substr(std::min(name_size, line.size()));
  while (!arguments.empty() && is_blank(arguments.front()))
    arguments.remove_prefix(1);
  // What stands before them is bounded too.
  return arguments.size() > size_max || line.size() > 2 * size_max;
}

// A line whose end has not come: it may still become one, or not.
std::optional<Fault> Parser::check_unfinished(std::string_view line) const noexcept {
  const Verb* const verb = find_verb(line, sender_);
  if (!verb) return Fault::unknown_operation;
  // The last byte may be the CR of its end.
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (is_too_long(line, verb->name.size(), verb->kind)) return Fault::line_too_long;
  return std::nullopt;
}

// `line` ends with its LF.
std::expected<Parser::Line, Fault> Parser::read_line(std::string_view line) const {
  Line read;
  read.size = line.size();
  line.remove_suffix(1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  const Verb* const verb = find_verb(line, sender_);
  if (!verb || line.size() < verb->name.size()) return std::unexpected(Fault::unknown_operation);
  Operation& operation = read.operation;
  operation.kind = verb->kind;
  if (is_too_long(line, verb->name.size(), verb->kind)) {
    return std::unexpected(Fault::line_too_long);
  }
  if (verb->rest == Verb::Rest::anything) return read;
  if (verb->kind == OperationKind::hpub && !headers_) return std::unexpected(Fault::bad_arguments);
  if (line.size() == verb->name.size() && verb->rest == Verb::Rest::arguments) {
    return std::unexpected(Fault::unknown_operation);
  }
  // A client that reports an error is closed without a word.
  if (verb->kind == OperationKind::err && sender_ == Sender::client) {
    return std::unexpected(Fault::bad_arguments);
  }
  const std::string_view arguments = line.substr(verb->name.size());
  const bool is_text = verb->kind == OperationKind::connect || verb->kind == OperationKind::info ||
                       verb->kind == OperationKind::err;
  if (is_text && arguments.contains('\r')) return std::unexpected(Fault::bad_arguments);
  if (verb->kind == OperationKind::connect || verb->kind == OperationKind::info) {
    operation.text = trim(arguments);
    return read;
  }
  if (verb->kind == OperationKind::err) {
    operation.text = trim(arguments);
    if (operation.text.size() >= 2 && operation.text.front() == '\'' &&
        operation.text.back() == '\'') {
      operation.text = operation.text.substr(1, operation.text.size() - 2);
    }
    return read;
  }
  Words words;
  if (!split(arguments, words)) return std::unexpected(Fault::bad_arguments);
  std::span<const std::string_view> rest(words.items.data(), words.count);
  const auto take = [&] {
    const std::string_view word = rest.front();
    rest = rest.subspan(1);
    return word;
  };
  if (verb->kind == OperationKind::unsub) {
    if (rest.empty() || rest.size() > 2) return std::unexpected(Fault::bad_arguments);
    operation.sid = take();
    // What is no number counts as none to the server too.
    if (!rest.empty()) operation.max = parse_size(take()).value_or(0);
    return read;
  }
  if (verb->kind == OperationKind::sub) {
    if (rest.size() < 2 || rest.size() > 3) return std::unexpected(Fault::bad_arguments);
    operation.subject = take();
    if (rest.size() == 2) operation.queue = take();
    operation.sid = take();
    return read;
  }
  // subject [sid] [reply] [size of the headers] size
  const bool has_headers = verb->kind == OperationKind::hpub || verb->kind == OperationKind::hmsg;
  const bool has_sid = sender_ == Sender::server;
  const std::size_t required = 2uz + (has_sid ? 1 : 0) + (has_headers ? 1 : 0);
  if (rest.size() < required || rest.size() > required + 1) {
    return std::unexpected(Fault::bad_arguments);
  }
  const bool has_reply = rest.size() > required;
  operation.subject = take();
  if (has_sid) operation.sid = take();
  if (has_reply) operation.reply = take();
  const auto headers_size = has_headers ? parse_size(take()) : 0;
  const auto message_size = parse_size(take());
  if (!headers_size || !message_size || *headers_size > *message_size) {
    return std::unexpected(Fault::bad_arguments);
  }
  if (*message_size > limits_.payload_size_max) return std::unexpected(Fault::payload_too_large);
  read.has_message = true;
  read.headers_size = *headers_size;
  read.message_size = *message_size;
  return read;
}

void Parser::begin_anew(ParserLimits limits) {
  limits_ = limits;
  pending_.clear();
  needed_size_ = 0;
  taken_.clear();
  last_text_.clear();
}

void Parser::remember(const Line& line, std::string_view text) {
  if (text.size() > remembered_size_max) return;
  last_text_.assign(text);
  last_ = line;
  for (std::string_view* const view :
       {&last_.operation.subject, &last_.operation.sid, &last_.operation.reply}) {
    if (view->empty()) continue;
    *view = {last_text_.data() + (view->data() - text.data()), view->size()};
  }
}

Operation Parser::complete(const Line& line, std::string_view raw) {
  Operation operation = line.operation;
  operation.raw = raw;
  if (line.has_message) {
    operation.headers = raw.substr(line.size, line.headers_size);
    operation.payload =
        raw.substr(line.size + line.headers_size, line.message_size - line.headers_size);
  }
  return operation;
}

std::expected<std::optional<Operation>, Fault> Parser::next(std::string_view& input) {
  const auto ends_well = [](const Line& line, std::string_view raw) {
    return !line.has_message || raw.ends_with("\r\n");
  };
  // Whether the bytes after the payload, as far as they are there, are CR LF.
  const auto end_is_wrong = [](const Line& line, std::string_view raw) {
    if (!line.has_message) return false;
    const std::size_t end = line.size + line.message_size;
    return (raw.size() > end && raw[end] != '\r') || (raw.size() > end + 1 && raw[end + 1] != '\n');
  };
  if (taken_.capacity() > kept_capacity_max) taken_ = {};
  if (pending_.empty()) {
    if (input.empty()) return std::nullopt;
    Line line;
    if (!last_text_.empty() && input.starts_with(last_text_)) {
      line = last_;
    } else {
      const std::size_t line_end = input.find('\n');
      if (line_end == std::string_view::npos) {
        if (const auto fault = check_unfinished(input)) return std::unexpected(*fault);
        pending_ = input;
        needed_size_ = 0;
        input = {};
        return std::nullopt;
      }
      const auto read = read_line(input.substr(0, line_end + 1));
      if (!read) return std::unexpected(read.error());
      line = *read;
      if (line.has_message) remember(line, input.substr(0, line.size));
    }
    const std::string_view raw = input.substr(0, line.whole_size());
    if (end_is_wrong(line, raw)) {
      broken_subject_ = line.operation.subject;
      return std::unexpected(Fault::unknown_operation);
    }
    if (raw.size() == line.whole_size()) {
      input.remove_prefix(raw.size());
      return complete(line, raw);
    }
    needed_size_ = line.whole_size();
    pending_.reserve(needed_size_);
    pending_ = input;
    input = {};
    return std::nullopt;
  }
  if (needed_size_ == 0) {
    const std::size_t line_end = input.find('\n');
    const std::size_t size = line_end == std::string_view::npos ? input.size() : line_end + 1;
    pending_ += input.substr(0, size);
    input.remove_prefix(size);
    if (line_end == std::string_view::npos) {
      if (const auto fault = check_unfinished(pending_)) return std::unexpected(*fault);
      return std::nullopt;
    }
    const auto line = read_line(pending_);
    if (!line) return std::unexpected(line.error());
    needed_size_ = line->whole_size();
  }
  const std::size_t size = std::min(needed_size_ - pending_.size(), input.size());
  pending_ += input.substr(0, size);
  input.remove_prefix(size);
  // The line again, since its views were into bytes that have moved.
  const auto line = read_line(std::string_view(pending_).substr(0, pending_.find('\n') + 1));
  if (!line) return std::unexpected(line.error());
  if (end_is_wrong(*line, pending_)) {
    broken_subject_ = line->operation.subject;
    return std::unexpected(Fault::unknown_operation);
  }
  if (pending_.size() < needed_size_) return std::nullopt;
  taken_ = std::move(pending_);
  pending_.clear();
  needed_size_ = 0;
  if (!ends_well(*line, taken_)) return std::unexpected(Fault::unknown_operation);
  const auto again = read_line(std::string_view(taken_).substr(0, line->size));
  return complete(*again, taken_);
}

}  // namespace meridian::nats
