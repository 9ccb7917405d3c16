#include "streams/outbox_sink.h"

#include "base/number.h"
#include "runtime/log.h"
#include "wire/nats/subject.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace meridian {
namespace {

// How many messages of others are passed over to find our last one.
constexpr std::uint64_t strangers_max = 1'000;

constexpr std::string_view id_begin = "outbox.";

}  // namespace

std::string outbox_dead_letter_subject(std::string_view stream) {
  return fmt::format("meridian.outbox.{}.dead_letter", stream);
}

std::string OutboxMessageId::to_text() const {
  return fmt::format("{}{}.{}", id_begin, installation, number);
}

std::optional<OutboxMessageId> OutboxMessageId::parse(std::string_view text) {
  const std::size_t dot = text.rfind('.');
  if (!text.starts_with(id_begin) || dot < id_begin.size()) return std::nullopt;
  const auto number = parse_number<std::uint64_t>(text.substr(dot + 1));
  if (!number) return std::nullopt;
  return OutboxMessageId{
      .installation = std::string(text.substr(id_begin.size(), dot - id_begin.size())),
      .number = *number};
}

Async<> JetStreamSink::close() {
  if (!connection_) co_return;
  co_await connection_->close();
  connection_.reset();
}

Async<Result<StreamInfo>> JetStreamSink::make_stream(Deadline deadline) {
  auto info = co_await connection_->stream_info(options_.stream, deadline);
  if (!info && info.error().code() == Errc::not_found) {
    info = co_await connection_->create_stream({.name = options_.stream,
                                                .subjects = options_.subjects,
                                                .max_age = options_.age_max,
                                                .bytes_max = options_.bytes_max,
                                                .duplicate_window = options_.duplicate_window,
                                                .replicas = options_.replicas,
                                                .deny_delete = true},
                                               deadline);
    if (!info) co_return fail_while("making stream " + options_.stream, info.error());
    log_info("outbox", "made a stream", {{"stream", options_.stream}});
  }
  if (!info) co_return info;
  StreamConfig wanted = info->config;
  for (const std::string& subject : options_.subjects) {
    const bool covered = std::ranges::any_of(wanted.subjects, [&](const std::string& present) {
      return nats::is_subset(subject, present);
    });
    if (!covered) wanted.subjects.push_back(subject);
  }
  if (wanted.subjects.size() == info->config.subjects.size()) co_return info;
  // What the new ones cover would be there twice, which the server refuses.
  std::erase_if(wanted.subjects, [&](const std::string& subject) {
    return std::ranges::any_of(wanted.subjects, [&](const std::string& other) {
      return &other != &subject && other != subject && nats::is_subset(subject, other);
    });
  });
  info = co_await connection_->update_stream(std::move(wanted), deadline);
  if (!info) co_return fail_while("adding subjects to stream " + options_.stream, info.error());
  log_info("outbox", "added subjects to the stream", {{"stream", options_.stream}});
  co_return info;
}

Async<Result<StreamTail>> JetStreamSink::open(Deadline deadline) {
  co_await close();
  failed_.reset();
  MERIDIAN_CO_TRY(connection_,
                  co_await JetStream::connect(loop_, connector_, "meridian outbox", deadline));
  MERIDIAN_CO_TRY(const StreamInfo info, co_await make_stream(deadline));
  StreamTail tail{.created = info.created, .last_sequence = info.last_sequence};
  std::uint64_t sequence = info.last_sequence;
  for (std::uint64_t i = 0; i < strangers_max && info.messages_count > 0; ++i, --sequence) {
    if (sequence < info.first_sequence || sequence == 0) break;
    auto message = co_await connection_->message(options_.stream, sequence, deadline);
    if (!message) {
      if (message.error().code() == Errc::not_found) continue;
      co_return std::unexpected(message.error());
    }
    const auto text = find_header(message->headers, "Nats-Msg-Id");
    auto id = text ? OutboxMessageId::parse(*text) : std::nullopt;
    if (id) {
      tail.last_number = id->number;
      tail.last_installation = std::move(id->installation);
      tail.last_number_sequence = sequence;
      break;
    }
    if (i == 0) {
      log_warning("outbox",
                  "another writes into the outbox's stream",
                  {{"stream", options_.stream}, {"sequence", sequence}});
    }
  }
  co_return tail;
}

bool JetStreamSink::covers(std::string_view subject) const noexcept {
  return std::ranges::any_of(options_.subjects, [&](const std::string& pattern) {
    return nats::matches(pattern, subject);
  });
}

Result<void> JetStreamSink::publish(std::string_view subject,
                                    std::string_view headers,
                                    std::string_view payload) {
  if (!connection_) return fail(Errc::unavailable, "there is no connection to NATS");
  auto sent = connection_->publish(subject, headers, payload);
  if (!sent) return std::unexpected(sent.error());
  return {};
}

Async<Result<std::vector<std::uint64_t>>> JetStreamSink::acknowledgements(Deadline deadline) {
  if (!connection_) co_return fail(Errc::unavailable, "there is no connection to NATS");
  if (failed_) co_return std::unexpected(*failed_);
  MERIDIAN_CO_TRY(const auto acknowledged, co_await connection_->acknowledgements(deadline));
  std::vector<std::uint64_t> sequences;
  sequences.reserve(acknowledged.size());
  for (const JetStream::Acknowledged& each : acknowledged) {
    if (!each.ack) {
      failed_ = each.ack.error();
      if (sequences.empty()) co_return std::unexpected(*failed_);
      break;  // What was stored before it counts; the next call says what failed.
    }
    sequences.push_back(each.ack->sequence);
  }
  co_return sequences;
}

}  // namespace meridian
