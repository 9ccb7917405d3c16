// From the client of a nats visit to the server.

#include "doors/nats/visit.h"
#include "wire/nats/quote.h"
#include "wire/nats/subject.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace meridian {

Async<> NatsVisit::read_client() {
  if (!co_await take_client_bytes(std::exchange(rest_of_client_, {}))) co_return;
  for (;;) {
    const Transfer transfer = visit_.stream().try_read(shared_.read_buffer);
    if (!flush_due(shared_.parts.loop.batch_time())) co_return;
    if (transfer.status == Transfer::Status::would_block) {
      const Wake wake = co_await visit_.stream().readable(reading_deadline());
      if (wake == Wake::cancelled) co_return;
      if (wake == Wake::ready) continue;
      // The batch's time stands still while this fibre runs: it would never be due by it.
      const Time now = shared_.parts.loop.now();
      if (!flush_due(now)) co_return;
      if (idle_deadline().passed(now)) {
        shared_.idle_ended.add();
        visit_.note_end("idle_timeout");
        nats::append_error(farewell_, "Stale Connection");
        co_return;
      }
      continue;
    }
    if (transfer.status != Transfer::Status::done) {
      visit_.note_end("the client left");
      // It may still listen for what it asked.
      if (transfer.status == Transfer::Status::ended) (void)co_await hear_out();
      co_return;
    }
    visit_.counters.bytes_in += transfer.size;
    if (!co_await take_client_bytes({shared_.read_buffer.data(), transfer.size})) co_return;
    const bool more_is_there = transfer.size == shared_.read_buffer.size();
    if (more_is_there && co_await shared_.parts.loop.yield() != Wake::ready) co_return;
  }
}

// Who waits for messages, or for an answer, is not idle. That a client library asks whether the
// connection lives is no use of it.
Deadline NatsVisit::idle_deadline() const {
  const Duration timeout = shared_.parts.limits.idle_timeout;
  if (timeout == Duration::zero()) return Deadline::never();
  // Looked at again then, since that it waits no more wakes nobody.
  if (!subscriptions_.empty() || owed_count_ > 0) return shared_.parts.loop.after(timeout);
  return Deadline::at(active_at_ + timeout);
}

Deadline NatsVisit::reading_deadline() const {
  const Deadline idle = idle_deadline();
  if (tally_.empty()) return idle;
  return earlier(idle, Deadline::at(tally_since_ + shared_.parts.limits.publications_interval));
}

// False: the trail cannot record, so the visit ends.
bool NatsVisit::flush_due(Time now) {
  if (tally_.empty() || now < tally_since_ + shared_.parts.limits.publications_interval)
    return true;
  auto written = tally_.flush();
  tally_since_ = now;
  return written || cannot_record(written.error());
}

// `bytes` may be in the loop's buffer: good until the first wait, as are the operations in them.
Async<bool> NatsVisit::take_client_bytes(std::string_view bytes) {
  std::string_view input = bytes;
  std::string rest;  // Of `bytes`, where there was a wait in between.
  bool stays = true;
  for (;;) {
    const auto operation = from_client_.next(input);
    if (!operation) {
      leave_after_fault(operation.error());
      stays = false;
      break;
    }
    if (!*operation) break;
    ++visit_.counters.commands;
    if ((*operation)->kind == nats::OperationKind::connect) {
      std::string text((*operation)->text);
      std::string behind(input);
      stays = co_await authenticate_again(std::move(text));
      rest = std::move(behind);
      input = rest;
    } else {
      stays = take_client_operation(**operation);
    }
    if (!stays) break;
  }
  if (!stays) put_barrier();
  // What was said before a fault still counts. Nothing of it may stay in the loop's buffers over a
  // wait.
  if (!co_await flush_server() || !co_await flush_client()) co_return false;
  if (!stays) co_return co_await hear_out();
  const std::size_t pending_max = principal_->role->nats->limits().pending_max;
  const auto owes_too_much = [&] {
    return owed_count_ >= shared_.parts.limits.owed_max || owed_size_ >= pending_max;
  };
  if (owes_too_much()) shared_.held_back.add();
  while (owes_too_much()) {
    if (co_await owed_less_.wait() == Wake::cancelled) co_return false;
  }
  co_return true;
}

