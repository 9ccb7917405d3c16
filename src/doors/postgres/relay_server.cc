// The relay's way from the backend to the client.

#include "doors/postgres/complaints.h"
#include "doors/postgres/relay.h"
#include "runtime/log.h"
#include "wire/postgres/backend_writer.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace meridian {
namespace {

using postgres::BackendType;
using postgres::Frame;

// Shorter messages are waited for, so that they are looked at whole.
constexpr std::size_t passed_in_parts_min = 8 * 1024;

// The server's own timeout, which needs no cancel, comes first.
constexpr std::chrono::milliseconds cancel_grace{250};
constexpr std::chrono::milliseconds cancel_pause_min{500};
constexpr std::chrono::seconds cancel_pause_max{10};

}  // namespace

Async<> Relay::read_backend() {
  Stream& stream = backend_->stream();
  for (;;) {
    const Transfer transfer = stream.try_read(shared_.read_buffer);
    if (transfer.status == Transfer::Status::would_block) {
      if (co_await stream.readable() != Wake::ready) co_return;
      continue;
    }
    if (transfer.status != Transfer::Status::done) {
      backend_lost(transfer.status == Transfer::Status::ended ? "the server closed the connection"
                                                              : stream.failure());
      co_return;
    }
    passing_on_ = true;
    std::string_view input(shared_.read_buffer.data(), transfer.size);
    if (!from_backend_.empty()) {
      from_backend_ += input;
      input = from_backend_;
    }
    if (!notice_.empty() && !server_framer_->passing()) to_client_ += std::exchange(notice_, {});
    auto passed = pass(input);
    if (!passed) {
      violation(passed.error());
      co_return;
    }
    answered_.notify_all();
    if (!passed_at_once(input, *passed) && !co_await deliver(std::move(*passed))) co_return;
    passing_on_ = false;
    if (leave_at_rest_ && idle_at_rest()) leave_when_at_rest();
    const bool more_is_there = transfer.size == shared_.read_buffer.size();
    if (more_is_there && co_await shared_.parts.loop.yield() != Wake::ready) co_return;
  }
}

// Without a wait, and so without a coroutine: the usual way. `input` is in a buffer of the loop,
// good until the first wait, or all of from_backend_. False: deliver() has the rest to do.
bool Relay::passed_at_once(std::string_view input, Passed& passed) {
  visit_.counters.bytes_out += passed.copied ? passed.text.size() : passed.taken;
  if (!passed.copied && passed.taken != 0) {
    const std::string_view all = input.substr(0, passed.taken);
    if (to_client_.empty()) {
      const Transfer transfer = visit_.stream().try_write(all);
      if (transfer.size != all.size()) to_client_ = all.substr(transfer.size);
    } else {
      to_client_ += all;
    }
  }
  from_backend_ = std::string(input.substr(passed.taken));
  return to_client_.empty() && passed.text.empty() && !passed.hold_from;
}

Async<bool> Relay::deliver(Passed passed) {
  if (!passed.hold_from) co_return co_await send_to_client(passed.text);
  const std::string_view all = passed.text;
  if (!co_await send_to_client(all.substr(0, *passed.hold_from))) co_return false;
  if (!co_await wait_for_cache()) co_return false;
  co_return co_await send_to_client(all.substr(*passed.hold_from));
}

