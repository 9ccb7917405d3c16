#include "streams/jetstream_api.h"

#include "base/escape.h"
#include "base/number.h"
#include "wire/json/reader.h"
#include "wire/json/writer.h"
#include "wire/nats/headers.h"
#include "wire/nats/subject.h"

#include <array>

namespace meridian {
namespace {

constexpr std::size_t answer_size_max = 8uz * 1024 * 1024;
constexpr std::int64_t wrong_last_sequence = 10'071;
constexpr std::int64_t stream_name_in_use = 10'058;
constexpr std::int64_t consumer_exists = 10'013;
constexpr std::int64_t consumer_name_in_use = 10'148;

Errc to_errc(std::int64_t code, std::int64_t number) noexcept {
  if (number == wrong_last_sequence || number == stream_name_in_use || number == consumer_exists ||
      number == consumer_name_in_use) {
    return Errc::conflict;
  }
  if (code == 404) return Errc::not_found;
  if (code >= 500) return Errc::unavailable;
  return Errc::invalid;
}

std::int64_t integer_at(const json::Value& object, std::string_view name) {
  const json::Value* const member = object.find(name);
  return member ? member->integer().value_or(0) : 0;
}

std::uint64_t count_at(const json::Value& object, std::string_view name) {
  const std::int64_t number = integer_at(object, name);
  return number < 0 ? 0 : static_cast<std::uint64_t>(number);
}

std::string text_at(const json::Value& object, std::string_view name) {
  const json::Value* const member = object.find(name);
  return member ? std::string(member->string().value_or("")) : std::string();
}

bool flag_at(const json::Value& object, std::string_view name) {
  const json::Value* const member = object.find(name);
  return member && member->boolean().value_or(false);
}

// An answer, unless it is an error.
Result<json::Value> parse_answer(std::string_view text, std::size_t size_max = answer_size_max) {
  MERIDIAN_TRY(json::Value answer, json::parse(text, {.size_max = size_max}));
  const json::Value* const error = answer.find("error");
  if (!error) return answer;
  const std::int64_t number = integer_at(*error, "err_code");
  return fail(
      to_errc(integer_at(*error, "code"), number),
      "JetStream: " + escape(text_at(*error, "description")) + " [" + std::to_string(number) + "]");
}

// RFC 4648, section 4. Empty when it is not.
std::optional<std::string> decode_base64(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    std::uint32_t digit = 0;
    if (c >= 'A' && c <= 'Z') {
      digit = static_cast<std::uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      digit = static_cast<std::uint32_t>(c - 'a') + 26;
    } else if (c >= '0' && c <= '9') {
      digit = static_cast<std::uint32_t>(c - '0') + 52;
    } else if (c == '+') {
      digit = 62;
    } else if (c == '/') {
      digit = 63;
    } else if (c == '=') {
      break;
    } else {
      return std::nullopt;
    }
    bits = (bits << 6) | digit;
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>((bits >> count) & 0xff);
    }
  }
  return bytes;
}

}  // namespace

std::optional<AckSubject> parse_ack_subject(std::string_view subject) noexcept {
  std::array<std::string_view, 12> tokens;
  std::size_t count = 0;
  while (!subject.empty() && count < tokens.size()) {
    const std::size_t dot = subject.find('.');
    tokens[count++] = subject.substr(0, dot);
    subject.remove_prefix(dot == std::string_view::npos ? subject.size() : dot + 1);
  }
  if (!subject.empty() || tokens[0] != "$JS" || tokens[1] != "ACK") return std::nullopt;
  // Since 2.9 with JetStream domains two tokens stand before the stream's name.
  std::size_t at = 2;
  if (count >= 11) {
    at = 4;
  } else if (count != 9) {
    return std::nullopt;
  }
  const auto attempts = parse_number<std::uint64_t>(tokens[at + 2]);
  const auto sequence = parse_number<std::uint64_t>(tokens[at + 3]);
  const auto delivery = parse_number<std::uint64_t>(tokens[at + 4]);
  const auto time = parse_number<std::int64_t>(tokens[at + 5]);
  const auto pending = parse_number<std::uint64_t>(tokens[at + 6]);
  if (!attempts || !sequence || !delivery || !time || !pending) return std::nullopt;
  return AckSubject{.stream = tokens[at],
                    .consumer = tokens[at + 1],
                    .attempts = *attempts,
                    .sequence = *sequence,
                    .delivery = *delivery,
                    .time = *time,
                    .pending = *pending};
}