// The end, and the last word, come behind everything that was owed before. False, always.
Async<bool> NatsVisit::hear_out() {
  const Deadline deadline = shared_.parts.loop.after(shared_.parts.limits.farewell_timeout);
  while (owed_count_ > 0) {
    if (co_await owed_less_.wait(deadline) != Wake::ready) break;
  }
  co_return false;
}

void NatsVisit::leave_after_fault(nats::Fault fault) {
  const std::string_view text = nats::to_error_text(fault);
  visit_.note_end("protocol error: " + std::string(text.empty() ? "bad arguments" : text));
  // Said of its line already, before what was wrong came.
  const std::string_view subject = from_client_.broken_subject();
  if (asked_.pedantic && !subject.empty() && !nats::is_literal(subject)) say_invalid_subject();
  if (text.empty()) return;
  std::string error;
  nats::append_error(error, text);
  farewell_ = std::move(error);
}

// False: the visit ends.
bool NatsVisit::take_client_operation(const nats::Operation& operation) {
  switch (operation.kind) {
    case nats::OperationKind::ping:
      forward(nats::ping_bytes);
      owe(Owed::Kind::pong);
      return true;
    case nats::OperationKind::pong:
      forward(nats::pong_bytes);
      return true;
    case nats::OperationKind::sub:
      active_at_ = shared_.parts.loop.batch_time();
      return on_subscribe(operation);
    case nats::OperationKind::unsub:
      active_at_ = shared_.parts.loop.batch_time();
      on_unsubscribe(operation);
      return true;
    case nats::OperationKind::pub:
    case nats::OperationKind::hpub:
      active_at_ = shared_.parts.loop.batch_time();
      return on_publish(operation);
    case nats::OperationKind::ok:
      return true;  // The server takes no notice either.
    case nats::OperationKind::info:
      return nats::parse_info(operation.text).has_value();  // Nor of this, but that it is JSON.
    case nats::OperationKind::connect:                      // authenticate_again() has it.
    case nats::OperationKind::msg:
    case nats::OperationKind::hmsg:
    case nats::OperationKind::err:
      break;
  }
  return false;  // The parser knows none of these from a client.
}

bool NatsVisit::may_receive(std::string_view subject) {
  return inboxes_->owns(subject) || principal_->role->nats->subscribe().decide(subject).allowed;
}

bool NatsVisit::cannot_record(const Error& error) {
  visit_.note_end("the trail cannot record: " + error.detail());
  return false;
}

// Says so in the server's words and in its turn; the visit goes on.
bool NatsVisit::deny(Action action,
                     std::string_view resource,
                     std::string_view rule,
                     std::string text) {
  shared_.denied.add();
  auto recorded = shared_.parts.trail.append({visit_.id(), visit_.request()},
                                             trail::Denied{.door = to_string(DoorName::nats),
                                                           .action = to_string(action),
                                                           .resource = resource,
                                                           .rule = rule});
  if (!recorded) return cannot_record(recorded.error());
  say_denied(text);
  return true;
}

void NatsVisit::say_denied(std::string_view text) {
  std::string error;
  nats::append_error(error, text);
  answer_behind_all(error);
}

// What a pedantic client is told of a message that is published all the same.
void NatsVisit::say_invalid_subject() {
  say_denied("Invalid Publish Subject");
}

