#include "pool/connector.h"

#include "base/escape.h"
#include "wire/postgres/framing.h"
#include "wire/postgres/frontend_writer.h"
#include "wire/postgres/refusal.h"

#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace meridian {
namespace {

using postgres::BackendType;

const postgres::FramingRules& server_rules() {
  static const postgres::FramingRules rules(postgres::Sender::backend);
  return rules;
}

// The conversation of a login, a message at a time.
class Login {
 public:
  Login(Stream& stream, Deadline deadline)
      : stream_(stream), deadline_(deadline), framer_(server_rules()) {}

  struct Message {
    BackendType type{};
    std::string_view body;  // Valid until the next call.
  };

  Async<Result<Message>> next() {
    received_.erase(0, std::exchange(used_, 0));
    for (;;) {
      const postgres::Frame frame = framer_.next(received_);
      if (frame.status == postgres::Frame::Status::refused) {
        co_return fail_while("logging in", framer_.refusal(received_));
      }
      if (frame.status == postgres::Frame::Status::whole) {
        used_ = static_cast<std::size_t>(frame.size);
        co_return Message{.type = frame.backend(),
                          .body = std::string_view(received_).substr(
                              postgres::header_bytes, used_ - postgres::header_bytes)};
      }
      std::array<char, 4'096> buffer;
      MERIDIAN_CO_TRY(const std::size_t size, co_await read_some(stream_, buffer, deadline_));
      if (size == 0)
        co_return fail(Errc::unavailable, "the server closed the connection during the login");
      total_ += size;
      if (total_ > Connector::login_bytes_max) {
        co_return fail(Errc::unavailable,
                       "the server sent more than login_bytes_max=" +
                           std::to_string(Connector::login_bytes_max) + " bytes during the login");
      }
      received_.append(buffer.data(), size);
    }
  }

  Async<Result<void>> send(std::string bytes) {
    co_return co_await write_all(stream_, bytes, deadline_);
  }

  // Nothing was sent that was not asked for.
  bool drained() const noexcept { return used_ == received_.size(); }

 private:
  Stream& stream_;
  Deadline deadline_;
  postgres::Framer framer_;
  std::string received_;
  std::size_t used_ = 0;
  std::size_t total_ = 0;
};

Error to_error(std::string_view body) {
  const auto report = postgres::parse_report(body);
  if (!report) return Error(Errc::unavailable, "the server refused the login without a reason");
  Errc code = Errc::unavailable;
  if (report->sqlstate.starts_with("28")) code = Errc::denied;
  if (report->sqlstate == "53300") code = Errc::exhausted;
  if (report->sqlstate == "3D000") code = Errc::not_found;
  return Error(code, escape(report->message) + " [" + escape(report->sqlstate) + "]");
}

Async<Result<void>> authenticate(Login& login, Random& random, Secret password) {
  MERIDIAN_CO_TRY(auto scram_password, postgres::ScramPassword::make(std::move(password)));
  std::optional<postgres::ScramClient> scram;
  bool proved = false;
  for (;;) {
    MERIDIAN_CO_TRY(const Login::Message message, co_await login.next());
    if (message.type == BackendType::error_response)
      co_return std::unexpected(to_error(message.body));
    if (message.type == BackendType::notice_response) continue;
    if (message.type == BackendType::negotiate_protocol_version) continue;  // We asked for 3.0.
    if (message.type != BackendType::authentication) {
      co_return fail(Errc::unavailable, "the server spoke out of turn during the login");
    }
    MERIDIAN_CO_TRY(const auto request, postgres::parse_authentication(message.body));
    using Kind = postgres::Authentication::Kind;
    std::string answer;
    switch (request.kind) {
      case Kind::ok:
        // A server that asked for no proof, or gave none itself, is not the one whose role this is.
        if (!proved)
          co_return fail(Errc::unavailable,
                         "the server let us in without SCRAM; it must ask for it");
        co_return Result<void>();
      case Kind::sasl:
        if (scram || !request.offers(postgres::scram_mechanism)) {
          co_return fail(Errc::unavailable, "the server does not offer SCRAM-SHA-256");
        }
        scram.emplace(scram_password, random);
        postgres::append_sasl_initial_response(answer, postgres::scram_mechanism, scram->first());
        break;
      case Kind::sasl_continue: {
        if (!scram)
          co_return fail(Errc::unavailable, "the server spoke out of turn during the login");
        auto response = scram->final(request.payload);
        if (!response) co_return std::unexpected(response.error());
        postgres::append_sasl_response(answer, *response);
        break;
      }
      case Kind::sasl_final: {
        if (!scram)
          co_return fail(Errc::unavailable, "the server spoke out of turn during the login");
        auto verified = scram->verify(request.payload);
        if (!verified) co_return std::unexpected(verified.error());
        proved = true;
        continue;
      }
      case Kind::cleartext_password:
      case Kind::md5_password:
        co_return fail(Errc::unavailable,
                       "the server asks for a password in clear or MD5; set password_encryption "
                       "and pg_hba.conf "
                       "to scram-sha-256");
    }
    MERIDIAN_CO_CHECK(co_await login.send(std::move(answer)));
  }
}

}  // namespace

