#pragma once
// Where the outbox's messages go: one stream, of which the outbox is the only writer.
//
// Implementations: JetStreamSink, and a double in simulation. Belongs to one loop.

#include "base/result.h"
#include "pool/nats/connector.h"
#include "runtime/async.h"
#include "runtime/deadline.h"
#include "streams/jetstream.h"
#include "streams/outbox_plan.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

class OutboxSink {
 public:
  virtual ~OutboxSink() = default;

  // Connects anew, makes the stream if it is absent, and reads how far it has come. Errors:
  // unavailable, timeout, denied; conflict, when the stream cannot be as it has to be.
  virtual Async<Result<StreamTail>> open(Deadline deadline) = 0;

  // Whether the stream takes this subject.
  virtual bool covers(std::string_view subject) const noexcept = 0;

  // Headers and payload together. Of the server that open() found.
  virtual std::uint64_t message_size_max() const noexcept = 0;

  // Sends a message; `headers` is a whole block. Errors: unavailable, exhausted.
  virtual Result<void> publish(std::string_view subject,
                               std::string_view headers,
                               std::string_view payload) = 0;

  // Where messages were stored, in the order in which they were sent; at least one. An error is
  // that of the oldest one that is not told of yet.
  virtual Async<Result<std::vector<std::uint64_t>>> acknowledgements(Deadline deadline) = 0;

  // Ends the connection; open() may follow.
  virtual Async<> close() = 0;
};

struct JetStreamSinkOptions {
  std::string stream;
  std::vector<std::string> subjects;
  // Ids are compared by the stream for so long. The order and the count do not depend on it.
  Duration duplicate_window = std::chrono::seconds(2);
  std::int64_t replicas = 1;
  Duration age_max = std::chrono::days(7);
  std::int64_t bytes_max = -1;
};

// Subject of what stands in the place of a row whose own subject is not the stream's. A server lets
// no two streams have one subject, so each has its own.
std::string outbox_dead_letter_subject(std::string_view stream);

// A message of an outbox, by its Nats-Msg-Id: "outbox.0123456789ab.42" of that installation.
struct OutboxMessageId {
  std::string installation;
  std::uint64_t number = 0;

  std::string to_text() const;
  static std::optional<OutboxMessageId> parse(std::string_view text);
};

class JetStreamSink final : public OutboxSink {
 public:
  JetStreamSink(EpollLoop& loop, nats::Connector& connector, JetStreamSinkOptions options)
      : loop_(loop), connector_(connector), options_(std::move(options)) {}

  // Counts from the next open() on for the stream, and at once for covers().
  void set_subjects(std::vector<std::string> subjects) { options_.subjects = std::move(subjects); }

  Async<Result<StreamTail>> open(Deadline deadline) override;
  bool covers(std::string_view subject) const noexcept override;
  std::uint64_t message_size_max() const noexcept override {
    return connection_ ? connection_->payload_size_max() : 0;
  }
  Result<void> publish(std::string_view subject,
                       std::string_view headers,
                       std::string_view payload) override;
  Async<Result<std::vector<std::uint64_t>>> acknowledgements(Deadline deadline) override;
  Async<> close() override;

 private:
  Async<Result<StreamInfo>> make_stream(Deadline deadline);

  EpollLoop& loop_;
  nats::Connector& connector_;
  JetStreamSinkOptions options_;
  std::unique_ptr<JetStream> connection_;
  std::optional<Error> failed_;  // Of a message after those that were told of.
};

}  // namespace meridian