bool NatsVisit::on_subscribe(const nats::Operation& operation) {
  const NatsPermissions& role = *principal_->role->nats;
  // A `>` that does not stand last: the server says so to who might have meant what is allowed.
  if (!nats::is_pattern(operation.subject) && may_receive(operation.subject)) {
    forward(operation.raw);
    if (verbose_) owe(Owed::Kind::ok);
    unheard_ = true;
    return true;
  }
  const bool own_inbox = inboxes_->owns(operation.subject) && nats::is_pattern(operation.subject);
  const auto asked =
      own_inbox ? SubjectRules::PatternDecision{.decision = {.allowed = true,
                                                             .rule = "an inbox of its own"}}
                : role.subscribe().decide_pattern(operation.subject);
  Decision decision = asked.decision;
  if (decision.allowed && !operation.queue.empty()) decision = role.decide_queue(operation.queue);
  if (!decision.allowed) {
    std::string text =
        "Permissions Violation for Subscription to " + nats::quoted(operation.subject);
    if (!operation.queue.empty()) text += " using queue " + nats::quoted(operation.queue);
    return deny(Action::subscribe, operation.subject, decision.rule, std::move(text));
  }
  const bool known = subscriptions_.contains(operation.sid);
  if (!known && subscriptions_.size() >= role.limits().subscriptions_max) {
    return deny(Action::subscribe,
                operation.subject,
                "subscriptions_max",
                "maximum subscriptions exceeded");
  }
  // To the server too, the second subscription of a number is none.
  if (!known) {
    auto recorded = shared_.parts.trail.append(
        {visit_.id(), visit_.request()},
        trail::Subscription{
            .pattern = operation.subject, .queue = operation.queue, .rule = asked.decision.rule});
    if (!recorded) return cannot_record(recorded.error());
    std::string sid(operation.sid);
    Subscription subscription{.pattern = std::string(operation.subject),
                              .queue = std::string(operation.queue),
                              .number = ++subscriptions_count_};
    subscription.withholds = asked.partly || all_withhold_ || withholding_.contains(sid);
    if (asked.partly) {
      withholding_.insert(sid);
      all_withhold_ = all_withhold_ || withholding_.size() > role.limits().subscriptions_max;
    }
    subscriptions_.emplace(std::move(sid), std::move(subscription));
    shared_.subscriptions.add(1);
  }
  forward(operation.raw);
  if (verbose_) owe(Owed::Kind::ok);
  unheard_ = true;  // The server may still refuse it.
  return true;
}

void NatsVisit::on_unsubscribe(const nats::Operation& operation) {
  const auto found = subscriptions_.find(operation.sid);
  if (found != subscriptions_.end() && found->second.withholds && operation.max != 0) {
    // Counted here alone, since what is withheld does not count, and from when the server has sent
    // all that was asked for before.
    forward(nats::ping_bytes);
    ++owed_count_;
    unheard_ = false;
    owed_.push_back({.kind = Owed::Kind::limit,
                     .bytes = std::string(operation.sid),
                     .subscription = found->second.number,
                     .max = operation.max});
    if (verbose_) answer(nats::ok_bytes);
    return;
  }
  if (found != subscriptions_.end()) {
    if (operation.max <= found->second.delivered_count) {
      erase_subscription(operation.sid);
    } else {
      found->second.max = operation.max;
    }
  }
  forward(operation.raw);
  if (verbose_) owe(Owed::Kind::ok);
}

Decision NatsVisit::decide_publish(const nats::Operation& operation) {
  if (operation.subject == subject_ && !subject_.empty()) return {.allowed = true, .rule = rule_};
  const Decision decision = principal_->role->nats->decide_publish(
      operation.subject, operation.payload, [this](std::string_view subject) {
        return may_receive(subject);
      });
  // Where the body counts, each message is judged by itself.
  const bool by_subject = !operation.subject.starts_with("$JS.");
  if (decision.allowed && by_subject) {
    subject_ = operation.subject;
    rule_ = decision.rule;
    prefix_.clear();
  }
  return decision;
}

// A bucket of as many messages as a second may bring, which fills evenly.
bool NatsVisit::within_rate() {
  const auto most = static_cast<double>(principal_->role->nats->limits().messages_per_second);
  if (most == 0) return true;
  const Time now = shared_.parts.loop.batch_time();
  const std::chrono::duration<double> since = now - rate_at_;
  rate_left_ = rate_at_ == Time{} ? most : std::min(most, rate_left_ + most * since.count());
  rate_at_ = now;
  if (rate_left_ < 1) return false;
  --rate_left_;
  return true;
}

// Each is told to the client and counted; the trail has one a second, or it would grow with what
// was refused.
bool NatsVisit::refuse_for_rate(const nats::Operation& operation) {
  shared_.rate_refused.add();
  const Time now = shared_.parts.loop.batch_time();
  const bool recorded_lately =
      rate_recorded_at_ != Time{} && now < rate_recorded_at_ + std::chrono::seconds(1);
  constexpr std::string_view text = "maximum messages per second exceeded";
  if (!recorded_lately) {
    rate_recorded_at_ = now;
    return deny(Action::publish, operation.subject, "messages_per_second", std::string(text));
  }
  say_denied(text);
  return true;
}

bool NatsVisit::use_response(std::string_view subject) {
  const auto found = responses_.find(subject);
  if (found == responses_.end()) return false;
  Response& response = found->second;
  if (response.left == 0 || shared_.parts.loop.batch_time() > response.until) return false;
  --response.left;
  return true;
}