Async<Result<Connector::Connected>> Connector::connect(EpollLoop& loop, Deadline deadline) {
  std::vector<Endpoint> endpoints{server_.endpoint};
  if (!server_.endpoint.is_local()) {
    MERIDIAN_CO_TRY(auto resolved, co_await blocking_.run([endpoint = server_.endpoint] {
      return resolve(endpoint);
    }));
    if (!resolved) co_return std::unexpected(resolved.error());
    endpoints = std::move(*resolved);
  }
  Result<Socket> socket = fail(Errc::unavailable, "no address for " + server_.endpoint.to_string());
  for (const Endpoint& endpoint : endpoints) {
    socket = co_await meridian::connect(loop, endpoint, deadline);
    if (socket) break;
  }
  if (!socket) co_return std::unexpected(socket.error());
  Connected connected;
  auto stream = std::make_unique<SocketStream>(loop, std::move(*socket));
  connected.socket = stream.get();
  if (!server_.tls) {
    connected.stream = std::move(stream);
    co_return connected;
  }
  std::string request;
  postgres::append_ssl_request(request);
  MERIDIAN_CO_CHECK(co_await write_all(*stream, request, deadline));
  char answer = 0;
  // One byte and no more: what an impostor sends in clear behind it must not be taken for encrypted
  // (CVE-2021-23222).
  MERIDIAN_CO_CHECK(co_await read_exactly(*stream, {&answer, 1}, deadline));
  if (answer != 'S') co_return fail(Errc::unavailable, "the server refuses TLS");
  if (!stream->healthy())
    co_return fail(Errc::unavailable, "the server sent bytes before the TLS handshake");
  MERIDIAN_CO_TRY(
      connected.stream,
      co_await TlsStream::connect(
          std::move(stream), server_.tls, {.deadline = deadline, .server_name = server_.tls_name}));
  co_return connected;
}

Async<Result<std::unique_ptr<Backend>>> Connector::open(EpollLoop& loop,
                                                        std::string role,
                                                        std::string database,
                                                        SessionDefaults defaults,
                                                        Deadline deadline) {
  Result<Secret> password = passwords_.now(role);
  if (!password) password = co_await passwords_.after(role, Secret(), deadline);
  if (!password) co_return std::unexpected(password.error());
  auto backend = co_await log_in(loop, role, database, defaults, *password, deadline);
  if (backend || !postgres::is_password_refused(backend.error())) co_return backend;
  // Only once more: a role that the server refuses for another reason is not knocked at for ever.
  password = co_await passwords_.after(role, *std::move(password), deadline);
  if (!password) co_return fail_while(backend.error().detail(), password.error());
  backend = co_await log_in(loop, role, database, defaults, *std::move(password), deadline);
  if (!backend && postgres::is_password_refused(backend.error())) {
    // That is not about the client, whose own password was good.
    co_return fail(Errc::unavailable,
                   "the database refuses role " + quote(role) +
                       " with the password that was just set: " + backend.error().detail());
  }
  co_return backend;
}

