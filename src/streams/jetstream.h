#pragma once
// A connection of our own to NATS with JetStream: requests, publishing with many acknowledgements
// under way, and what pull subscriptions (streams/pull.h) receive.
//
// Belongs to one loop. What is sent during one batch of the loop goes out in one write. When the
// connection breaks, everything under way fails and so does everything later: make a new one.

#include "base/result.h"
#include "pool/nats/connector.h"
#include "runtime/event.h"
#include "runtime/scope.h"
#include "streams/jetstream_api.h"
#include "wire/nats/operation.h"
#include "wire/nats/parser.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace meridian {

class JetStream {
 public:
  static constexpr std::size_t requests_max = 1'024;   // Under way at once.
  static constexpr std::size_t publishes_max = 8'192;  // Not acknowledged yet.

  struct Answer {
    std::string headers;  // A whole block, or empty.
    std::string payload;
  };
  struct Acknowledged {
    std::uint64_t number = 0;  // What publish() gave.
    Result<PubAck> ack;
  };

  // `name` is what the server's operator sees. Errors: unavailable, timeout, denied (the server
  // refused us).
  static Async<Result<std::unique_ptr<JetStream>>> connect(EpollLoop& loop,
                                                           nats::Connector& connector,
                                                           std::string name,
                                                           Deadline deadline);
  ~JetStream();

  // One question, one answer. Errors: unavailable (nobody listens there, or the connection broke),
  // timeout, exhausted (requests_max). The texts are copied before the first suspension.
  Async<Result<Answer>> request(std::string_view subject,
                                std::string_view headers,
                                std::string_view payload,
                                Deadline deadline);

  // Sends a message to the stream of its subject. `headers` is a whole block or empty. Numbers
  // count up from 1. Errors: exhausted (publishes_max), invalid (larger than the server takes),
  // unavailable.
  Result<std::uint64_t> publish(std::string_view subject,
                                std::string_view headers,
                                std::string_view payload);

  // What became of messages, in the order in which the answers came: at least one, unless an error
  // says why none will come now. Errors: timeout, unavailable, cancelled.
  Async<Result<std::vector<Acknowledged>>> acknowledgements(Deadline deadline);
  std::size_t publishes_under_way() const noexcept { return publishing_; }

  // A message that nobody answers: an acknowledgement to a delivery's reply subject.
  void send(std::string_view subject, std::string_view payload);

  // Returns when the server has seen all that was sent before.
  Async<Result<void>> flush(Deadline deadline);

  // JetStream's API. Errors: as streams/jetstream_api.h has them.
  Async<Result<StreamInfo>> stream_info(std::string stream, Deadline deadline);
  Async<Result<StreamInfo>> create_stream(StreamConfig config, Deadline deadline);
  Async<Result<StreamInfo>> update_stream(StreamConfig config, Deadline deadline);
  Async<Result<void>> delete_stream(std::string stream, Deadline deadline);
  // The streams that take messages of this subject.
  Async<Result<std::vector<std::string>>> streams_of(std::string subject, Deadline deadline);
  Async<Result<ConsumerInfo>> consumer_info(std::string stream,
                                            std::string consumer,
                                            Deadline deadline);
  // Makes a durable one, or leaves an equal one as it is.
  Async<Result<ConsumerInfo>> create_consumer(std::string stream,
                                              ConsumerConfig config,
                                              Deadline deadline);
  Async<Result<void>> delete_consumer(std::string stream, std::string consumer, Deadline deadline);
  Async<Result<StoredMessage>> message(std::string stream,
                                       std::uint64_t sequence,
                                       Deadline deadline);
  // The first one of a subject, wildcards allowed, from a sequence on.
  Async<Result<StoredMessage>> next_message(std::string stream,
                                            std::uint64_t sequence,
                                            std::string subject,
                                            Deadline deadline);
  Async<Result<StoredMessage>> last_message(std::string stream,
                                            std::string subject,
                                            Deadline deadline);

  std::uint64_t payload_size_max() const noexcept { return payload_size_max_; }
  bool broken() const noexcept { return broken_; }
  const std::string& broken_why() const noexcept { return broken_why_; }

  // Ends the connection; must be awaited before the object ends.
  Async<> close();

  // For pull subscriptions: everything that comes to `subject`, until unsubscribe(). `receive` is
  // called with an operation that is good until it returns, and once with none when the connection
  // has broken.
  using Receive = std::function<void(const nats::Operation*)>;
  std::uint64_t subscribe(std::string_view subject, Receive receive);
  void unsubscribe(std::uint64_t subscription);
  void send(std::string_view subject, std::string_view reply, std::string_view payload);
  std::string make_inbox();

 private:
  struct Pending {
    explicit Pending(Loop& loop) : done(loop) {}
    Event done;
    Result<Answer> answer = Answer();
  };
  class Flush;

  JetStream(EpollLoop& loop, nats::Connection connection);

  Async<Result<void>> introduce(nats::ConnectOptions options, std::string name, Deadline deadline);
  Async<Result<std::string>> ask(std::string_view subject, std::string payload, Deadline deadline);
  Async<> read();
  Async<> keep_alive();
  bool take(std::string_view input);
  void deliver(const nats::Operation& operation);
  void take_answer(const nats::Operation& operation);
  void take_ack(const nats::Operation& operation);
  void flush_out();
  void send_soon() noexcept;
  void break_off(std::string why);

  EpollLoop& loop_;
  std::unique_ptr<Stream> stream_;
  nats::Parser parser_;
  std::uint64_t payload_size_max_;
  std::string inbox_;
  std::string rest_;  // What came with the server's INFO.
  std::string out_;
  std::unique_ptr<Flush> flush_;
  bool writing_ = false;  // A fibre waits for the socket to take more.

  std::uint64_t requests_made_ = 0;
  std::unordered_map<std::uint64_t, std::shared_ptr<Pending>> requests_;
  std::uint64_t published_ = 0;
  std::size_t publishing_ = 0;
  std::vector<Acknowledged> acknowledged_;
  Event acknowledged_some_;
  std::deque<std::shared_ptr<Pending>> pongs_;  // Who waits for which PONG.
  std::map<std::uint64_t, Receive> subscriptions_;
  std::uint64_t subscriptions_made_ = 2;  // 1 is for answers, 2 for acknowledgements.
  Time heard_at_{};

  bool broken_ = false;
  std::string broken_why_;
  Scope scope_;
};

}  // namespace meridian
