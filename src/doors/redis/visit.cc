#include "doors/redis/visit.h"

#include "base/escape.h"
#include "base/number.h"
#include "doors/redis/commands.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace meridian {
namespace {

// An error of ours in Redis's terms: a code in capitals, then words.
std::string_view code_for(Errc code) noexcept {
  switch (code) {
    case Errc::unauthenticated:
      return "WRONGPASS";
    case Errc::denied:
      return "NOPERM";
    case Errc::exhausted:
      return "BUSY";
    case Errc::timeout:
    case Errc::unavailable:
      return "TRYAGAIN";
    case Errc::outcome_unknown:
      return "UNKNOWNOUTCOME";
    case Errc::cancelled:
    case Errc::not_found:
    case Errc::conflict:
    case Errc::invalid:
      return "ERR";
  }
  return "ERR";
}

constexpr std::size_t write_buffer_kept_max = 256 * 1024;

}  // namespace

RedisVisit::RedisVisit(RedisDoorShared& shared, Visit& visit)
    : shared_(shared),
      visit_(visit),
      since_(shared.parts.loop.now()),
      active_at_(since_),
      unauthenticated_since_(since_),
      decoder_(shared.parts.limits.requests),
      reads_(shared.parts.trail, {visit.id(), visit.request()}),
      settled_(visit.loop()) {}

RedisVisit::~RedisVisit() = default;

Async<> RedisVisit::run(std::string received) {
  visit_.on_drain([this] {
    if (!owes() && !needs_lease()) visit_.end("the node is stopping");
  });
  if (!received.empty()) {
    visit_.counters.bytes_in += received.size();
    if (!co_await take_bytes(received)) co_return;
  }
  for (;;) {
    if (visit_.draining() && !owes() && !needs_lease())
      co_return visit_.note_end("the node is stopping");
    const Transfer transfer = visit_.stream().try_read(shared_.read_buffer);
    if (transfer.status == Transfer::Status::would_block) {
      const Wake wake = co_await visit_.stream().readable(read_deadline());
      if (wake == Wake::cancelled) co_return;
      if (wake == Wake::timeout) {
        if (!authenticated()) co_return visit_.note_end("no login within login_timeout");
        if (auto written = reads_.flush(); !written)
          co_return visit_.note_end(written.error().detail());
        if (idle_deadline().passed(shared_.parts.loop.now())) {
          const std::string why =
              "the client was idle for " + to_text(shared_.parts.limits.idle_timeout);
          resp::ReplyWriter(farewell_, protocol_).error("ERR " + why + " (idle_timeout)");
          co_return visit_.note_end(why);
        }
      }
      continue;
    }
    if (transfer.status != Transfer::Status::done) co_return visit_.note_end("the client left");
    visit_.counters.bytes_in += transfer.size;
    active_at_ = shared_.parts.loop.now();
    if (!co_await take_bytes({shared_.read_buffer.data(), transfer.size})) co_return;
    const bool more_is_there = transfer.size == shared_.read_buffer.size();
    if (more_is_there && co_await shared_.parts.loop.yield() != Wake::ready) co_return;
  }
}

Deadline RedisVisit::read_deadline() const {
  if (!authenticated())
    return Deadline::at(unauthenticated_since_ + shared_.parts.limits.login_timeout);
  const Deadline idle = idle_deadline();
  if (reads_.empty()) return idle;
  return earlier(idle, Deadline::at(reads_since_ + shared_.parts.limits.reads_interval));
}

// Who waits for messages, or for an answer, is not idle.
Deadline RedisVisit::idle_deadline() const {
  const Duration timeout = shared_.parts.limits.idle_timeout;
  if (timeout == Duration::zero() || !subscriptions_.empty() || monitoring_ || tracking_ || owes())
    return Deadline::never();
  return Deadline::at(active_at_ + timeout);
}