Async<Result<std::unique_ptr<Backend>>> Connector::log_in(EpollLoop& loop,
                                                          std::string role,
                                                          std::string database,
                                                          SessionDefaults defaults,
                                                          Secret password,
                                                          Deadline deadline) {
  MERIDIAN_CO_TRY(Connected connected, co_await connect(loop, deadline));
  Login login(*connected.stream, deadline);
  std::string startup;
  std::vector<postgres::Parameter> parameters{{.name = "user", .value = role},
                                              {.name = "database", .value = database},
                                              {.name = "application_name", .value = "meridian"},
                                              {.name = "client_encoding", .value = "UTF8"}};
  std::string timeout;
  if (defaults.statement_timeout != Duration::zero()) {
    const auto millis =
        std::chrono::ceil<std::chrono::milliseconds>(defaults.statement_timeout).count();
    timeout = std::to_string(millis);
    parameters.push_back({.name = "statement_timeout", .value = timeout});
  }
  if (defaults.read_only) {
    parameters.push_back({.name = "default_transaction_read_only", .value = "on"});
  }
  postgres::append_startup(startup, postgres::version_3_0, parameters);
  MERIDIAN_CO_CHECK(co_await login.send(std::move(startup)));
  MERIDIAN_CO_CHECK(co_await authenticate(login, loop.random(), std::move(password)));

  BackendKey key;
  ReportedSettings settings;
  for (;;) {
    MERIDIAN_CO_TRY(const Login::Message message, co_await login.next());
    if (message.type == BackendType::error_response)
      co_return std::unexpected(to_error(message.body));
    if (message.type == BackendType::notice_response) continue;
    if (message.type == BackendType::backend_key_data) {
      MERIDIAN_CO_TRY(const auto data, postgres::parse_backend_key_data(message.body));
      key = {.process_id = data.process_id, .key = Secret(std::string(data.key))};
    } else if (message.type == BackendType::parameter_status) {
      MERIDIAN_CO_TRY(const auto status, postgres::parse_parameter_status(message.body));
      if (!settings.set(status.name, status.value)) {
        co_return fail(Errc::unavailable, "the server reports too many settings");
      }
    } else if (message.type == BackendType::ready_for_query) {
      MERIDIAN_CO_TRY(const auto status, postgres::parse_ready_for_query(message.body));
      if (status != postgres::TransactionStatus::idle || !login.drained()) {
        co_return fail(Errc::unavailable, "the server spoke out of turn during the login");
      }
      break;
    } else {
      co_return fail(Errc::unavailable, "the server spoke out of turn during the login");
    }
  }
  auto backend = std::make_unique<Backend>(
      std::move(connected.stream), *connected.socket, std::move(key), loop.now());
  backend->login_settings = settings;
  backend->settings = std::move(settings);
  co_return backend;
}

Async<Result<void>> Connector::cancel(EpollLoop& loop,
                                      std::uint32_t process_id,
                                      Secret key,
                                      Deadline deadline) {
  MERIDIAN_CO_TRY(Connected connected, co_await connect(loop, deadline));
  std::string request;
  postgres::append_cancel_request(request, process_id, key.reveal());
  MERIDIAN_CO_CHECK(co_await write_all(*connected.stream, request, deadline));
  wipe(request.data(), request.size());
  // The server closes when the signal has been sent.
  std::array<char, 64> ignored;
  for (;;) {
    auto size = co_await read_some(*connected.stream, ignored, deadline);
    if (!size) {
      // A reset is as good as an end.
      if (size.error().code() == Errc::unavailable) co_return Result<void>();
      co_return std::unexpected(size.error());
    }
    if (*size == 0) co_return Result<void>();
  }
}

}  // namespace meridian
