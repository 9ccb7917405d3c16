// The nats door's login: INFO, TLS, CONNECT, the gate, the connection to the server.

#include "base/escape.h"
#include "doors/encryption.h"
#include "doors/nats/visit.h"
#include "doors/nats/websocket.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace meridian {
namespace {

constexpr char tls_handshake = 0x16;  // The first byte of a ClientHello's record (RFC 8446, 5.1).

std::string_view text_for(Errc code) noexcept {
  switch (code) {
    case Errc::exhausted:
      return "maximum connections exceeded";
    case Errc::timeout:
    case Errc::unavailable:
    case Errc::outcome_unknown:
      return "Authentication Timeout";
    case Errc::cancelled:
    case Errc::unauthenticated:
    case Errc::denied:
    case Errc::not_found:
    case Errc::conflict:
    case Errc::invalid:
      return "Authorization Violation";
  }
  return "Authorization Violation";
}

}  // namespace

// Nothing of what stands behind the door but its version and what it can.
nats::ServerInfo NatsVisit::info_for_client(nats::ServerInfo info) const {
  const Peer& peer = visit_.peer();
  info.server_id = shared_.parts.node;
  info.server_name = shared_.parts.node;
  info.host = shared_.parts.advertised.host;
  info.port = shared_.parts.advertised.port;
  info.client_id = visit_.id().value();
  info.client_ip = peer.unix_socket ? std::string() : peer.address;
  info.nonce.clear();
  info.auth_required = true;
  // Also where TLS has begun already: clients that began with it look for this.
  const bool has_tls = shared_.parts.tls && !shared_.parts.websocket;
  info.tls_required = has_tls && !peer.local;
  info.tls_available = has_tls && peer.local;
  info.lame_duck = info.lame_duck || lame_duck_;
  info.max_payload =
      std::max<std::int64_t>(info.max_payload - static_cast<std::int64_t>(nats_stamp_size_max), 0);
  return info;
}

Async<bool> NatsVisit::refuse(std::string_view text, std::string reason) {
  visit_.note_end(std::move(reason));
  nats::append_error(to_client_, text);
  (void)co_await flush_client();
  co_return false;
}

Async<bool> NatsVisit::log_in() {
  const Peer& peer = visit_.peer();
  if (!peer.local && !shared_.parts.tls) {
    visit_.note_end("connections from other machines need TLS; set tls.certificate and tls.key");
    co_return false;
  }
  const Deadline deadline = Deadline::at(since_ + shared_.parts.limits.login_timeout);
  auto info = co_await shared_.parts.connector.server_info(deadline);
  if (!info) {
    visit_.note_end("NATS: " + info.error().detail());
    co_return false;
  }
  info_ = *std::move(info);
  const nats::ServerInfo told = info_for_client(info_);
  told_payload_max_ = told.max_payload;
  from_client_.set_payload_size_max(static_cast<std::size_t>(told_payload_max_));
  if (!co_await open_stream(deadline)) co_return false;
  nats::append_info(to_client_, info_for_client(info_));
  if (!co_await flush_client()) co_return false;
  co_return co_await introduce();
}

// What comes before INFO: WebSocket's opening, or TLS of a client that begins with it.
Async<bool> NatsVisit::open_stream(Deadline deadline) {
  if (shared_.parts.websocket) {
    auto opened = co_await open_websocket(visit_, shared_.parts.tls, deadline);
    if (!opened) {
      visit_.note_end("WebSocket: " + opened.error().detail());
      co_return false;
    }
    co_return true;
  }
  const Duration patience = shared_.parts.limits.handshake_first_timeout;
  if (!shared_.parts.tls || patience == Duration::zero()) co_return true;
  const Deadline first = earlier(shared_.parts.loop.after(patience), deadline);
  std::array<char, 4'096> buffer;
  auto size = co_await read_some(visit_.stream(), std::span(buffer), first);
  if (!size && size.error().code() == Errc::timeout) co_return true;
  if (!size || *size == 0) {
    visit_.note_end("the client left");
    co_return false;
  }
  visit_.counters.bytes_in += *size;
  const std::string_view bytes(buffer.data(), *size);
  if (bytes.front() == tls_handshake) co_return co_await begin_tls(bytes, deadline);
  rest_of_client_ = bytes;
  co_return true;
}

Async<bool> NatsVisit::begin_tls(std::string_view already_read, Deadline deadline) {
  auto encrypted = co_await encrypt(
      visit_, *shared_.parts.tls, {.deadline = deadline, .already_read = already_read});
  if (!encrypted) visit_.note_end("TLS: " + encrypted.error().detail());
  co_return encrypted.has_value();
}

