// From the server of a nats visit to its client.

#include "doors/nats/visit.h"

#include <string>
#include <utility>

namespace meridian {

Async<> NatsVisit::read_server() {
  if (!co_await take_server_bytes(std::exchange(rest_of_server_, {}))) co_return;
  for (;;) {
    const Transfer transfer = server_->try_read(shared_.read_buffer);
    if (transfer.status == Transfer::Status::would_block) {
      client_lags_ = false;
      if (co_await server_->readable() == Wake::cancelled) co_return;
      continue;
    }
    if (transfer.status != Transfer::Status::done) {
      // The server cuts who lets too much pile up there, and says no word of it to anybody.
      if (client_lags_) shared_.slow_consumers.add();
      co_return visit_.end(client_lags_ ? std::string(nats_slow_consumer)
                                        : "the NATS server closed the connection");
    }
    if (!co_await take_server_bytes({shared_.read_buffer.data(), transfer.size})) co_return;
    const bool more_is_there = transfer.size == shared_.read_buffer.size();
    if (more_is_there && co_await shared_.parts.loop.yield() != Wake::ready) co_return;
  }
}

// `bytes` may be in the loop's buffer: good until the first wait. The client's slowness is the
// server's: nothing more is read while it does not take what there is.
Async<bool> NatsVisit::take_server_bytes(std::string_view bytes) {
  std::string_view input = bytes;
  server_bytes_ = bytes;
  bool stays = true;
  while (stays) {
    const auto operation = from_server_.next(input);
    if (!operation) {
      visit_.end("the NATS server said what is not its protocol");
      stays = false;
    } else if (!*operation) {
      break;
    } else {
      stays = take_server_operation(**operation);
    }
  }
  // What is left of a run is sent from where it lies, unless something has to go before it.
  if (to_client_.empty() && shared_.to_client.empty() && !run_.empty()) {
    const Transfer transfer = visit_.stream().try_write(run_);
    visit_.counters.bytes_out += transfer.size;
    run_.remove_prefix(transfer.size);
    if (transfer.status == Transfer::Status::failed) {
      visit_.end("the client left");
      stays = false;
    }
  }
  (void)to_client();
  server_bytes_ = {};
  if (!co_await flush_client()) {
    visit_.end("the client left");
    co_return false;
  }
  co_return co_await flush_server() && stays;
}

bool NatsVisit::take_server_operation(const nats::Operation& operation) {
  switch (operation.kind) {
    case nats::OperationKind::msg:
    case nats::OperationKind::hmsg:
      on_message(operation);
      return true;
    case nats::OperationKind::ping:
      to_client() += nats::ping_bytes;
      return true;
    case nats::OperationKind::pong:
      if (!owed_.empty() &&
          (owed_.front().kind == Owed::Kind::barrier || owed_.front().kind == Owed::Kind::limit ||
           owed_.front().kind == Owed::Kind::finish)) {
        on_own_pong();
        return true;
      }
      to_client() += nats::pong_bytes;
      on_answer(Owed::Kind::pong);
      return true;
    case nats::OperationKind::ok:
      if (!owed_.empty() && owed_.front().kind == Owed::Kind::quiet_ok) {
        on_answer(Owed::Kind::quiet_ok);
        return true;
      }
      to_client() += nats::ok_bytes;
      on_answer(Owed::Kind::ok);
      return true;
    case nats::OperationKind::err:
      to_client() += operation.raw;
      // In the place of an +OK, where one was owed next.
      if (verbose_ && !owed_.empty() && owed_.front().kind == Owed::Kind::ok) {
        on_answer(Owed::Kind::ok);
      }
      return true;
    case nats::OperationKind::info: {
      auto info = nats::parse_info(operation.text);
      if (!info) {
        visit_.end("the NATS server's INFO: " + info.error().detail());
        return false;
      }
      info_ = *std::move(info);
      const nats::ServerInfo told = info_for_client(info_);
      told_payload_max_ = told.max_payload;
      from_client_.set_payload_size_max(static_cast<std::size_t>(told_payload_max_));
      nats::append_info(to_client(), told);
      return true;
    }
    case nats::OperationKind::connect:
    case nats::OperationKind::pub:
    case nats::OperationKind::hpub:
    case nats::OperationKind::sub:
    case nats::OperationKind::unsub:
      break;
  }
  return false;  // The parser knows none of these from a server.
}

// Behind everything that came before it.
std::string& NatsVisit::to_client() {
  shared_.to_client += run_;
  run_ = {};
  return shared_.to_client;
}

// Messages that go on as they are, one behind the other, are one piece of what was read.
void NatsVisit::pass_raw(std::string_view raw) {
  const bool lies_there = raw.data() >= server_bytes_.data() &&
                          raw.data() + raw.size() <= server_bytes_.data() + server_bytes_.size();
  if (!lies_there) {
    to_client() += raw;
  } else if (!run_.empty() && run_.data() + run_.size() == raw.data()) {
    run_ = {run_.data(), run_.size() + raw.size()};
  } else {
    (void)to_client();
    run_ = raw;
  }
}

// Most messages are of the same one as the message before. Null: there is none.
std::pair<const std::string, NatsVisit::Subscription>* NatsVisit::find_subscription(
    std::string_view sid) {
  if (found_last_ && found_last_->first == sid) return found_last_;
  const auto found = subscriptions_.find(sid);
  found_last_ = found == subscriptions_.end() ? nullptr : &*found;
  return found_last_;
}

void NatsVisit::erase_subscription(std::string_view sid) {
  found_last_ = nullptr;
  const auto found = subscriptions_.find(sid);
  if (found == subscriptions_.end()) return;
  subscriptions_.erase(found);
  shared_.subscriptions.add(-1);
}

// The server has done what was asked of it before we asked for this.
void NatsVisit::on_own_pong() {
  const Owed owed = owed_.front();
  if (owed.kind == Owed::Kind::finish) finished_.erase(finished_.find(owed.bytes));
  if (owed.kind == Owed::Kind::limit) {
    const auto found = subscriptions_.find(owed.bytes);
    if (found != subscriptions_.end() && found->second.number == owed.subscription) {
      found->second.max = owed.max;
      if (found->second.delivered_count >= owed.max) finish_subscription(owed.bytes);
    }
  }
  on_answer(owed.kind);
}

// One whose messages are counted here: the server does not know that the client has had enough.
void NatsVisit::finish_subscription(std::string_view sid) {
  nats::append_unsubscribe(shared_.to_server, sid, 0);
  // Its +OK is none that the client waits for.
  if (verbose_) owe(Owed::Kind::quiet_ok);
  forward(nats::ping_bytes);
  ++owed_count_;
  owed_.push_back({.kind = Owed::Kind::finish, .bytes = std::string(sid)});
  finished_.emplace(sid);
  erase_subscription(sid);
}

void NatsVisit::on_message(const nats::Operation& operation) {
  if (!finished_.empty() && finished_.contains(std::string(operation.sid))) return;
  auto* const found = find_subscription(operation.sid);
  if (!found) {
    // Sent before the server knew that the client has ended the subscription: still for it, where
    // it may have it.
    const bool judged = all_withhold_ || withholding_.contains(std::string(operation.sid));
    if (judged && !may_be_delivered(operation.subject)) {
      shared_.withheld.add();
      return;
    }
    pass(operation);
    return;
  }
  Subscription& subscription = found->second;
  if (subscription.withholds && !may_be_delivered(operation.subject)) {
    shared_.withheld.add();
    return;
  }
  pass(operation);
  ++subscription.delivered_count;
  if (subscription.max != 0 && subscription.delivered_count >= subscription.max) {
    if (subscription.withholds) {
      finish_subscription(operation.sid);
    } else {
      erase_subscription(operation.sid);
    }
  }
}

// What comes to a wide subscription makes no inbox the visit's own.
bool NatsVisit::may_be_delivered(std::string_view subject) const {
  return principal_->role->nats->subscribe().decide(subject).allowed || inboxes_->holds(subject);
}

void NatsVisit::pass(const nats::Operation& operation) {
  ++visit_.counters.reads;
  shared_.delivered.add();
  if (operation.kind == nats::OperationKind::hmsg && !headers_) {
    nats::append_message(
        to_client(), operation.subject, operation.sid, operation.reply, {}, operation.payload);
  } else {
    pass_raw(operation.raw);
  }
  if (!operation.reply.empty()) remember_response(operation.reply);
}

// The oldest makes room; so does one that has come to its end.
void NatsVisit::remember_response(std::string_view reply) {
  const NatsConfig& limits = principal_->role->nats->limits();
  if (limits.responses_max == 0) return;
  const Time now = shared_.parts.loop.batch_time();
  while (!responses_order_.empty()) {
    const auto oldest = responses_.find(responses_order_.front());
    const bool over = oldest == responses_.end() || oldest->second.left == 0 ||
                      now > oldest->second.until ||
                      responses_order_.size() >= shared_.parts.limits.responses_max;
    if (!over) break;
    if (oldest != responses_.end()) responses_.erase(oldest);
    responses_order_.pop_front();
  }
  const Response fresh{.left = limits.responses_max, .until = now + limits.responses_expiry};
  const auto [place, added] = responses_.insert_or_assign(std::string(reply), fresh);
  if (added) responses_order_.emplace_back(reply);
}

void NatsVisit::on_answer(Owed::Kind kind) {
  if (owed_.empty() || owed_.front().kind != kind) return;
  --owed_count_;
  if (--owed_.front().count == 0) owed_.pop_front();
  say_owed();
  owed_less_.notify_all();
}

// What was waiting for that answer.
void NatsVisit::say_owed() {
  while (!owed_.empty() && owed_.front().kind == Owed::Kind::ours) {
    to_client() += owed_.front().bytes;
    owed_size_ -= owed_.front().bytes.size();
    owed_count_ -= owed_.front().count;
    owed_.pop_front();
  }
}

}  // namespace meridian