std::string make_headers(
    std::initializer_list<std::pair<std::string_view, std::string_view>> lines) {
  std::string block(nats::headers_begin);
  for (const auto& [name, value] : lines) {
    block += name;
    block += ": ";
    block += value;
    block += "\r\n";
  }
  block += nats::headers_end;
  return block;
}

std::optional<std::string_view> find_header(std::string_view block,
                                            std::string_view name) noexcept {
  // The first line is NATS/1.0, perhaps with a status.
  std::size_t at = block.find("\r\n");
  while (at != std::string_view::npos) {
    block.remove_prefix(at + 2);
    at = block.find("\r\n");
    const std::string_view line = block.substr(0, at);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !nats::equal_names(line.substr(0, colon), name)) {
      continue;
    }
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
      value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t'))
      value.remove_suffix(1);
    return value;
  }
  return std::nullopt;
}

int status_of(std::string_view headers) noexcept {
  constexpr std::string_view version = "NATS/1.0 ";
  if (!headers.starts_with(version)) return 0;
  return parse_number<int>(headers.substr(version.size(), 3)).value_or(0);
}

std::int64_t to_nanoseconds(std::string_view text) {
  const std::size_t dot = text.find('.');
  if (text.empty()) return 0;
  WallTime seconds;
  const std::string whole = std::string(text.substr(0, std::min(dot, text.size() - 1))) + "Z";
  if (!parse_rfc3339(whole, seconds)) return 0;
  std::int64_t fraction = 0;
  std::int64_t unit = 100'000'000;
  if (dot != std::string_view::npos) {
    for (const char c : text.substr(dot + 1)) {
      if (c < '0' || c > '9') break;
      fraction += (c - '0') * unit;
      unit /= 10;
    }
  }
  return std::chrono::duration_cast<Duration>(seconds.time_since_epoch()).count() + fraction;
}

std::string to_json(const StreamConfig& config) {
  json::Writer writer;
  writer.begin_object().member("name", config.name).name("subjects").begin_array();
  for (const std::string& subject : config.subjects)
    writer.string(subject);
  writer.end_array()
      .member("retention", config.retention)
      .member("storage", "file")
      .member("discard", config.discard_new ? "new" : "old")
      .name("max_consumers")
      .integer(-1)
      .name("max_msgs")
      .integer(-1)
      .name("max_bytes")
      .integer(config.bytes_max)
      .name("max_age")
      .integer(config.max_age.count())
      .name("num_replicas")
      .integer(config.replicas);
  if (config.duplicate_window != Duration::zero()) {
    writer.name("duplicate_window").integer(config.duplicate_window.count());
  }
  if (config.deny_delete) writer.name("deny_delete").boolean(true);
  if (config.deny_purge) writer.name("deny_purge").boolean(true);
  return writer.end_object().take();
}

std::string to_json(std::string_view stream, const ConsumerConfig& config) {
  json::Writer writer;
  writer.begin_object().member("stream_name", stream).name("config").begin_object();
  if (!config.durable.empty()) writer.member("durable_name", config.durable);
  if (!config.description.empty()) writer.member("description", config.description);
  if (config.start_time) {
    writer.member("deliver_policy", "by_start_time")
        .member("opt_start_time", to_rfc3339(*config.start_time));
  } else if (config.start_sequence > 0) {
    writer.member("deliver_policy", "by_start_sequence")
        .name("opt_start_seq")
        .integer(static_cast<std::int64_t>(config.start_sequence));
  } else {
    writer.member("deliver_policy", "all");
  }
  writer.member("ack_policy", "explicit")
      .member("replay_policy", "instant")
      .name("ack_wait")
      .integer(config.ack_wait.count())
      .name("max_deliver")
      .integer(-1)
      .name("max_ack_pending")
      .integer(config.ack_pending_max);
  if (!config.filter_subject.empty()) writer.member("filter_subject", config.filter_subject);
  if (config.inactive_threshold != Duration::zero()) {
    writer.name("inactive_threshold").integer(config.inactive_threshold.count());
  }
  return writer.end_object().end_object().take();
}

