#include "streams/pull.h"

#include "base/number.h"
#include "wire/json/writer.h"

#include <algorithm>
#include <utility>

namespace meridian {
namespace {

constexpr Duration asked_for = std::chrono::seconds(30);
constexpr Duration asked_grace = std::chrono::seconds(1);
constexpr Duration pause_after_refusal = std::chrono::milliseconds(100);

constexpr int no_messages = 404;
constexpr int timed_out = 408;
constexpr int conflict = 409;
constexpr int no_responders = 503;

}  // namespace

Delivery::Delivery(const nats::Operation& operation)
    : subject_size_(operation.subject.size()),
      reply_size_(operation.reply.size()),
      headers_size_(operation.headers.size()) {
  bytes_.reserve(subject_size_ + reply_size_ + headers_size_ + operation.payload.size());
  bytes_ += operation.subject;
  bytes_ += operation.reply;
  bytes_ += operation.headers;
  bytes_ += operation.payload;
}

Delivery::Delivery(std::string_view subject, std::string_view headers, std::string_view payload)
    : bytes_(subject),
      subject_size_(subject.size()),
      reply_size_(0),
      headers_size_(headers.size()) {
  bytes_ += headers;
  bytes_ += payload;
}

PullSubscription::PullSubscription(EpollLoop& loop, JetStream& jetstream, PullOptions options)
    : loop_(loop),
      jetstream_(jetstream),
      options_(std::move(options)),
      inbox_(jetstream.make_inbox()),
      some_(loop) {
  subscription_ = jetstream_.subscribe(
      inbox_ + ".*", [this](const nats::Operation* operation) { receive(operation); });
}

PullSubscription::~PullSubscription() {
  jetstream_.unsubscribe(subscription_);
}

Async<Result<std::vector<Delivery>>> PullSubscription::take(std::size_t messages_max,
                                                            Deadline deadline) {
  asking_ = true;
  ask_for_more();
  while (held_.empty()) {
    if (failure_) co_return std::unexpected(*std::exchange(failure_, std::nullopt));
    if (jetstream_.broken()) co_return fail(Errc::unavailable, jetstream_.broken_why());
    // Also looks after requests that the server has refused, or forgotten: nats-server 2.9 says
    // nothing about one that expires while it delivers.
    const Deadline next =
        asked_.empty() ? loop_.after(pause_after_refusal) : Deadline::at(asked_.front().ends_at);
    const Deadline look = earlier(deadline, next);
    const Wake wake = co_await some_.wait(look);
    if (wake == Wake::cancelled || (wake == Wake::timeout && deadline.passed(loop_.now()))) {
      MERIDIAN_CO_CHECK(to_result(wake, "messages of " + options_.stream));
    }
    ask_for_more();
  }
  std::vector<Delivery> taken;
  taken.reserve(std::min(messages_max, held_.size()));
  while (!held_.empty() && taken.size() < messages_max) {
    held_size_ -= held_.front().size();
    taken.push_back(std::move(held_.front()));
    held_.pop_front();
  }
  ask_for_more();
  co_return taken;
}

void PullSubscription::receive(const nats::Operation* operation) {
  if (!operation) return some_.notify_all();
  if (operation->reply.empty() || operation->subject.starts_with(inbox_)) {
    const int status = status_of(operation->headers);
    if (status != 0) take_status(*operation, status);
    return;
  }
  const auto place = parse_ack_subject(operation->reply);
  if (!place) return;  // Not JetStream's: somebody knows our inbox.
  while (!asked_.empty() && asked_.front().messages_left == 0)
    asked_.pop_front();
  if (!asked_.empty() && --asked_.front().messages_left == 0) asked_.pop_front();
  Delivery& delivery = held_.emplace_back(*operation);
  delivery.sequence = place->sequence;
  delivery.delivery = place->delivery;
  delivery.pending = place->pending;
  delivery.attempts = place->attempts;
  delivery.time = place->time;
  held_size_ += delivery.size();
  some_.notify_all();
}

// The end of one request, which its inbox names.
void PullSubscription::take_status(const nats::Operation& operation, int status) {
  const auto number =
      parse_number<std::uint64_t>(operation.subject.substr(operation.subject.rfind('.') + 1));
  std::erase_if(asked_, [&](const Asked& asked) { return number == asked.number; });
  if (status == no_responders) {
    failure_ = Error(Errc::unavailable, "JetStream does not answer, or has no such consumer");
  } else if (status == conflict &&
             (operation.headers.contains("Deleted") || operation.headers.contains("deleted"))) {
    failure_ =
        Error(Errc::not_found,
              "consumer " + options_.consumer + " of stream " + options_.stream + " was deleted");
  } else if (status != timed_out && status != no_messages) {
    refused_at_ = loop_.now();  // As when a message would be more than bytes_max: asked anew.
  }
  some_.notify_all();
}

void PullSubscription::ask_for_more() {
  if (!asking_ || failure_ || jetstream_.broken()) return;
  const Time now = loop_.now();
  std::erase_if(asked_, [&](const Asked& asked) { return asked.ends_at <= now; });
  std::size_t expected = held_.size();
  for (const Asked& asked : asked_)
    expected += asked.messages_left;
  if (expected > options_.messages_max / 2) return;
  if (held_size_ * 2 > options_.bytes_max && !held_.empty()) return;
  if (asked_.empty() && held_.empty() && now - refused_at_ < pause_after_refusal &&
      refused_at_ != Time{}) {
    refused_at_ = Time{};  // The wait of take() is the pause.
    return;
  }
  const std::size_t messages = options_.messages_max - expected;
  asked_.push_back({.number = ++asked_number_,
                    .messages_left = messages,
                    .ends_at = now + asked_for + asked_grace});
  json::Writer writer;
  writer.begin_object()
      .name("batch")
      .integer(static_cast<std::int64_t>(messages))
      .name("max_bytes")
      .integer(static_cast<std::int64_t>(options_.bytes_max / 2))
      .name("expires")
      .integer(asked_for.count())
      .end_object();
  jetstream_.send("$JS.API.CONSUMER.MSG.NEXT." + options_.stream + "." + options_.consumer,
                  inbox_ + "." + std::to_string(asked_number_),
                  writer.take());
}

}  // namespace meridian