// Until its CONNECT was read, nobody makes us keep more than one line of it.
Async<bool> NatsVisit::introduce() {
  const Deadline deadline = Deadline::at(since_ + shared_.parts.limits.login_timeout);
  std::array<char, 4'096> buffer;
  bool first = true;
  std::string early = std::exchange(rest_of_client_, {});  // Said before INFO.
  for (;;) {
    Result<std::size_t> size = early.copy(buffer.data(), buffer.size());
    early.erase(0, *size);
    if (*size == 0) {
      size = co_await read_some(visit_.stream(), std::span(buffer), deadline);
      if (size) visit_.counters.bytes_in += *size;
    }
    if (!size) {
      if (size.error().code() == Errc::timeout) {
        co_return co_await refuse("Authentication Timeout", "no login within login_timeout");
      }
      visit_.note_end("the client left");
      co_return false;
    }
    if (*size == 0) {
      visit_.note_end("the client left");
      co_return false;
    }
    const std::string_view bytes(buffer.data(), *size);
    if (first && !visit_.stream().encrypted() && shared_.parts.tls) {
      if (bytes.front() == tls_handshake) {
        if (!co_await begin_tls(bytes, deadline)) co_return false;
        continue;
      }
      if (!visit_.peer().local) {
        visit_.note_end("the client did not begin TLS");
        co_return false;
      }
    }
    // Anything but CONNECT, whatever it is, is not looked at.
    if (first && bytes.front() != 'C' && bytes.front() != 'c') {
      co_return co_await refuse("Authorization Violation", "something came before the login");
    }
    first = false;
    std::string_view input = bytes;
    const auto operation = from_client_.next(input);
    if (!operation) {
      const std::string_view text = nats::to_error_text(operation.error());
      visit_.note_end("protocol error before the login: " + std::string(text));
      if (text.empty()) co_return false;
      co_return co_await refuse(text, {});
    }
    if (!*operation) continue;
    auto options = nats::parse_connect((*operation)->text, shared_.parts.limits.connect_size_max);
    if (!options) {
      visit_.note_end("CONNECT: " + options.error().detail());
      co_return false;
    }
    rest_of_client_ = input;
    if (!co_await admit(*options)) co_return false;
    co_return co_await connect(*std::move(options));
  }
}

Async<bool> NatsVisit::admit(nats::ConnectOptions& options) {
  const Secret& token = !options.auth_token.empty() ? options.auth_token
                        : !options.password.empty() ? options.password
                                                    : options.jwt;
  const Peer peer = visit_.peer();
  const std::vector<std::string> certificate_names = visit_.stream().certificate_names();
  auto admitted =
      co_await shared_.parts.gate.admit({.request = visit_.request(),
                                         .visit = visit_.id(),
                                         .door = DoorName::nats,
                                         .peer = &peer,
                                         .wanted_role = options.user,
                                         .database = {},
                                         .certificate_names = certificate_names},
                                        token.reveal(),
                                        Deadline::at(since_ + shared_.parts.limits.login_timeout));
  if (!admitted) {
    if (admitted.error().code() == Errc::cancelled) co_return false;
    co_return co_await refuse(text_for(admitted.error().code()), admitted.error().detail());
  }
  principal_ = std::move(admitted->principal);
  slot_ = std::move(admitted->slot);
  visit_.let_in();
  auto stamp = NatsStamp::make(*principal_, visit_.request(), shared_.parts.stamp_key);
  if (!stamp) co_return co_await refuse("Authorization Violation", stamp.error().detail());
  stamp_ = *std::move(stamp);
  inboxes_.emplace(shared_.parts.inboxes,
                   principal_->issuer + "\n" + principal_->subject + "\n" + principal_->role_name);
  // What nats-server checks, in its order and words.
  if (options.protocol < 0 || options.protocol > 1) {
    co_return co_await refuse("invalid client protocol",
                              "CONNECT asks for protocol " + std::to_string(options.protocol));
  }
  if (options.no_responders && !options.headers) {
    co_return co_await refuse("no responders requires headers support",
                              "no_responders without headers");
  }
  verbose_ = options.verbose;
  headers_ = options.headers;
  from_client_.set_headers(headers_);
  co_return true;
}

