#pragma once
// What JetStream's API is asked and answers, as far as anybody here needs it (docs.nats.io,
// JetStream API Reference). Bytes only; JetStream (streams/jetstream.h) sends them.

#include "base/result.h"
#include "base/time.h"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace meridian {

// A stream with limits retention in files, where the oldest messages give way.
struct StreamConfig {
  std::string name;
  std::vector<std::string> subjects{};
  Duration max_age = Duration::zero();           // Zero: for ever.
  std::int64_t bytes_max = -1;                   // -1: no bound of its own.
  Duration duplicate_window = Duration::zero();  // Zero: the server's.
  std::int64_t replicas = 1;
  bool deny_delete = false;
  bool deny_purge = false;
  bool discard_new = false;          // A full stream refuses what comes instead of forgetting.
  std::string retention = "limits";  // Read from the server; others are never made here.
};

struct StreamInfo {
  StreamConfig config;
  std::string created;  // RFC 3339, to the nanosecond: with the name, which stream it is.
  std::uint64_t messages_count = 0;
  std::uint64_t first_sequence = 0;
  std::uint64_t last_sequence = 0;
};

struct ConsumerConfig {
  std::string durable{};  // Empty: ephemeral, and gone after inactive_threshold.
  std::string description{};
  std::string filter_subject{};          // Empty: all of the stream.
  std::uint64_t start_sequence = 0;      // 0: from the first message on.
  std::optional<WallTime> start_time{};  // Instead of a sequence.
  Duration ack_wait = std::chrono::seconds(30);
  std::int64_t ack_pending_max = 1'000;
  Duration inactive_threshold = Duration::zero();
};

struct ConsumerInfo {
  std::string name;
  std::string created;
  ConsumerConfig config;
  std::uint64_t delivered_sequence = 0;  // Of the stream.
  std::uint64_t ack_floor = 0;           // Of the stream.
  std::uint64_t ack_pending_count = 0;
  std::uint64_t pending_count = 0;  // Not delivered yet.
};

struct PubAck {
  std::string stream;
  std::uint64_t sequence = 0;
  bool duplicate = false;
};

// A message as the stream keeps it.
struct StoredMessage {
  std::string subject;
  std::uint64_t sequence = 0;
  std::string headers;  // A whole block, or empty.
  std::string payload;
  std::string time;
};

// What the reply subject of a delivered message says:
// $JS.ACK.[domain.account.]stream.consumer.attempts.sequence.delivery.time.pending[.random]
struct AckSubject {
  std::string_view stream;
  std::string_view consumer;
  std::uint64_t attempts = 0;
  std::uint64_t sequence = 0;  // Of the stream.
  std::uint64_t delivery = 0;  // Of the consumer.
  std::int64_t time = 0;       // Nanoseconds since 1970, when the stream stored it.
  std::uint64_t pending = 0;
};
std::optional<AckSubject> parse_ack_subject(std::string_view subject) noexcept;

// A block as wire/nats/headers.h describes it. Requires names and values without CR and LF.
std::string make_headers(
    std::initializer_list<std::pair<std::string_view, std::string_view>> lines);

// The value of the first header of that name.
std::optional<std::string_view> find_header(std::string_view block, std::string_view name) noexcept;

// The number behind NATS/1.0, as in "NATS/1.0 503"; 0 when there is none.
int status_of(std::string_view headers) noexcept;

// Nanoseconds since 1970 of a time as JetStream writes it; 0 when it is none.
std::int64_t to_nanoseconds(std::string_view time);

std::string to_json(const StreamConfig& config);
std::string to_json(std::string_view stream, const ConsumerConfig& config);

// The errors that a caller tells apart carry the server's number in their text: "[10071]".
// not_found: no such stream, consumer, message. conflict: the name is taken with another
// configuration, or the stream's last sequence is not the expected one. unavailable: JetStream does
// not answer now. invalid: anything else.
Result<StreamInfo> parse_stream_info(std::string_view json);
Result<ConsumerInfo> parse_consumer_info(std::string_view json);
Result<PubAck> parse_pub_ack(std::string_view json);
Result<StoredMessage> parse_stored_message(std::string_view json, std::size_t size_max);
Result<void> parse_success(std::string_view json);
// The names of a STREAM.NAMES.
Result<std::vector<std::string>> parse_stream_names(std::string_view json);

}  // namespace meridian
