// The relay's coming and going.

#include "doors/postgres/relay.h"

#include "base/escape.h"
#include "base/hex.h"
#include "base/sql_text.h"
#include "doors/postgres/complaints.h"
#include "wire/jose/sha256.h"
#include "wire/postgres/frontend_writer.h"

#include <algorithm>
#include <utility>

namespace meridian {

Relay::Relay(PostgresDoorShared& shared,
             Visit& visit,
             PrincipalPointer principal,
             std::shared_ptr<Pool> pool,
             ClientSettings settings)
    : shared_(shared),
      visit_(visit),
      principal_(std::move(principal)),
      pool_(std::move(pool)),
      settings_(std::move(settings)),
      active_at_(shared.parts.loop.now()),
      request_(visit.request()),
      cancelled_(visit.loop()),
      running_(visit.loop()),
      answered_(visit.loop()),
      set_up_(visit.loop()),
      server_side_(visit.loop()) {
  const auto& facts = shared_.timeline.get();
  in_timeline_ = facts->views_exist && facts->database == pool_->database();
}

Relay::~Relay() {
  MERIDIAN_ASSERT(!backend_);
}

Async<Result<void>> Relay::attach() {
  EpollLoop& loop = shared_.parts.loop;
  const Time begun = loop.now();
  auto backend = co_await pool_->take(loop, Deadline::never());
  if (!backend) co_return std::unexpected(backend.error());
  shared_.checkouts.add();
  shared_.checkout_seconds.observe(loop.now() - begun);
  backend_ = std::move(*backend);
  client_framer_.emplace(shared_.client_rules);
  server_framer_.emplace(shared_.server_rules);
  unflushed_ = backend_->may_commit_unflushed;
  for (const postgres::Setting& setting : settings_.applied) {
    unflushed_ = unflushed_ || setting.name == "synchronous_commit";
  }
  // Travels with the client's first statement: no round trip of its own.
  postgres::append_query(shared_.write_buffer, setup_statement());
  conversation_.injected_query();
  stamped_ = true;
  server_side_.spawn(read_backend());
  server_side_.spawn(guard_statements());
  co_return Result<void>();
}

Async<Result<void>> Relay::attach_and_settle() {
  auto attached = co_await attach();
  if (attached && !co_await send_to_backend())
    attached = fail(Errc::unavailable, "the backend was lost");
  if (attached) attached = to_result(co_await set_up_.wait(), "the session's settings");
  if (attached && refused_) attached = std::unexpected(*refused_);
  if (attached && lost_) attached = fail(Errc::unavailable, "the backend was lost");
  if (!attached && farewell_.empty()) {
    append_complaint(farewell_, postgres::Severity::fatal, attached.error(), request_, true);
  }
  co_return attached;
}

ReportedSettings Relay::reported_settings() const {
  ReportedSettings told =
      backend_ ? backend_->settings : settings_.reported(*pool_->login_settings());
  (void)told.set("application_name", settings_.application_name);
  return told;
}

// One statement: what the client asked for at start-up, and who it is.
std::string Relay::setup_statement() {
  return settings_statement({.application_name = true, .applied = ~0U});
}

std::string Relay::settings_statement(const LostSettings& lost) {
  std::string text = "SELECT pg_catalog.set_config('meridian.request_id'," +
                     quote_literal(request_.to_string()) + ",false)";
  const auto add = [&](std::string_view setting, std::string_view value) {
    text +=
        ",pg_catalog.set_config(" + quote_literal(setting) + "," + quote_literal(value) + ",false)";
  };
  // The database's own views and logs show the visit by its request id; a name has at most 63 bytes
  // there.
  constexpr std::size_t name_size_max = 63;
  const std::string mark = "m:" + visit_.request().to_hex();
  std::string name = settings_.application_name.substr(0, name_size_max - mark.size() - 1);
  while (!name.empty() && !is_utf8(name))
    name.pop_back();
  if (lost.application_name) add("application_name", name.empty() ? mark : name + " " + mark);
  for (std::size_t i = 0; i < settings_.applied.size(); ++i) {
    if ((lost.applied >> i & 1U) != 0) add(settings_.applied[i].name, settings_.applied[i].value);
  }
  add("meridian.subject", principal_->subject);
  add("meridian.proof", identity_proof());
  return text;
}

// RESET and DISCARD ALL go back to what a session began with. For the server that is its own login,
// for the client its own start-up message and identity: these are put back with the next stamp. In
// a block, which may be rolled back, settings are left alone.
void Relay::note_resets(const StatementShape& shape) {
  if (!shape.resets_settings && !lost_settings_) return;
  const bool in_block = conversation_.status() != postgres::TransactionStatus::idle;
  const auto note = [&](std::string_view name, bool lost) {
    if (in_block) return;
    if (name == "application_name") lost_settings_->application_name = lost;
    for (std::size_t i = 0; i < settings_.applied.size(); ++i) {
      const std::uint32_t bit = 1U << i;
      if (settings_.applied[i].name != name) continue;
      lost_settings_->applied =
          lost ? lost_settings_->applied | bit : lost_settings_->applied & ~bit;
    }
  };
  if (!lost_settings_) lost_settings_.emplace();
  for (const postgres::Statement& statement : shape.analysis.statements) {
    const bool discards_all =
        statement.effects.has(postgres::SessionEffect::discard) && statement.subject == "all";
    if (discards_all && !in_block)
      lost_settings_ = LostSettings{.application_name = true, .applied = ~0U};
    for (const postgres::SettingChange& change : statement.settings) {
      using Kind = postgres::SettingChange::Kind;
      if (change.kind == Kind::reset_all && !in_block)
        lost_settings_ = LostSettings{.application_name = true, .applied = ~0U};
      if (change.kind == Kind::reset) note(change.name, true);
      if (change.kind == Kind::set && !change.local) note(change.name, false);
    }
  }
}

// What meridian.subject() checks (timeline/postgres/migrations.cc).
std::string Relay::identity_proof() const {
  const auto& facts = shared_.timeline.get();
  if (facts->identity_secret.empty()) return {};
  const std::string message =
      std::to_string(backend_->key().process_id) + "|" + pool_->role() + "|" + principal_->subject;
  const auto keyed = [&](std::string_view text) {
    std::string bytes(facts->identity_secret.reveal());
    bytes += text;
    const auto digest = jose::sha256(bytes);
    wipe(bytes.data(), bytes.size());
    return digest;
  };
  const auto inner = keyed(message);
  return to_hex(keyed({reinterpret_cast<const char*>(inner.data()), inner.size()}));
}

Async<> Relay::run() {
  registration_ = shared_.parts.registry.add(visit_.id(), DoorName::postgres, principal_, *this);
  visit_.on_drain([this] {
    leave_at_rest_ = true;
    // Also for when it is sent away before it comes to rest.
    if (farewell_.empty()) say("57P01", "Meridian is stopping; connect again");
    if (idle_at_rest()) leave_when_at_rest();
  });
  if (visit_.draining()) leave_at_rest_ = true;
  co_await read_client();
}

bool Relay::idle_at_rest() const noexcept {
  return !backend_ || (!passing_on_ && conversation_.at_rest() &&
                       conversation_.status() == postgres::TransactionStatus::idle);
}

void Relay::leave_when_at_rest() {
  if (farewell_.empty()) say("57P01", "Meridian is stopping; connect again");
  visit_.end("the node is stopping");
}

void Relay::end(Ending ending) {
  if (farewell_.empty()) say("57P01", ending.text);
  if (ending.after_transaction && !idle_at_rest()) {
    visit_.note_end(ending.text);
    leave_at_rest_ = true;
    return;
  }
  visit_.end(std::move(ending.text));
}

void Relay::expiring(Duration left) {
  std::string notice;
  const std::string message = "the token of this session expires in " + to_text(left);
  postgres::append_notice(notice,
                          {.severity = postgres::Severity::notice,
                           .sqlstate = "01000",
                           .message = message,
                           .hint = "The session ends then; connect again with a fresh token."});
  const bool quiet =
      to_client_.empty() && (!backend_ || conversation_.at_rest()) && from_backend_.empty();
  if (!quiet) {
    notice_ = std::move(notice);
    return;
  }
  // It is a courtesy: if it does not fit at once, the rest goes with the next answer.
  const Transfer transfer = visit_.stream().try_write(notice);
  if (transfer.size != 0) to_client_ = notice.substr(transfer.size);
}

void Relay::renewed(PrincipalPointer principal) {
  const Decision way_in =
      principal->role->decide(DoorName::postgres, Action::connect, pool_->database());
  principal_ = std::move(principal);
  running_.notify_all();  // The timeout may be another.
  if (way_in.allowed) return;
  end({.reason = EndReason::unbound,
       .text = "the configuration was changed, and this session may no longer be in database " +
               quote(pool_->database(), 64)});
}

void Relay::say(const Error& error) {
  farewell_.clear();
  append_complaint(farewell_, postgres::Severity::fatal, error, request_, false);
}

void Relay::say(std::string_view sqlstate, std::string_view message) {
  farewell_.clear();
  append_complaint(farewell_, postgres::Severity::fatal, sqlstate, message, {}, request_);
}

void Relay::set_seat(CancelKeys& cancels, std::size_t key_size, std::string& welcome) {
  seat_ = cancels.issue(shared_.parts.loop, key_size, [this](CancelKeys::Done done) {
    cancel_requested(std::move(done));
  });
  postgres::append_backend_key_data(welcome, seat_->process_id, seat_->key.reveal());
}

void Relay::cancel_requested(CancelKeys::Done done) {
  shared_.cancels.add();
  if (backend_ && !lost_ && conversation_.expected_count() > 0) {
    server_side_.spawn(cancel_backend(std::move(done)));
  } else {
    done();
  }
}

Async<> Relay::cancel_backend(CancelKeys::Done done) {
  ++cancelling_;
  auto sent = co_await shared_.parts.connector.cancel(
      shared_.parts.loop,
      backend_->key().process_id,
      backend_->key().key,
      shared_.parts.loop.after(shared_.parts.limits.cancel_timeout));
  // Whether it arrived is not known then, so nobody else may have the backend.
  if (!sent) tainted_ = true;
  --cancelling_;
  cancelled_.notify_all();
  if (done) done();
}

// Only between two messages, or the client would read it as a part of one.
Async<> Relay::say_farewell() {
  const bool between = to_client_.empty() && (!server_framer_ || !server_framer_->passing());
  if (farewell_.empty() || !between) co_return;
  (void)co_await write_all(
      visit_.stream(), farewell_, shared_.parts.loop.after(shared_.parts.limits.farewell_timeout));
}

// A client that is sending reads nothing until it has sent all; were the stream closed before, what
// it was told would be lost.
Async<> Relay::hear_out() {
  const auto& limits = shared_.parts.limits;
  co_await discard(unheard_bytes_, shared_.parts.loop.after(limits.hear_out_timeout));
  visit_.stream().shutdown_write();
  co_await discard(UINT64_MAX, shared_.parts.loop.after(limits.farewell_timeout));
}

// Reads so much of the client, or up to its end or its silence.
Async<> Relay::discard(std::uint64_t bytes, Deadline deadline) {
  Stream& stream = visit_.stream();
  Loop& loop = shared_.parts.loop;
  const Duration silence_max = shared_.parts.limits.hear_out_silence_max;
  while (bytes > 0 && !visit_.draining() && !deadline.passed(loop.now())) {
    const Transfer transfer = stream.try_read(shared_.read_buffer);
    if (transfer.status == Transfer::Status::would_block) {
      const Deadline next = earlier(deadline, loop.after(silence_max));
      if (co_await stream.readable(next) != Wake::ready) co_return;
    } else if (transfer.status != Transfer::Status::done) {
      co_return;
    } else {
      bytes -= std::min<std::uint64_t>(bytes, transfer.size);
      if (co_await loop.yield() != Wake::ready) co_return;
    }
  }
}

Async<> Relay::finish() {
  const Shield shield(co_await this_fibre());
  registration_ = {};
  visit_.on_drain(nullptr);
  if (seat_) shared_.parts.cancels.leave(seat_);
  co_await say_farewell();
  if (unheard_bytes_ == 0) visit_.stream().close();
  co_await release_backend();
  if (unheard_bytes_ != 0) co_await hear_out();
  visit_.stream().close();
}

Async<> Relay::release_backend() {
  if (!backend_) co_return;
  const bool in_the_middle = conversation_.expected_count() > 0 || conversation_.copying_in();
  if (in_the_middle && !lost_) {
    // Nobody wants the answer any more: the server need not work on it.
    co_await cancel_backend();
  }
  // A cancel that is still on its way could hit whoever has the backend next.
  while (cancelling_ > 0)
    (void)co_await cancelled_.wait();
  co_await server_side_.close();
  const bool clean = !lost_ && !tainted_ && conversation_.at_rest() && to_backend_.empty() &&
                     from_backend_.empty() && !client_framer_->passing() &&
                     !server_framer_->passing();
  if (clean) {
    co_await pool_->give_back(shared_.parts.loop, std::move(backend_));
  } else {
    pool_->discard(std::move(backend_));
  }
}

}  // namespace meridian