// A second CONNECT: the same one with another token, since the first will expire. Who would become
// somebody else, or want another kind of connection, opens one.
Async<bool> NatsVisit::authenticate_again(std::string text) {
  // Nothing may stay in the loop's buffers over a wait.
  if (!co_await flush_server() || !co_await flush_client()) co_return false;
  const auto refused = [&](std::string_view error, std::string reason) {
    visit_.note_end("a second CONNECT: " + std::move(reason));
    nats::append_error(farewell_, error);
    return false;
  };
  auto options = nats::parse_connect(text, shared_.parts.limits.connect_size_max, asked_);
  if (!options) {
    visit_.note_end("a second CONNECT: " + options.error().detail());
    co_return false;  // The server says nothing either.
  }
  const bool same_options = options->verbose == asked_.verbose &&
                            options->pedantic == asked_.pedantic && options->echo == asked_.echo &&
                            options->headers == asked_.headers &&
                            options->no_responders == asked_.no_responders;
  if (!same_options) co_return refused("Authorization Violation", "it wants other options");
  const Secret& token = !options->auth_token.empty() ? options->auth_token
                        : !options->password.empty() ? options->password
                                                     : options->jwt;
  // Who says nothing of it stays who it is.
  if (token.empty() && options->user.empty()) {
    if (verbose_) answer_behind_all(nats::ok_bytes);
    co_return true;
  }
  const Peer peer = visit_.peer();
  slot_ = {};  // Else it would count twice.
  auto admitted = co_await shared_.parts.gate.admit(
      {.request = visit_.request(),
       .visit = visit_.id(),
       .door = DoorName::nats,
       .peer = &peer,
       .wanted_role = options->user},
      token.reveal(),
      shared_.parts.loop.after(shared_.parts.limits.login_timeout));
  if (!admitted) {
    if (admitted.error().code() == Errc::cancelled) co_return false;
    co_return refused(text_for(admitted.error().code()), admitted.error().detail());
  }
  const Principal& fresh = *admitted->principal;
  if (fresh.issuer != principal_->issuer || fresh.subject != principal_->subject ||
      fresh.role_name != principal_->role_name) {
    co_return refused("Authorization Violation", "it is somebody else's");
  }
  slot_ = std::move(admitted->slot);
  registration_ = {};
  principal_ = std::move(admitted->principal);
  registration_ = shared_.parts.registry.add(visit_.id(), DoorName::nats, principal_, *this);
  forget_decisions();
  stamp_->renew(principal_->role);
  if (verbose_) answer_behind_all(nats::ok_bytes);
  co_return true;
}

Async<bool> NatsVisit::connect(nats::ConnectOptions options) {
  const Deadline deadline = Deadline::at(since_ + shared_.parts.limits.login_timeout);
  auto connection = co_await shared_.parts.connector.connect(deadline);
  if (!connection) {
    visit_.note_end("NATS: " + connection.error().detail());
    co_return false;
  }
  server_ = std::move(connection->stream);
  info_ = std::move(connection->info);
  rest_of_server_ = std::move(connection->rest);
  // Headers always, since we add one; the client's own wish is kept on our side.
  options.user.clear();
  options.auth_token = {};
  options.password = {};
  options.jwt = {};
  asked_ = options;
  options.headers = true;
  options.pedantic = false;  // It would say of subjects what is said here already.
  shared_.parts.connector.add_credentials(options, info_);
  nats::append_connect(to_server_, options);
  to_server_ += nats::ping_bytes;
  if (auto settled = co_await settle_connection(deadline); !settled) {
    visit_.note_end("NATS: " + settled.error().detail());
    co_return false;
  }
  // Of another server than the one that was asked before.
  const nats::ServerInfo told = info_for_client(info_);
  if (told.max_payload != std::exchange(told_payload_max_, told.max_payload)) {
    nats::append_info(to_client_, told);
  }
  from_client_.set_payload_size_max(static_cast<std::size_t>(told_payload_max_));
  from_server_.begin_anew(
      {.line_size_max = 65'536,
       .payload_size_max = static_cast<std::size_t>(std::max<std::int64_t>(info_.max_payload, 0))});
  if (verbose_) to_client_ += nats::ok_bytes;
  co_return co_await flush_client();
}

// Until the server has taken our CONNECT: its PONG says so.
Async<Result<void>> NatsVisit::settle_connection(Deadline deadline) {
  MERIDIAN_CO_CHECK(co_await write_all(*server_, std::exchange(to_server_, {}), deadline));
  std::array<char, 4'096> buffer;
  nats::Parser parser(nats::Sender::server, {});
  std::string bytes = std::exchange(rest_of_server_, {});
  for (;;) {
    std::string_view input = bytes;
    for (;;) {
      const auto operation = parser.next(input);
      if (!operation) co_return fail(Errc::invalid, "what it says is not NATS's protocol");
      if (!*operation) break;
      if ((*operation)->kind == nats::OperationKind::err) {
        co_return fail(Errc::unavailable, "it answered " + quote((*operation)->text));
      }
      if ((*operation)->kind != nats::OperationKind::pong) continue;
      rest_of_server_ = input;
      co_return Result<void>();
    }
    MERIDIAN_CO_TRY(const std::size_t size,
                    co_await read_some(*server_, std::span(buffer), deadline));
    if (size == 0) co_return fail(Errc::unavailable, "it closed the connection");
    bytes.assign(buffer.data(), size);
  }
}

}  // namespace meridian
