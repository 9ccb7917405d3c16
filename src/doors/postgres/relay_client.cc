// The relay's way from the client to the backend.

#include "doors/postgres/complaints.h"
#include "doors/postgres/relay.h"
#include "wire/postgres/frontend.h"
#include "wire/postgres/frontend_writer.h"

#include <algorithm>
#include <utility>

namespace meridian {
namespace {

using postgres::Frame;
using postgres::FrontendType;

// Encodings in which the second byte of a character may look like a quote or a backslash: what is
// understood of such a text may be wrong, so it is not looked at.
bool hides_ascii(std::string_view encoding) {
  constexpr std::string_view list[] = {
      "SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"};
  return std::ranges::find(list, encoding) != std::end(list);
}

// The whole buffer at once after so much, so that one client cannot keep the loop to itself.
constexpr std::size_t forward_bytes_max = 256 * 1024;

}  // namespace

Async<> Relay::read_client() {
  for (;;) {
    while (too_far_ahead()) {
      if (co_await answered_.wait() != Wake::ready) co_return;
    }
    // A cancel that comes too late must not hit what the client asks for next.
    while (cancelling_ > 0 && conversation_.expected_count() == 0) {
      if (co_await cancelled_.wait() != Wake::ready) co_return;
    }
    const Transfer transfer = visit_.stream().try_read(shared_.read_buffer);
    if (transfer.status == Transfer::Status::would_block) {
      const Deadline idle = idle_deadline();
      const Wake wake = co_await visit_.stream().readable(idle);
      if (wake == Wake::cancelled) co_return;
      if (wake == Wake::timeout && idle_deadline().passed(shared_.parts.loop.now())) {
        const std::string why =
            "the client was idle for " + to_text(shared_.parts.limits.idle_timeout);
        say("57P05", why + " (idle_timeout)");
        co_return visit_.note_end(why);
      }
      continue;
    }
    if (transfer.status != Transfer::Status::done) {
      visit_.note_end("the client left");
      co_return;
    }
    visit_.counters.bytes_in += transfer.size;
    active_at_ = shared_.parts.loop.batch_time();
    std::string_view input(shared_.read_buffer.data(), transfer.size);
    if (!from_client_.empty()) {
      from_client_ += input;
      input = from_client_;
    }
    const Step step = take_messages(input);
    const bool usual = step == Step::more && input.empty() && backend_;
    if (usual) from_client_ = {};
    if (!(usual && sent_to_backend()) && !co_await take_rest(step, input)) co_return;
    const bool more_is_there = transfer.size == shared_.read_buffer.size();
    if (more_is_there && co_await shared_.parts.loop.yield() != Wake::ready) co_return;
  }
}

// A cancel that is on its way was meant for what has ended meanwhile; the server may even signal
// twice.
bool Relay::awaits_cancel() const noexcept {
  return cancelling_ > 0 && backend_ && conversation_.at_rest();
}

// Beyond it the client is not read. The answers come all the same: without a Sync a server keeps no
// more than its buffer of 8 KiB back.
bool Relay::too_far_ahead() const noexcept {
  return requests_owed_ > shared_.parts.limits.pipelined_max ||
         conversation_.expected_count() > expected_count_max;
}

// While an answer is owed the next look comes after a whole timeout.
Deadline Relay::idle_deadline() const {
  const Duration timeout = shared_.parts.limits.idle_timeout;
  if (timeout == Duration::zero() || listens_) return Deadline::never();
  const bool waits = backend_ && !conversation_.at_rest();
  return Deadline::at((waits ? shared_.parts.loop.batch_time() : active_at_) + timeout);
}

// Takes messages off `input` until something has to be done first. `done`: the buffer is full.
Relay::Step Relay::take_messages(std::string_view& input) {
  for (;;) {
    if (input.empty()) return Step::more;
    if (awaits_cancel()) return Step::cancel;
    const Step step = take_message(input);
    if (step != Step::done || shared_.write_buffer.size() >= forward_bytes_max) return step;
  }
}

// Does what stopped take_messages() and goes on. `input` is in a buffer of the loop, good until the
// first wait, or at the end of from_client_.
Async<bool> Relay::take_rest(Step step, std::string_view input) {
  for (;;) {
    from_client_ = std::string(input);
    if (step == Step::leave) {
      // What came before it goes out; only then does the visit end.
      if (backend_) (void)co_await send_to_backend();
      co_return false;
    }
    if (step == Step::attach) {
      auto attached = co_await attach();
      if (!attached) {
        say(attached.error());
        visit_.note_end("no backend: " + attached.error().detail());
        co_return false;
      }
    } else if (backend_ && !sent_to_backend() && !co_await send_to_backend()) {
      co_return false;
    }
    if (step == Step::more) co_return true;
    while (step == Step::cancel && awaits_cancel()) {
      if (co_await cancelled_.wait() != Wake::ready) co_return false;
    }
    input = from_client_;
    step = take_messages(input);
  }
}

Relay::Step Relay::take_message(std::string_view& input) {
  if (!backend_) {
    if (static_cast<FrontendType>(input.front()) == FrontendType::terminate) {
      farewell_.clear();
      visit_.note_end("the client said goodbye");
      return Step::leave;
    }
    return Step::attach;
  }
  postgres::Framer& framer = *client_framer_;
  if (framer.passing()) {
    const std::size_t size = framer.take(input.size());
    forward(input.substr(0, size));
    input.remove_prefix(size);
    return Step::done;
  }
  const Frame frame = framer.next(input);
  if (frame.size > shared_.parts.limits.request_bytes_max) {
    const std::string why = "a message of " + std::to_string(frame.size) +
                            " bytes exceeds request_bytes_max=" +
                            std::to_string(shared_.parts.limits.request_bytes_max);
    say("54000", why);  // program_limit_exceeded
    visit_.note_end(why);
    unheard_bytes_ = std::max<std::uint64_t>(frame.size, input.size() + 1) - input.size();
    return Step::leave;
  }
  switch (frame.status) {
    case Frame::Status::refused:
      return checked(std::unexpected(framer.refusal(input)));
    case Frame::Status::partial:
      return frame.size == 0 ? Step::more : take_part(frame, input);
    case Frame::Status::whole:
      break;
  }
  const auto size = static_cast<std::size_t>(frame.size);
  const Step step = take_whole(frame.frontend(), input.substr(0, size));
  if (step == Step::done) input.remove_prefix(size);
  return step;
}

// A message whose end has not come yet. Those that may be long are passed on as they come.
Relay::Step Relay::take_part(const Frame& frame, std::string_view& input) {
  constexpr std::size_t looked_at_whole_max = StatementClassifier::text_bytes_max;
  const std::string_view body = input.substr(postgres::header_bytes);
  const FrontendType type = frame.frontend();
  if (frame.size <= looked_at_whole_max) return Step::more;
  if (type == FrontendType::copy_data) {
    if (const Step step = checked(conversation_.copy_data()); step != Step::done) return step;
  } else if (type == FrontendType::bind) {
    const auto head = postgres::parse_bind_head(body);
    if (!head) return checked(std::unexpected(head.error()));
    if (!*head) return Step::more;
    if (const Step step = on_bind((*head)->portal, (*head)->statement); step != Step::done)
      return step;
  } else if (type == FrontendType::query) {
    if (const Step step = on_opaque_query(frame.size); step != Step::done) return step;
    ++requests_owed_;
  } else if (type == FrontendType::parse) {
    const std::size_t end = body.find('\0');
    if (end == std::string_view::npos) return Step::more;
    if (const Step step = on_parse(body.substr(0, end), {}); step != Step::done) return step;
  } else {
    if (frame.size <= shared_.parts.limits.pending_bytes_max) return Step::more;
    return checked(fail(Errc::invalid,
                        "a message of " + std::to_string(frame.size) +
                            " bytes exceeds pending_bytes_max=" +
                            std::to_string(shared_.parts.limits.pending_bytes_max)));
  }
  forward(input);
  client_framer_->pass(frame, input.size());
  input.remove_prefix(input.size());
  return Step::done;
}

Relay::Step Relay::take_whole(FrontendType type, std::string_view message) {
  const std::string_view body = message.substr(postgres::header_bytes);
  Step step = Step::done;
  switch (type) {
    case FrontendType::query: {
      const auto query = postgres::parse_query(body);
      step = query ? on_query(query->sql) : checked(std::unexpected(query.error()));
      break;
    }
    case FrontendType::parse: {
      const auto parse = postgres::parse_parse(body);
      step =
          parse ? on_parse(parse->statement, parse->sql) : checked(std::unexpected(parse.error()));
      break;
    }
    case FrontendType::bind: {
      const auto bind = postgres::parse_bind(body);
      step = bind ? on_bind(bind->portal, bind->statement) : checked(std::unexpected(bind.error()));
      break;
    }
    case FrontendType::describe: {
      const auto describe = postgres::parse_describe(body);
      step = checked(describe ? conversation_.describe(describe->target)
                              : std::unexpected(describe.error()));
      break;
    }
    case FrontendType::execute: {
      const auto execute = postgres::parse_execute(body);
      step = execute ? on_execute(execute->portal) : checked(std::unexpected(execute.error()));
      break;
    }
    case FrontendType::close: {
      const auto close = postgres::parse_close(body);
      if (!close) return checked(std::unexpected(close.error()));
      if (close->target == postgres::Target::statement) {
        names_.close_statement(close->name);
      } else {
        names_.close_portal(close->name);
      }
      step = checked(conversation_.close());
      break;
    }
    case FrontendType::sync:
      step = checked(conversation_.sync());
      break;
    case FrontendType::flush:
      step = checked(conversation_.flush());
      break;
    case FrontendType::copy_data:
      step = checked(conversation_.copy_data());
      break;
    case FrontendType::copy_done:
    case FrontendType::copy_fail:
      step = checked(conversation_.copy_end());
      break;
    case FrontendType::function_call: {
      const auto call = postgres::parse_function_call(body);
      if (!call) return checked(std::unexpected(call.error()));
      static StatementShape shape = make_opaque_shape("(function call)");
      auto start = begin_statement(shape, body.size(), false);
      step = checked(start ? conversation_.function_call(*start) : std::unexpected(start.error()));
      break;
    }
    case FrontendType::terminate:
      farewell_.clear();
      visit_.note_end("the client said goodbye");
      return Step::leave;
    case FrontendType::password:
      return checked(fail(Errc::invalid, "a password message after the login"));
  }
  if (step != Step::done) return step;
  const bool ends_in_readiness = type == FrontendType::query ||
                                 type == FrontendType::function_call || type == FrontendType::sync;
  requests_owed_ += ends_in_readiness ? 1 : 0;
  forward(message);
  return step;
}

StatementClassifier::Classified Relay::classify(std::string_view sql) {
  const std::string* const encoding = backend_->settings.find("client_encoding");
  if (!encoding || hides_ascii(*encoding)) return shared_.classifier.opaque();
  const std::string* const conforming = backend_->settings.find("standard_conforming_strings");
  return shared_.classifier.classify(sql,
                                     conforming && *conforming == "on"
                                         ? postgres::StringSyntax::standard
                                         : postgres::StringSyntax::unknown);
}

Relay::Step Relay::on_query(std::string_view sql) {
  const auto classified = classify(sql);
  names_.drop_unnamed();
  stamp(*classified.shape, classified.request);
  if (auto allowed = check_statement(*classified.shape); !allowed) return checked(allowed);
  auto start = begin_statement(*classified.shape, sql.size(), false);
  return checked(start ? conversation_.query(*start) : std::unexpected(start.error()));
}

Relay::Step Relay::on_opaque_query(std::size_t size) {
  const auto classified = shared_.classifier.opaque();
  names_.drop_unnamed();
  stamp(*classified.shape, {});
  auto start = begin_statement(*classified.shape, size, false);
  return checked(start ? conversation_.query(*start) : std::unexpected(start.error()));
}

// An empty text: too long to be looked at.
Relay::Step Relay::on_parse(std::string_view statement, std::string_view sql) {
  const auto classified = sql.data() ? classify(sql) : shared_.classifier.opaque();
  if (auto allowed = check_statement(*classified.shape); !allowed) return checked(allowed);
  stamp(*classified.shape,
        classified.request,
        (names_.has_unnamed_statement() && !statement.empty()) || holds_unnamed_portal());
  names_.prepare(statement, {.shape = classified.shape, .request = classified.request});
  return checked(conversation_.parse());
}

Relay::Step Relay::on_bind(std::string_view portal, std::string_view statement) {
  if (const auto& prepared = names_.statement(statement); prepared.shape) {
    stamp(*prepared.shape,
          prepared.request,
          names_.has_unnamed_statement() || (!portal.empty() && holds_unnamed_portal()));
  }
  names_.bind(portal, statement);
  return checked(conversation_.bind());
}

Relay::Step Relay::on_execute(std::string_view portal) {
  const auto& known = names_.portal(portal);
  auto start = begin_statement(known ? *known : shared_.classifier.opaque_shape(), 0, true);
  return checked(start ? conversation_.execute(*start) : std::unexpected(start.error()));
}

// A guard rail, beside the default that the session begins with: see may_turn_writable().
Result<void> Relay::check_statement(StatementShape& shape) {
  listens_ = listens_ || shape.listens;
  if (!principal_->role->postgres->read_only || !shape.turns_writable) return {};
  return fail(Errc::denied,
              "role " + principal_->role_name +
                  " is read-only, and this statement would make its "
                  "transactions writable");
}

// Recorded before it is forwarded; what cannot be recorded is not.
Result<StatementStart> Relay::begin_statement(StatementShape& shape,
                                              std::size_t size,
                                              bool extended) {
  const bool proven = shared_.classifier.proven_read_only(shape);
  ++ordinal_;
  MERIDIAN_CHECK(shared_.parts.trail.append(
      {visit_.id(), request_},
      trail::Statement{.fingerprint = trail::Fingerprint(shape.fingerprint),
                       .ordinal = ordinal_,
                       .text_size = size,
                       .proven_read_only = proven,
                       .extended_protocol = extended,
                       .copy = shape.copies},
      shape.text));
  note_resets(shape);
  ++visit_.counters.statements;
  shared_.statements.add();
  unflushed_ = unflushed_ || shape.may_commit_unflushed;
  const bool has_timeout = principal_->role->postgres->statement_timeout != Duration::zero();
  if (has_timeout && !guarding_) running_.notify_all();
  return StatementStart{.ordinal = ordinal_,
                        .started_at = shared_.parts.loop.now(),
                        .may_write = in_timeline_ && !proven};
}

// Each transaction that may write has a request id of its own, set in front of its first statement;
// it travels with that and costs no round trip. Where messages are under way already the
// transaction keeps the one of before.
void Relay::stamp(StatementShape& shape, RequestId given, bool keep_unnamed) {
  if (!conversation_.at_rest() || conversation_.status() == postgres::TransactionStatus::failed)
    return;
  const bool restores =
      lost_settings_ && conversation_.status() == postgres::TransactionStatus::idle;
  if (!given.nil() && given != request_) {
    request_ = given;
    stamped_ = true;
  } else if (given.nil() && !stamped_ && !shared_.classifier.proven_read_only(shape)) {
    request_ = RequestId::make(shared_.parts.loop.wall_now(), shared_.parts.loop.random());
    stamped_ = true;
  } else if (!restores) {
    return;
  }
  const std::string sql = restores ? settings_statement(*lost_settings_)
                                   : "SET meridian.request_id = '" + request_.to_string() + "'";
  if (restores) lost_settings_.reset();
  std::string& out = shared_.write_buffer;
  if (!keep_unnamed) {
    postgres::append_query(out, sql);
    conversation_.injected_query(restores);
  } else {
    // A name that is the client's by no chance.
    const std::string name = "meridian:" + request_.to_string();
    postgres::append_parse(out, name, sql);
    postgres::append_bind(out, name, name, {});
    postgres::append_execute(out, name);
    postgres::append_close(out, postgres::Target::portal, name);
    postgres::append_close(out, postgres::Target::statement, name);
    postgres::append_sync(out);
    conversation_.injected_batch(restores);
  }
  shared_.stamped.add();
}

// A portal lives as long as its transaction.
bool Relay::holds_unnamed_portal() const noexcept {
  return names_.has_unnamed_portal() &&
         conversation_.status() == postgres::TransactionStatus::in_transaction;
}

// Ends the visit on an error of the client's, or of the trail.
Relay::Step Relay::checked(Result<void> result) {
  if (result) return Step::done;
  say(result.error());
  visit_.note_end(result.error().detail());
  return Step::leave;
}

// Without a wait, and so without a coroutine: the usual way. False: the rest is in to_backend_.
bool Relay::sent_to_backend() {
  std::string& out = shared_.write_buffer;
  if (to_backend_.empty()) {
    if (out.empty()) return true;
    const Transfer transfer = backend_->stream().try_write(out);
    const bool all = transfer.status == Transfer::Status::done && transfer.size == out.size();
    if (!all) to_backend_.assign(out, transfer.size);
    out.clear();
    return all;
  }
  to_backend_ += out;
  out.clear();
  return false;
}

Async<bool> Relay::send_to_backend() {
  if (sent_to_backend()) co_return true;
  Stream& stream = backend_->stream();
  // Not reading the client meanwhile is what holds it back.
  while (!to_backend_.empty()) {
    const Transfer transfer = stream.try_write(to_backend_);
    if (transfer.status == Transfer::Status::done) {
      to_backend_.erase(0, transfer.size);
    } else if (transfer.status != Transfer::Status::would_block) {
      // The other fibre reads why, and ends the visit.
      (void)co_await shared_.parts.loop.sleep(shared_.parts.limits.farewell_timeout);
      lost_ = true;
      co_return false;
    } else if (co_await stream.writable() != Wake::ready) {
      co_return false;
    }
  }
  to_backend_.shrink_to_fit();
  co_return true;
}

}  // namespace meridian