// Looks at every message and sorts out what is not for the client.
Result<Relay::Passed> Relay::pass(std::string_view input) {
  Passed passed;
  postgres::Framer& framer = *server_framer_;
  const auto copy = [&] {
    if (passed.copied) return;
    passed.copied = true;
    passed.text = input.substr(0, passed.taken);
  };
  while (passed.taken < input.size()) {
    const std::string_view rest = input.substr(passed.taken);
    if (framer.passing()) {
      const std::size_t size = framer.take(rest.size());
      if (passed.copied) passed.text += rest.substr(0, size);
      passed.taken += size;
      continue;
    }
    const Frame frame = framer.next(rest);
    if (frame.status == Frame::Status::refused) return std::unexpected(framer.refusal(rest));
    if (frame.status == Frame::Status::partial) {
      const bool in_parts = frame.streamable && frame.size >= passed_in_parts_min &&
                            !conversation_.answering_injected();
      if (!in_parts) {
        if (frame.size > shared_.parts.limits.pending_bytes_max) {
          return fail(Errc::invalid,
                      "the server sent a message of " + std::to_string(frame.size) +
                          " bytes, above pending_bytes_max=" +
                          std::to_string(shared_.parts.limits.pending_bytes_max));
        }
        break;
      }
      MERIDIAN_TRY(const auto verdict, conversation_.answer(frame.backend(), {}));
      if (verdict.may_acknowledge && !passed.hold_from) {
        copy();
        passed.hold_from = passed.text.size();
      }
      framer.pass(frame, rest.size());
      if (passed.copied) passed.text += rest;
      passed.taken = input.size();
      break;
    }
    const auto size = static_cast<std::size_t>(frame.size);
    const std::string_view message = rest.substr(0, size);
    const std::string_view body = message.substr(postgres::header_bytes);
    MERIDIAN_TRY(const auto verdict, conversation_.answer(frame.backend(), body));
    MERIDIAN_CHECK(note_answer(frame.backend(), body, verdict));
    if (!verdict.forward) {
      copy();
    } else if (frame.backend() == BackendType::parameter_status &&
               conversation_.answering_injected()) {
      // Put back by us, under the name that has the visit's mark.
      copy();
      const auto status = postgres::parse_parameter_status(body);
      const bool marked = status && status->name == "application_name";
      if (marked) {
        postgres::append_parameter_status(
            passed.text, "application_name", settings_.application_name);
      } else {
        passed.text += message;
      }
    } else {
      if (verdict.may_acknowledge && !passed.hold_from) {
        copy();
        passed.hold_from = passed.text.size();
      }
      if (passed.copied) passed.text += message;
    }
    passed.taken += size;
  }
  return passed;
}

Result<void> Relay::note_answer(BackendType type,
                                std::string_view body,
                                const Conversation::Verdict& verdict) {
  if (verdict.ended && verdict.ended->ordinal != 0) {
    const Duration duration = shared_.parts.loop.now() - verdict.ended->started_at;
    shared_.statement_seconds.observe(duration);
    // Those that were begun meanwhile are guarded from now on.
    if (std::exchange(cancel_pause_, {}) != Duration::zero()) running_.notify_all();
    MERIDIAN_CHECK(shared_.parts.trail.add_outcome(
        {.visit = visit_.id(),
         .ordinal = verdict.ended->ordinal,
         .duration = duration,
         .rows_count = verdict.ended->rows,
         .sqlstate = verdict.ended->sqlstate.empty()
                         ? trail::Sqlstate()
                         : trail::Sqlstate::of(verdict.ended->sqlstate)}));
  }
  if (type == BackendType::ready_for_query) {
    if (conversation_.status() == postgres::TransactionStatus::idle && verdict.ready)
      stamped_ = false;
    if (!verdict.ready) set_up_.set();
    active_at_ = shared_.parts.loop.batch_time();
    if (verdict.ready && requests_owed_ > 0) --requests_owed_;
    if (conversation_.at_rest()) requests_owed_ = 0;
    return {};
  }
  if (type == BackendType::parameter_status) {
    MERIDIAN_TRY(const auto status, postgres::parse_parameter_status(body));
    if (!backend_->settings.set(status.name, status.value)) {
      return fail(Errc::invalid, "the server reports too many settings");
    }
    if (status.name == "default_transaction_read_only" && status.value != "on" &&
        principal_->role->postgres->read_only) {
      return fail(
          Errc::denied,
          "role " + principal_->role_name + " is read-only, and the session was made writable");
    }
    return {};
  }
  if (type == BackendType::error_response) {
    const auto report = postgres::parse_report(body);
    if (report && (report->severity == "FATAL" || report->severity == "PANIC"))
      server_ended_ = true;
    if (!verdict.forward) {
      refused_ =
          Error(Errc::invalid, report ? std::string(report->message) : "a setting was refused");
      say(report ? report->sqlstate : "22023", refused_->detail());
      set_up_.set();
      visit_.end("the server refused a setting of the session");
    }
  }
  return {};
}