Result<StreamInfo> parse_stream_info(std::string_view text) {
  MERIDIAN_TRY(const json::Value answer, parse_answer(text));
  const json::Value* const config = answer.find("config");
  const json::Value* const state = answer.find("state");
  if (!config || !state) return fail(Errc::invalid, "JetStream's answer describes no stream");
  StreamInfo info{.config = {.name = text_at(*config, "name"),
                             .max_age = Duration(integer_at(*config, "max_age")),
                             .bytes_max = integer_at(*config, "max_bytes"),
                             .duplicate_window = Duration(integer_at(*config, "duplicate_window")),
                             .replicas = integer_at(*config, "num_replicas"),
                             .deny_delete = flag_at(*config, "deny_delete"),
                             .deny_purge = flag_at(*config, "deny_purge"),
                             .discard_new = text_at(*config, "discard") == "new",
                             .retention = text_at(*config, "retention")},
                  .created = text_at(answer, "created"),
                  .messages_count = count_at(*state, "messages"),
                  .first_sequence = count_at(*state, "first_seq"),
                  .last_sequence = count_at(*state, "last_seq")};
  if (const json::Value* const subjects = config->find("subjects"); subjects && subjects->array()) {
    for (const json::Value& subject : *subjects->array())
      info.config.subjects.emplace_back(subject.string().value_or(""));
  }
  return info;
}

Result<ConsumerInfo> parse_consumer_info(std::string_view text) {
  MERIDIAN_TRY(const json::Value answer, parse_answer(text));
  const json::Value* const config = answer.find("config");
  const json::Value* const delivered = answer.find("delivered");
  const json::Value* const floor = answer.find("ack_floor");
  if (!config || !delivered || !floor) {
    return fail(Errc::invalid, "JetStream's answer describes no consumer");
  }
  return ConsumerInfo{.name = text_at(answer, "name"),
                      .created = text_at(answer, "created"),
                      .config = {.durable = text_at(*config, "durable_name"),
                                 .description = text_at(*config, "description"),
                                 .filter_subject = text_at(*config, "filter_subject"),
                                 .start_sequence = count_at(*config, "opt_start_seq"),
                                 .ack_wait = Duration(integer_at(*config, "ack_wait")),
                                 .ack_pending_max = integer_at(*config, "max_ack_pending")},
                      .delivered_sequence = count_at(*delivered, "stream_seq"),
                      .ack_floor = count_at(*floor, "stream_seq"),
                      .ack_pending_count = count_at(answer, "num_ack_pending"),
                      .pending_count = count_at(answer, "num_pending")};
}

Result<PubAck> parse_pub_ack(std::string_view text) {
  MERIDIAN_TRY(const json::Value answer, parse_answer(text));
  PubAck ack{.stream = text_at(answer, "stream"),
             .sequence = count_at(answer, "seq"),
             .duplicate = flag_at(answer, "duplicate")};
  if (ack.stream.empty() || ack.sequence == 0) {
    return fail(Errc::invalid, "what answered a publish is no stream");
  }
  return ack;
}

Result<StoredMessage> parse_stored_message(std::string_view text, std::size_t size_max) {
  MERIDIAN_TRY(const json::Value answer, parse_answer(text, size_max));
  const json::Value* const message = answer.find("message");
  if (!message) return fail(Errc::invalid, "JetStream's answer has no message");
  auto headers = decode_base64(text_at(*message, "hdrs"));
  auto payload = decode_base64(text_at(*message, "data"));
  if (!headers || !payload) return fail(Errc::invalid, "JetStream's message is no base64");
  return StoredMessage{.subject = text_at(*message, "subject"),
                       .sequence = count_at(*message, "seq"),
                       .headers = *std::move(headers),
                       .payload = *std::move(payload),
                       .time = text_at(*message, "time")};
}

Result<void> parse_success(std::string_view text) {
  MERIDIAN_TRY(const json::Value answer, parse_answer(text));
  if (!flag_at(answer, "success")) return fail(Errc::invalid, "JetStream did not do it");
  return {};
}

Result<std::vector<std::string>> parse_stream_names(std::string_view text) {
  MERIDIAN_TRY(const json::Value answer, parse_answer(text));
  std::vector<std::string> names;
  const json::Value* const streams = answer.find("streams");
  if (!streams || !streams->array()) return names;  // null: none.
  for (const json::Value& name : *streams->array())
    names.emplace_back(name.string().value_or(""));
  return names;
}

}  // namespace meridian
