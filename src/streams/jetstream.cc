#include "streams/jetstream.h"

#include "base/escape.h"
#include "base/hex.h"
#include "base/number.h"
#include "wire/json/writer.h"

#include <algorithm>
#include <array>
#include <utility>

namespace meridian {
namespace {

// A cluster that has just lost a leader answers some questions never.
constexpr Duration answer_timeout = std::chrono::seconds(10);
constexpr std::size_t read_size = 256 * 1024;
constexpr std::size_t buffer_kept_max = 1024 * 1024;
constexpr std::size_t received_size_max = 128uz * 1024 * 1024;  // Of one message.
constexpr Duration ping_every = std::chrono::seconds(5);
constexpr Duration silence_max = std::chrono::seconds(15);

constexpr std::string_view answers_sid = "1";
constexpr std::string_view acks_sid = "2";

}  // namespace

// Sends at the end of the batch what its fibres asked for.
class JetStream::Flush final : public BatchEnd {
 public:
  explicit Flush(JetStream& jetstream) noexcept : jetstream_(jetstream) {}
  void on_batch_end() override { jetstream_.flush_out(); }

 private:
  JetStream& jetstream_;
};

JetStream::JetStream(EpollLoop& loop, nats::Connection connection)
    : loop_(loop),
      stream_(std::move(connection.stream)),
      parser_(nats::Sender::server,
              {.line_size_max = 65'536, .payload_size_max = received_size_max}),
      payload_size_max_(
          static_cast<std::uint64_t>(std::max<std::int64_t>(connection.info.max_payload, 0))),
      rest_(std::move(connection.rest)),
      flush_(std::make_unique<Flush>(*this)),
      acknowledged_some_(loop),
      heard_at_(loop.now()),
      scope_(loop) {
  inbox_ = make_inbox();
}

JetStream::~JetStream() = default;

std::string JetStream::make_inbox() {
  std::array<std::uint8_t, 16> bytes;
  loop_.random().fill_secret(bytes);
  return "_INBOX." + to_hex(bytes);
}

Async<Result<std::unique_ptr<JetStream>>> JetStream::connect(EpollLoop& loop,
                                                             nats::Connector& connector,
                                                             std::string name,
                                                             Deadline deadline) {
  MERIDIAN_CO_TRY(nats::Connection connection, co_await connector.connect(deadline));
  if (!connection.info.headers) {
    co_return fail(Errc::unavailable, "the NATS server has no headers: it is older than 2.2");
  }
  nats::ConnectOptions options;
  connector.add_credentials(options, connection.info);
  std::unique_ptr<JetStream> made(new JetStream(loop, std::move(connection)));
  auto introduced = co_await made->introduce(std::move(options), std::move(name), deadline);
  if (!introduced) {
    const Shield shield(co_await this_fibre());
    co_await made->close();
    co_return fail_while("the connection to NATS", introduced.error());
  }
  co_return made;
}

Async<Result<void>> JetStream::introduce(nats::ConnectOptions options,
                                         std::string name,
                                         Deadline deadline) {
  options.verbose = false;
  options.pedantic = false;
  options.headers = true;
  options.no_responders = true;
  options.protocol = 1;
  options.name = std::move(name);
  options.language = "meridian";
  nats::append_connect(out_, options);
  nats::append_subscribe(out_, inbox_ + ".r.*", {}, answers_sid);
  nats::append_subscribe(out_, inbox_ + ".p.*", {}, acks_sid);
  scope_.spawn(read());
  scope_.spawn(keep_alive());
  co_return co_await flush(deadline);
}

Async<> JetStream::close() {
  break_off("the connection was closed");
  co_await scope_.close();
}

void JetStream::send_soon() noexcept {
  if (!writing_) loop_.at_batch_end(*flush_);
}

void JetStream::flush_out() {
  if (broken_ || writing_ || out_.empty()) return;
  const Transfer transfer = stream_->try_write(out_);
  if (transfer.status == Transfer::Status::failed) {
    return break_off("the connection to NATS broke: " + stream_->failure());
  }
  if (transfer.size == out_.size()) {
    out_.clear();
    if (out_.capacity() > buffer_kept_max) out_.shrink_to_fit();
    return;
  }
  out_.erase(0, transfer.size);
  writing_ = true;
  scope_.spawn([](JetStream& self) -> Async<> {
    const Wake wake = co_await self.stream_->writable();
    self.writing_ = false;
    if (wake == Wake::ready) self.flush_out();
  }(*this));
}

Async<> JetStream::read() {
  std::vector<char> buffer(read_size);
  if (!take(std::exchange(rest_, {}))) co_return;
  for (;;) {
    const Transfer transfer = stream_->try_read(buffer);
    if (transfer.status == Transfer::Status::done) {
      heard_at_ = loop_.batch_time();
      if (!take(std::string_view(buffer.data(), transfer.size)) || broken_) co_return;
      // Whoever waits for what came has its turn before more is read.
      if (co_await loop_.yield() != Wake::ready) co_return;
      continue;
    }
    if (transfer.status == Transfer::Status::would_block) {
      if (co_await stream_->readable() != Wake::ready) co_return;
      continue;
    }
    break_off(transfer.status == Transfer::Status::ended
                  ? "the NATS server closed the connection"
                  : "the connection to NATS broke: " + stream_->failure());
    co_return;
  }
}

bool JetStream::take(std::string_view input) {
  while (!broken_) {
    const auto operation = parser_.next(input);
    if (!operation) {
      break_off("what came from the NATS server is not its protocol");
      return false;
    }
    if (!*operation) return true;
    deliver(**operation);
  }
  return false;
}

void JetStream::deliver(const nats::Operation& operation) {
  switch (operation.kind) {
    case nats::OperationKind::msg:
    case nats::OperationKind::hmsg:
      if (operation.sid == answers_sid) return take_answer(operation);
      if (operation.sid == acks_sid) return take_ack(operation);
      if (const auto sid = parse_number<std::uint64_t>(operation.sid)) {
        const auto found = subscriptions_.find(*sid);
        if (found != subscriptions_.end()) found->second(&operation);
      }
      return;
    case nats::OperationKind::ping:
      out_ += nats::pong_bytes;
      return send_soon();
    case nats::OperationKind::pong:
      if (!pongs_.empty()) {
        pongs_.front()->done.set();
        pongs_.pop_front();
      }
      return;
    case nats::OperationKind::err:
      return break_off("the NATS server says: " + escape(operation.text));
    case nats::OperationKind::info:
    case nats::OperationKind::ok:
    case nats::OperationKind::connect:
    case nats::OperationKind::pub:
    case nats::OperationKind::hpub:
    case nats::OperationKind::sub:
    case nats::OperationKind::unsub:
      return;
  }
}

// The number at the end of an inbox of ours.
static std::optional<std::uint64_t> number_of(std::string_view subject) {
  const std::size_t dot = subject.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  return parse_number<std::uint64_t>(subject.substr(dot + 1));
}

void JetStream::take_answer(const nats::Operation& operation) {
  const auto number = number_of(operation.subject);
  const auto found = number ? requests_.find(*number) : requests_.end();
  if (found == requests_.end()) return;  // Its asker has given up.
  const std::shared_ptr<Pending> pending = std::move(found->second);
  requests_.erase(found);
  if (status_of(operation.headers) == 503) {
    pending->answer = fail(Errc::unavailable, "nobody answers there (no responders)");
  } else {
    pending->answer = Answer{.headers = std::string(operation.headers),
                             .payload = std::string(operation.payload)};
  }
  pending->done.set();
}

void JetStream::take_ack(const nats::Operation& operation) {
  const auto number = number_of(operation.subject);
  if (!number || publishing_ == 0) return;
  --publishing_;
  acknowledged_.push_back(
      {.number = *number,
       .ack = status_of(operation.headers) == 503
                  ? Result<PubAck>(fail(Errc::not_found, "no stream takes this subject"))
                  : parse_pub_ack(operation.payload)});
  acknowledged_some_.notify_all();
}

Async<Result<JetStream::Answer>> JetStream::request(std::string_view subject,
                                                    std::string_view headers,
                                                    std::string_view payload,
                                                    Deadline deadline) {
  if (broken_) co_return fail(Errc::unavailable, broken_why_);
  if (requests_.size() >= requests_max) {
    co_return fail(Errc::exhausted,
                   std::to_string(requests_max) + " requests to NATS are under way");
  }
  const std::uint64_t number = ++requests_made_;
  auto pending = std::make_shared<Pending>(loop_);
  requests_.emplace(number, pending);
  nats::append_publish(out_, subject, inbox_ + ".r." + std::to_string(number), headers, payload);
  send_soon();
  const Wake wake = co_await pending->done.wait(earlier(deadline, loop_.after(answer_timeout)));
  if (wake != Wake::ready) requests_.erase(number);
  MERIDIAN_CO_CHECK(to_result(wake, "NATS's answer"));
  co_return std::move(pending->answer);
}

Result<std::uint64_t> JetStream::publish(std::string_view subject,
                                         std::string_view headers,
                                         std::string_view payload) {
  if (broken_) return fail(Errc::unavailable, broken_why_);
  if (publishing_ >= publishes_max) {
    return fail(Errc::exhausted,
                std::to_string(publishes_max) + " messages are not acknowledged yet");
  }
  if (headers.size() + payload.size() > payload_size_max_) {
    return fail(Errc::invalid,
                "the message has " + std::to_string(headers.size() + payload.size()) +
                    " bytes, and the server takes " + std::to_string(payload_size_max_));
  }
  ++publishing_;
  nats::append_publish(
      out_, subject, inbox_ + ".p." + std::to_string(++published_), headers, payload);
  send_soon();
  return published_;
}

Async<Result<std::vector<JetStream::Acknowledged>>> JetStream::acknowledgements(Deadline deadline) {
  while (acknowledged_.empty()) {
    if (broken_) co_return fail(Errc::unavailable, broken_why_);
    MERIDIAN_CO_CHECK(
        to_result(co_await acknowledged_some_.wait(deadline), "the stream's acknowledgement"));
  }
  co_return std::exchange(acknowledged_, {});
}

void JetStream::send(std::string_view subject, std::string_view payload) {
  send(subject, {}, payload);
}

void JetStream::send(std::string_view subject, std::string_view reply, std::string_view payload) {
  if (broken_) return;
  nats::append_publish(out_, subject, reply, {}, payload);
  send_soon();
}

Async<Result<void>> JetStream::flush(Deadline deadline) {
  if (broken_) co_return fail(Errc::unavailable, broken_why_);
  auto pending = std::make_shared<Pending>(loop_);
  pongs_.push_back(pending);
  out_ += nats::ping_bytes;
  send_soon();
  MERIDIAN_CO_CHECK(to_result(co_await pending->done.wait(deadline), "NATS's PONG"));
  if (!pending->answer) co_return std::unexpected(pending->answer.error());
  co_return Result<void>();
}

// A server that was stopped, or a network that swallows everything, would otherwise never show.
Async<> JetStream::keep_alive() {
  while (co_await loop_.sleep(ping_every) == Wake::ready) {
    if (broken_) co_return;
    if (loop_.now() - heard_at_ > silence_max) {
      break_off("the NATS server has said nothing for " + to_text(silence_max));
      co_return;
    }
    pongs_.push_back(std::make_shared<Pending>(loop_));
    out_ += nats::ping_bytes;
    send_soon();
  }
}

std::uint64_t JetStream::subscribe(std::string_view subject, Receive receive) {
  const std::uint64_t subscription = ++subscriptions_made_;
  subscriptions_.emplace(subscription, std::move(receive));
  if (!broken_) {
    nats::append_subscribe(out_, subject, {}, std::to_string(subscription));
    send_soon();
  }
  return subscription;
}

void JetStream::unsubscribe(std::uint64_t subscription) {
  if (subscriptions_.erase(subscription) == 0 || broken_) return;
  nats::append_unsubscribe(out_, std::to_string(subscription), 0);
  send_soon();
}

void JetStream::break_off(std::string why) {
  if (broken_) return;
  broken_ = true;
  broken_why_ = std::move(why);
  stream_->close();
  for (const auto& [number, pending] : std::exchange(requests_, {})) {
    pending->answer = fail(Errc::unavailable, broken_why_);
    pending->done.set();
  }
  for (const auto& pending : std::exchange(pongs_, {})) {
    pending->answer = fail(Errc::unavailable, broken_why_);
    pending->done.set();
  }
  acknowledged_some_.notify_all();
  for (const auto& [subscription, receive] : subscriptions_)
    receive(nullptr);
}

Async<Result<std::string>> JetStream::ask(std::string_view subject,
                                          std::string payload,
                                          Deadline deadline) {
  auto answer = co_await request("$JS.API." + std::string(subject), {}, payload, deadline);
  if (!answer) co_return fail_while("JetStream's API", answer.error());
  co_return std::move(answer->payload);
}

Async<Result<StreamInfo>> JetStream::stream_info(std::string stream, Deadline deadline) {
  MERIDIAN_CO_TRY(const std::string json, co_await ask("STREAM.INFO." + stream, {}, deadline));
  co_return parse_stream_info(json);
}

Async<Result<StreamInfo>> JetStream::create_stream(StreamConfig config, Deadline deadline) {
  MERIDIAN_CO_TRY(const std::string json,
                  co_await ask("STREAM.CREATE." + config.name, to_json(config), deadline));
  co_return parse_stream_info(json);
}

Async<Result<StreamInfo>> JetStream::update_stream(StreamConfig config, Deadline deadline) {
  MERIDIAN_CO_TRY(const std::string json,
                  co_await ask("STREAM.UPDATE." + config.name, to_json(config), deadline));
  co_return parse_stream_info(json);
}

Async<Result<void>> JetStream::delete_stream(std::string stream, Deadline deadline) {
  MERIDIAN_CO_TRY(const std::string json, co_await ask("STREAM.DELETE." + stream, {}, deadline));
  co_return parse_success(json);
}

Async<Result<std::vector<std::string>>> JetStream::streams_of(std::string subject,
                                                              Deadline deadline) {
  json::Writer writer;
  writer.begin_object().member("subject", subject).end_object();
  MERIDIAN_CO_TRY(const std::string json, co_await ask("STREAM.NAMES", writer.take(), deadline));
  co_return parse_stream_names(json);
}

Async<Result<ConsumerInfo>> JetStream::consumer_info(std::string stream,
                                                     std::string consumer,
                                                     Deadline deadline) {
  MERIDIAN_CO_TRY(const std::string json,
                  co_await ask("CONSUMER.INFO." + stream + "." + consumer, {}, deadline));
  co_return parse_consumer_info(json);
}

Async<Result<ConsumerInfo>> JetStream::create_consumer(std::string stream,
                                                       ConsumerConfig config,
                                                       Deadline deadline) {
  const std::string subject = config.durable.empty()
                                  ? "CONSUMER.CREATE." + stream
                                  : "CONSUMER.DURABLE.CREATE." + stream + "." + config.durable;
  MERIDIAN_CO_TRY(const std::string json, co_await ask(subject, to_json(stream, config), deadline));
  co_return parse_consumer_info(json);
}

Async<Result<void>> JetStream::delete_consumer(std::string stream,
                                               std::string consumer,
                                               Deadline deadline) {
  MERIDIAN_CO_TRY(const std::string json,
                  co_await ask("CONSUMER.DELETE." + stream + "." + consumer, {}, deadline));
  co_return parse_success(json);
}

Async<Result<StoredMessage>> JetStream::message(std::string stream,
                                                std::uint64_t sequence,
                                                Deadline deadline) {
  json::Writer writer;
  writer.begin_object().name("seq").integer(static_cast<std::int64_t>(sequence)).end_object();
  MERIDIAN_CO_TRY(const std::string json,
                  co_await ask("STREAM.MSG.GET." + stream, writer.take(), deadline));
  co_return parse_stored_message(json, received_size_max);
}

Async<Result<StoredMessage>> JetStream::next_message(std::string stream,
                                                     std::uint64_t sequence,
                                                     std::string subject,
                                                     Deadline deadline) {
  json::Writer writer;
  writer.begin_object().name("seq").integer(static_cast<std::int64_t>(sequence));
  writer.member("next_by_subj", subject).end_object();
  MERIDIAN_CO_TRY(const std::string json,
                  co_await ask("STREAM.MSG.GET." + stream, writer.take(), deadline));
  co_return parse_stored_message(json, received_size_max);
}

Async<Result<StoredMessage>> JetStream::last_message(std::string stream,
                                                     std::string subject,
                                                     Deadline deadline) {
  json::Writer writer;
  writer.begin_object().member("last_by_subj", subject).end_object();
  MERIDIAN_CO_TRY(const std::string json,
                  co_await ask("STREAM.MSG.GET." + stream, writer.take(), deadline));
  co_return parse_stored_message(json, received_size_max);
}

}  // namespace meridian