Async<bool> Relay::wait_for_cache() {
  if (shared_.parts.commit_wait.needed()) {
    if (co_await shared_.parts.commit_wait.wait(unflushed_) != Wake::ready) co_return false;
  }
  conversation_.acknowledged();
  co_return true;
}

// False when the client is gone; the visit ends then.
Async<bool> Relay::send_to_client(std::string_view bytes) {
  Stream& stream = visit_.stream();
  if (to_client_.empty()) {
    const Transfer transfer = stream.try_write(bytes);
    if (transfer.size == bytes.size()) co_return true;
    to_client_ = bytes.substr(transfer.size);
  } else {
    to_client_ += bytes;
  }
  // Not reading the backend meanwhile is what holds it back.
  while (!to_client_.empty()) {
    const Transfer transfer = stream.try_write(to_client_);
    if (transfer.status == Transfer::Status::done) {
      to_client_.erase(0, transfer.size);
    } else if (transfer.status != Transfer::Status::would_block) {
      visit_.end("the client left");
      co_return false;
    } else if (co_await stream.writable() != Wake::ready) {
      co_return false;
    }
  }
  to_client_.shrink_to_fit();
  co_return true;
}

void Relay::backend_lost(std::string why) {
  lost_ = true;
  if (!server_ended_) {
    // A statement that may have written and was not answered may have been committed.
    const bool unknown = conversation_.may_have_written();
    say(Error(unknown ? Errc::outcome_unknown : Errc::unavailable,
              "the connection to the database was lost: " + why));
  }
  set_up_.set();
  visit_.end("the backend was lost: " + why);
}

void Relay::violation(const Error& error) {
  lost_ = true;
  shared_.violations.add();
  auto recorded = shared_.parts.trail.append(
      {visit_.id(), request_},
      trail::Security{.event = "backend violation", .detail = error.detail()});
  log_error("postgres",
            "a backend was closed because its answers could not be trusted",
            {{"visit", visit_.id().value()},
             {"role", principal_->role_name},
             {"reason", error.detail()},
             {"recorded", recorded ? "yes" : "no"}});
  say(error.code() == Errc::denied
          ? error
          : Error(Errc::unavailable, "the database broke the protocol: " + error.detail()));
  set_up_.set();
  visit_.end(error.detail());
}

// The server has the timeout too, but there the client may set it. It drops a cancel that comes
// before it has begun with the statement, and does not say so: as long as it runs, it is told
// again.
Async<> Relay::guard_statements() {
  for (;;) {
    const Deadline deadline = statement_deadline();
    // Statements that begin meanwhile end later: they need not wake it, which would cost each of
    // them more than the deadline does.
    guarding_ = !deadline.is_never();
    const Wake wake = co_await running_.wait(deadline);
    guarding_ = false;
    if (wake == Wake::cancelled) co_return;
    if (wake != Wake::timeout || !statement_deadline().passed(shared_.parts.loop.now())) continue;
    if (cancelling_ == 0) server_side_.spawn(cancel_backend());
    cancel_pause_ =
        std::clamp(2 * cancel_pause_, Duration(cancel_pause_min), Duration(cancel_pause_max));
    cancel_again_at_ = shared_.parts.loop.now() + cancel_pause_;
  }
}

Deadline Relay::statement_deadline() const {
  const Duration timeout = principal_->role->postgres->statement_timeout;
  const auto since = conversation_.running_since();
  if (timeout == Duration::zero() || !since) return Deadline::never();
  if (cancel_pause_ != Duration::zero()) return Deadline::at(cancel_again_at_);
  return Deadline::at(*since + timeout + cancel_grace);
}

}  // namespace meridian