// `bytes` are in a buffer of the loop: good until the first wait. So are the requests in them.
Async<bool> RedisVisit::take_bytes(std::string_view bytes) {
  // What cannot be recorded is not answered.
  if (auto ready = shared_.parts.trail.ready(); !ready) {
    reply_error("TRYAGAIN the audit trail cannot record: " + ready.error().detail());
    (void)co_await flush();
    visit_.note_end("the trail cannot record");
    co_return false;
  }
  std::string_view input = bytes;
  for (;;) {
    const auto next = take_requests(input);
    // The links have what was written and send it while this fibre waits, not before.
    shared_.parts.trail.flush_writes();
    if (!next) {
      // Redis answers so and hangs up, since what follows cannot be read.
      const std::string complaint = next.error().detail();
      if (owes() && !co_await settle()) co_return false;
      reply_error("ERR " + complaint);
      (void)co_await flush();
      visit_.note_end("protocol error: " + complaint);
      co_return false;
    }
    if (*next == Next::leave) {
      (void)co_await flush();
      co_return false;
    }
    if (*next == Next::go_on) break;
    if (!co_await (*next == Next::act ? act() : settle())) co_return false;
    input = input_;
  }
  // What Redis owes on a link of the visit's own is passed on by that link's fibre.
  if (lease_ ? !owed_.empty() && !(co_await flush() && co_await settle_views())
             : owes() && !co_await settle()) {
    co_return false;
  }
  input_.clear();
  if (input_.capacity() > write_buffer_kept_max) input_.shrink_to_fit();
  co_return co_await flush();
}

// Takes requests off the front of `input`: all, or until one has to wait; input_ is then what to go
// on with. Waits for nothing itself. Errors: what follows is no request.
Result<RedisVisit::Next> RedisVisit::take_requests(std::string_view& input) {
  std::size_t taken = 0;
  for (;;) {
    MERIDIAN_TRY(const auto request, decoder_.next(input));
    if (!request) return Next::go_on;
    const Next next = take_request(*request);
    if (next == Next::leave) return next;
    if (next != Next::settle && !(next == Next::act && comes_again())) {
      ++visit_.counters.commands;
      shared_.commands_total.add();
      ++taken;
    }
    const bool too_many = owes() && taken >= shared_.parts.limits.pipelined_max;
    if (next == Next::go_on && !too_many) continue;
    // What is not looked at yet is kept over the wait; a request that waits for others is looked at
    // again.
    std::string kept = next == Next::settle ? to_request_bytes(*request) : std::string();
    kept += input;
    input_ = std::move(kept);
    return next == Next::go_on ? Next::settle : next;
  }
}

RedisVisit::Act RedisVisit::make_act(Act::Kind kind) {
  Act act;
  act.kind = kind;
  return act;
}

RedisVisit::Next RedisVisit::take_request(const resp::Request& request) {
  if (const auto next = take_session_command(request)) return *next;
  if (!authenticated()) {
    reply_error("NOAUTH Authentication required. Give a token: AUTH user token");
    return Next::go_on;
  }
  const resp::Command* const command = shared_.commands.get()->find(request.arguments);
  if (command && command->accepts(request.arguments.size())) return relay(*command, request);
  if (owes()) return Next::settle;
  transaction_failed_ = in_transaction_;
  if (command) {
    reply_error(fmt::format("ERR wrong number of arguments for '{}' command", command->name));
  } else {
    reply_error(fmt::format("ERR unknown command {}", quote(request.arguments.front(), 128)));
  }
  return Next::go_on;
}

void RedisVisit::reply(FunctionRef<void(resp::ReplyWriter&)> write) {
  // Behind replies that are owed it waits its turn.
  if (owed_.empty()) {
    resp::ReplyWriter writer(shared_.write_buffer, protocol_);
    write(writer);
    return;
  }
  Owed owed{.passengers = {}, .ready = {}, .fields = {}, .text = {}};
  resp::ReplyWriter writer(owed.text, protocol_);
  write(writer);
  owed_.push_back(std::move(owed));
}

void RedisVisit::reply_error(std::string_view text) {
  reply([&](resp::ReplyWriter& writer) { writer.error(text); });
}

