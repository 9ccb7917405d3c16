#include "doors/nats/visit.h"

#include "wire/nats/quote.h"

#include <string>
#include <utility>
#include <vector>

namespace meridian {
namespace {

constexpr std::size_t buffer_kept_max = 256 * 1024;

// Sends what the loop's buffer holds, behind what is left of before; the rest is kept in `left`.
// False: the stream has failed.
bool send_now(Stream& stream, std::string& left, std::string& fresh, std::uint64_t& sent) {
  if (left.empty() && !fresh.empty()) {
    const Transfer transfer = stream.try_write(fresh);
    sent += transfer.size;
    if (transfer.status == Transfer::Status::failed) {
      left.clear();
      fresh.clear();
      return false;
    }
    if (transfer.size < fresh.size()) left.assign(fresh, transfer.size);
  } else {
    left += fresh;
  }
  fresh.clear();
  if (fresh.capacity() > buffer_kept_max) fresh.shrink_to_fit();
  return true;
}

}  // namespace

NatsVisit::NatsVisit(NatsDoorShared& shared, Visit& visit)
    : shared_(shared),
      visit_(visit),
      since_(shared.parts.loop.now()),
      from_client_(nats::Sender::client,
                   {.long_line_size_max = shared.parts.limits.connect_size_max}),
      from_server_(nats::Sender::server, {}),
      owed_less_(visit.loop()),
      tally_(shared.parts.trail, {visit.id(), visit.request()}),
      server_side_(visit.loop()) {}

NatsVisit::~NatsVisit() = default;

Async<> NatsVisit::run() {
  active_at_ = shared_.parts.loop.now();
  registration_ = shared_.parts.registry.add(visit_.id(), DoorName::nats, principal_, *this);
  visit_.on_drain([this] { drain(); });
  if (visit_.draining()) drain();
  server_side_.spawn(read_server());
  co_await read_client();
}

// The loop's buffers are ours until the first wait alone: before it they are emptied, both.
NatsVisit::Sent NatsVisit::send_fresh() {
  std::uint64_t to_client = 0;
  std::uint64_t to_server = 0;
  Sent sent{.client = send_now(visit_.stream(), to_client_, shared_.to_client, to_client)};
  if (server_) sent.server = send_now(*server_, to_server_, shared_.to_server, to_server);
  visit_.counters.bytes_out += to_client;
  return sent;
}

// Other fibres may send meanwhile: each finds what is left where it is.
Async<bool> NatsVisit::flush_client() {
  bool good = send_fresh().client;
  Stream& stream = visit_.stream();
  while (good && !to_client_.empty()) {
    const Transfer transfer = stream.try_write(to_client_);
    if (transfer.status == Transfer::Status::done) {
      visit_.counters.bytes_out += transfer.size;
      to_client_.erase(0, transfer.size);
      continue;
    }
    if (transfer.status != Transfer::Status::would_block) {
      good = false;
      break;
    }
    client_lags_ = true;
    const Deadline patience = shared_.parts.loop.after(shared_.parts.limits.slow_consumer_timeout);
    const Wake wake = co_await stream.writable(patience);
    if (wake == Wake::timeout) {
      shared_.slow_consumers.add();
      visit_.end(std::string(nats_slow_consumer));
    }
    if (wake != Wake::ready) co_return false;
  }
  if (!good) {
    visit_.note_end("the client left");
    co_return false;
  }
  if (to_client_.capacity() > buffer_kept_max) to_client_.shrink_to_fit();
  co_return true;
}

Async<bool> NatsVisit::flush_server() {
  bool good = send_fresh().server;
  while (good && !to_server_.empty()) {
    const Transfer transfer = server_->try_write(to_server_);
    if (transfer.status == Transfer::Status::done) {
      to_server_.erase(0, transfer.size);
    } else if (transfer.status != Transfer::Status::would_block) {
      good = false;
    } else if (co_await server_->writable() != Wake::ready) {
      co_return false;
    }
  }
  if (!good) {
    visit_.end("the NATS server closed the connection");
    co_return false;
  }
  if (to_server_.capacity() > buffer_kept_max) to_server_.shrink_to_fit();
  co_return true;
}

void NatsVisit::end(Ending ending) {
  if (farewell_.empty()) {
    switch (ending.reason) {
      case EndReason::expired:
        nats::append_error(farewell_, "User Authentication Expired");
        break;
      case EndReason::revoked:
      case EndReason::unbound:
        nats::append_error(farewell_, "User Authentication Revoked");
        break;
      case EndReason::operator_request:
        break;
    }
  }
  visit_.end(std::move(ending.text));
}

void NatsVisit::renewed(PrincipalPointer principal) {
  if (!principal->role->nats) {
    end({.reason = EndReason::unbound,
         .text = "the configuration was changed, and this role may not use NATS any more"});
    return;
  }
  principal_ = std::move(principal);
  // The old role's rules are gone, and the texts with them.
  forget_decisions();
  stamp_->renew(principal_->role);
  end_forbidden_subscriptions();
  server_side_.spawn(flush_both());
}

void NatsVisit::forget_decisions() noexcept {
  subject_.clear();
  rule_ = {};
  prefix_.clear();
}

// What the role may no longer receive ends, and the client is told as a server that was reloaded
// tells it. Called between two waits: only what waits to be sent is touched.
void NatsVisit::end_forbidden_subscriptions() {
  const NatsPermissions& role = *principal_->role->nats;
  std::vector<std::string> ended;
  for (auto& [sid, subscription] : subscriptions_) {
    if (inboxes_->holds(subscription.pattern)) continue;
    const auto asked = role.subscribe().decide_pattern(subscription.pattern);
    const bool queue_allowed =
        subscription.queue.empty() || role.decide_queue(subscription.queue).allowed;
    if (asked.decision.allowed && queue_allowed) {
      if (asked.partly && !subscription.withholds) {
        subscription.withholds = true;
        withholding_.insert(sid);
      }
      continue;
    }
    ended.push_back(sid);
  }
  for (const std::string& sid : ended) {
    const Subscription& subscription = subscriptions_.find(sid)->second;
    std::string text =
        "Permissions Violation for Subscription to " + nats::quoted(subscription.pattern);
    if (!subscription.queue.empty()) text += " using queue " + nats::quoted(subscription.queue);
    nats::append_error(to_client_, text);
    nats::append_unsubscribe(to_server_, sid, 0);
    if (verbose_) owe(Owed::Kind::quiet_ok);
    // Its last messages may be on their way.
    withholding_.insert(sid);
    erase_subscription(sid);
    shared_.denied.add();
  }
}

Async<> NatsVisit::flush_both() {
  (void)(co_await flush_server() && co_await flush_client());
}

// The protocol has no way to say it.
void NatsVisit::expiring(Duration /*left*/) {}

// As a server that is about to stop: clients are told at once, so that they connect elsewhere, and
// may finish what they have under way.
void NatsVisit::drain() {
  if (std::exchange(lame_duck_, true)) return;
  nats::append_info(to_client_, info_for_client(info_));
  server_side_.spawn(leave_in_time());
}

Async<> NatsVisit::leave_in_time() {
  if (!co_await flush_client()) co_return;
  (void)co_await shared_.parts.loop.sleep(shared_.parts.limits.lame_duck_timeout);
  visit_.end("the node is stopping");
}

Async<> NatsVisit::finish() {
  const Shield shield(co_await this_fibre());
  registration_ = {};
  visit_.on_drain(nullptr);
  co_await server_side_.close();
  shared_.subscriptions.add(-static_cast<std::int64_t>(subscriptions_.size()));
  const Deadline deadline = shared_.parts.loop.after(shared_.parts.limits.farewell_timeout);
  // What was taken from the client and judged is the server's; what the client has not taken in all
  // this time is nobody's.
  if (server_ && !to_server_.empty()) (void)co_await write_all(*server_, to_server_, deadline);
  if (server_) {
    // So that the server reads all of it before the end.
    co_await say_goodbye(*server_, deadline);
    server_->close();
  }
  if (!farewell_.empty() && visit_.end_reason() != nats_slow_consumer) {
    (void)co_await write_all(visit_.stream(), to_client_ + farewell_, deadline);
  }
  if (auto written = tally_.flush(); !written) visit_.note_end(written.error().detail());
}

}  // namespace meridian