bool NatsVisit::on_publish(const nats::Operation& operation) {
  if (asked_.pedantic && !nats::is_literal(operation.subject)) say_invalid_subject();
  const auto refused = [&](std::string_view rule) {
    return deny(Action::publish,
                operation.subject,
                rule,
                "Permissions Violation for Publish to " + nats::quoted(operation.subject));
  };
  Decision decision = decide_publish(operation);
  if (!decision.allowed) {
    if (!use_response(operation.subject)) return refused(decision.rule);
    decision.rule = "a response";
  }
  // Else somebody would be made to write to where the client may not.
  if (!operation.reply.empty() && !may_receive(operation.reply)) {
    return deny(Action::publish,
                operation.reply,
                "the reply subject is none that it may receive",
                "Permissions Violation for Publish with Reply of " + nats::quoted(operation.reply));
  }
  if (!within_rate()) return refuse_for_rate(operation);
  RequestId request;  // Of its own.
  const bool plain = operation.headers.empty() && !stamp_->has_mac();
  if (!plain) {
    shared_.headers.clear();
    const NatsStamp::Message message{
        .subject = operation.subject, .headers = operation.headers, .payload = operation.payload};
    const auto rewritten = stamp_->rewrite(message, shared_.headers);
    if (!rewritten) return refused(rewritten.error().detail());
    request = *rewritten;
  }
  const std::string_view headers = plain ? stamp_->plain() : std::string_view(shared_.headers);
  const std::size_t size = headers.size() + operation.payload.size();
  if (static_cast<std::int64_t>(size) > info_.max_payload) {
    leave_after_fault(nats::Fault::payload_too_large);
    return false;
  }
  if (tally_.empty()) tally_since_ = shared_.parts.loop.batch_time();
  if (auto counted = tally_.count(decision.rule, operation.subject, size, request); !counted) {
    return cannot_record(counted.error());
  }
  ++visit_.counters.writes;
  shared_.published.add();
  if (plain && operation.reply.empty() && operation.subject == subject_) {
    append_stamped(operation);
  } else {
    nats::append_publish(
        shared_.to_server, operation.subject, operation.reply, headers, operation.payload);
  }
  if (verbose_) owe(Owed::Kind::ok);
  unheard_ = true;
  return true;
}

// Messages of one size to one subject begin alike.
void NatsVisit::append_stamped(const nats::Operation& operation) {
  constexpr std::size_t end_size = 2;  // CR LF, which stands behind the payload already.
  if (prefix_.empty() || prefix_payload_size_ != operation.payload.size()) {
    prefix_.clear();
    nats::append_publish_begin(prefix_, subject_, {}, stamp_->plain(), operation.payload.size());
    prefix_payload_size_ = operation.payload.size();
  }
  shared_.to_server += prefix_;
  shared_.to_server += operation.raw.substr(operation.raw.size() - prefix_payload_size_ - end_size);
}

// What follows waits until the server has done all that was asked of it.
void NatsVisit::put_barrier() {
  forward(nats::ping_bytes);
  owe(Owed::Kind::barrier);
}

// Answers that the client waits for, or that we do.
void NatsVisit::owe(Owed::Kind kind) {
  if (kind == Owed::Kind::pong || kind == Owed::Kind::barrier) unheard_ = false;
  ++owed_count_;
  if (!owed_.empty() && owed_.back().kind == kind) {
    ++owed_.back().count;
    return;
  }
  owed_.push_back({.kind = kind});
}

// Also behind what nobody is answered to: a message that the client published to itself comes
// before the refusal of the next one.
void NatsVisit::answer_behind_all(std::string_view bytes) {
  if (unheard_) put_barrier();
  answer(bytes);
}

// Behind the answers to what was asked before.
void NatsVisit::answer(std::string_view bytes) {
  if (owed_.empty()) {
    to_client() += bytes;
    return;
  }
  owed_size_ += bytes.size();
  if (owed_.back().kind == Owed::Kind::ours) {
    owed_.back().bytes += bytes;
    ++owed_.back().count;
  } else {
    owed_.push_back({.kind = Owed::Kind::ours, .bytes = std::string(bytes)});
  }
  ++owed_count_;
}

}  // namespace meridian