void RedisVisit::reply_error(const Error& error) {
  reply_error(std::string(code_for(error.code())) + " " + error.detail());
}

Async<bool> RedisVisit::send(std::string_view bytes) {
  visit_.counters.bytes_out += bytes.size();
  Stream& stream = visit_.stream();
  if (out_.empty()) {
    const Transfer transfer = stream.try_write(bytes);
    if (transfer.size == bytes.size()) co_return true;
    out_ = bytes.substr(transfer.size);
  } else {
    out_ += bytes;
  }
  while (!out_.empty()) {
    const Transfer transfer = stream.try_write(out_);
    if (transfer.status == Transfer::Status::done) {
      out_.erase(0, transfer.size);
    } else if (transfer.status != Transfer::Status::would_block) {
      visit_.note_end("the client left");
      co_return false;
    } else if (co_await stream.writable() != Wake::ready) {
      co_return false;
    }
  }
  out_.shrink_to_fit();
  co_return true;
}

// What the loop's buffer holds of ours goes out, or is kept.
Async<bool> RedisVisit::flush() {
  std::string& buffer = shared_.write_buffer;
  if (buffer.empty()) co_return true;
  visit_.counters.bytes_out += buffer.size();
  if (out_.empty()) {
    const Transfer transfer = visit_.stream().try_write(buffer);
    if (transfer.size == buffer.size()) {
      buffer.clear();
      if (buffer.capacity() > write_buffer_kept_max) buffer.shrink_to_fit();
      co_return true;
    }
    out_.assign(buffer, transfer.size);
  } else {
    out_ += buffer;
  }
  buffer.clear();
  co_return co_await send({});
}

// `subject` is the view's name or the permitted pattern. False when the trail cannot take it.
bool RedisVisit::note_read(std::string_view subject, std::string_view key, trail::KeyRead outcome) {
  ++visit_.counters.reads;
  if (reads_.empty()) reads_since_ = shared_.parts.loop.batch_time();
  return reads_.read(subject, key, outcome).has_value();
}

Async<bool> RedisVisit::settle() {
  if (!co_await flush()) co_return false;
  if (!co_await settle_views()) co_return false;
  co_return co_await settle_relay();
}

Async<bool> RedisVisit::act() {
  if (owes() && !co_await settle()) co_return false;
  if (!co_await flush()) co_return false;
  const Act::Kind kind = std::exchange(act_.kind, Act::Kind::none);
  switch (kind) {
    case Act::Kind::none:
      co_return true;
    case Act::Kind::log_in:
      co_return co_await log_in();
    case Act::Kind::link:
      co_return co_await wait_for_link();
    case Act::Kind::lease:
      co_return co_await take_lease();
    case Act::Kind::reset:
      co_return co_await reset();
    case Act::Kind::abort_transaction:
      co_return co_await abort_transaction();
  }
  co_return true;
}

void RedisVisit::end(Ending ending) {
  farewell_.clear();
  resp::ReplyWriter(farewell_, protocol_)
      .error((ending.reason == EndReason::expired ? "NOAUTH " : "NOPERM ") + ending.text);
  visit_.end(std::move(ending.text));
}

// The protocol has no way to say something unasked that every client understands.
void RedisVisit::expiring(Duration /*left*/) {}

void RedisVisit::renewed(PrincipalPointer principal) {
  principal_ = std::move(principal);
}

Async<> RedisVisit::finish() {
  const Shield shield(co_await this_fibre());
  registration_ = {};
  visit_.on_drain(nullptr);
  (void)co_await drop_lease();  // First: its fibre waits on the exchange.
  exchange_.reset();
  // Where no reply is owed, a client takes it for the answer to what it asks next.
  if (!farewell_.empty() && out_.empty()) {
    (void)co_await write_all(visit_.stream(),
                             farewell_,
                             shared_.parts.loop.after(shared_.parts.limits.farewell_timeout));
  }
  if (auto written = reads_.flush(); !written) visit_.note_end(written.error().detail());
}

}  // namespace meridian
