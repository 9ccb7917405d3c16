#include "doors/postgres/door.h"

#include "base/escape.h"
#include "doors/postgres/complaints.h"
#include "doors/postgres/opening.h"
#include "doors/postgres/relay.h"
#include "wire/postgres/framing.h"
#include "wire/postgres/frontend.h"

#include <array>
#include <optional>
#include <utility>

namespace meridian {
namespace {

constexpr std::size_t read_buffer_size = 64 * 1024;

// The token that the client gives as its password.
Async<Result<Secret>> read_password(Visit& visit,
                                    const postgres::FramingRules& rules,
                                    Deadline deadline) {
  const postgres::Framer framer(rules);
  std::string received;
  for (;;) {
    const postgres::Frame frame = framer.next(received);
    if (frame.status == postgres::Frame::Status::refused) {
      co_return std::unexpected(framer.refusal(received));
    }
    if (frame.type != 0 && frame.frontend() != postgres::FrontendType::password) {
      co_return fail(Errc::invalid, "a password message was expected");
    }
    if (frame.status == postgres::Frame::Status::whole) {
      if (received.size() != frame.size)
        co_return fail(Errc::invalid, "bytes follow the password message");
      const auto message =
          postgres::parse_password(std::string_view(received).substr(postgres::header_bytes));
      Result<Secret> password = fail(Errc::invalid, "the password message is malformed");
      if (message) password = Secret(std::string(message->password));
      wipe(received.data(), received.size());
      co_return password;
    }
    std::array<char, 2'048> buffer;
    MERIDIAN_CO_TRY(const std::size_t size, co_await read_some(visit.stream(), buffer, deadline));
    if (size == 0) co_return fail(Errc::unavailable, "the client left during the login");
    received.append(buffer.data(), size);
    wipe(buffer.data(), size);
  }
}

class PostgresDoor final : public Door {
 public:
  explicit PostgresDoor(PostgresDoorParts parts) : shared_(parts) {}

  DoorName name() const noexcept override { return DoorName::postgres; }

  Async<> serve(Visit& visit) override {
    const Deadline deadline = shared_.parts.loop.after(shared_.parts.limits.login_timeout);
    auto opened = co_await open_connection(visit, shared_.parts.tls, deadline);
    if (!opened) {
      visit.note_end(opened.error().detail());
      // Only who has spoken the protocol is answered in it.
      if (opened.error().code() == Errc::invalid) co_await refuse(visit, opened.error());
      co_return;
    }
    if (auto* const cancel = std::get_if<OpenedCancel>(&*opened)) {
      co_await take_cancel(visit, *cancel);
      co_return;
    }
    OpenedSession& session = std::get<OpenedSession>(*opened);
    auto relay = co_await log_in(visit, session.startup, deadline);
    session.bytes.reset();
    if (!relay) {
      visit.note_end(relay.error().detail());
      co_await refuse(visit, relay.error());
      co_return;
    }
    co_await live(visit, std::move(*relay));
  }

 private:
  struct LoggedIn {
    std::unique_ptr<Relay> relay;
    VisitSlot slot;
    postgres::ProtocolVersion version;
    bool settled = false;  // attach_and_settle() has failed: only finish() is left.
  };

  // The last message to a client that does not come in.
  Async<> refuse(Visit& visit, Error error) {
    const Shield shield(co_await this_fibre());
    std::string message;
    append_complaint(message, postgres::Severity::fatal, error, visit.request(), true);
    (void)co_await write_all(
        visit.stream(), message, shared_.parts.loop.after(shared_.parts.limits.farewell_timeout));
  }

  // The client reads the end of its connection when the server has been told, as from a server:
  // what it asks for after that is not what it meant.
  Async<> take_cancel(Visit& visit, OpenedCancel& cancel) {
    const std::string source = login_source_of(visit.peer());
    const Time now = shared_.parts.loop.now();
    if (auto allowed = shared_.parts.cancel_limiter.check(source, now); !allowed) {
      visit.note_end(allowed.error().detail());
      co_return;
    }
    shared_.parts.cancel_limiter.failed(source, now);
    EpollLoop& loop = shared_.parts.loop;
    const auto reached = std::make_shared<Event>(loop);
    const bool found =
        shared_.parts.cancels.cancel(cancel.process_id, cancel.key.reveal(), [&loop, reached] {
          loop.submit([reached] { reached->set(); });
        });
    if (found) (void)co_await reached->wait(loop.after(shared_.parts.limits.cancel_timeout));
    visit.note_end(found ? "a cancel request was passed on"
                         : "a cancel request with a key of no visit");
  }

  Async<Result<LoggedIn>> log_in(Visit& visit,
                                 postgres::StartupMessage& startup,
                                 Deadline deadline) {
    const Time begun = shared_.parts.loop.now();
    const postgres::Negotiation negotiation = postgres::negotiate(startup);
    std::string greeting;
    if (negotiation.needed) postgres::append_negotiate_protocol_version(greeting, negotiation);
    if (negotiation.version < postgres::version_3_0) {
      co_return fail(Errc::invalid, "protocol versions before 3.0 are not spoken here");
    }
    const Peer& peer = visit.peer();
    if (!visit.stream().encrypted() && !peer.local) {
      // Before the password is asked for: it would travel in clear.
      co_return fail(Errc::denied,
                     "a token is taken only over TLS, a Unix socket or the loopback interface; set "
                     "sslmode=require");
    }
    MERIDIAN_CO_TRY(ClientSettings settings, ClientSettings::read(startup));
    const std::string user(startup.user());
    const std::string database(startup.database());

    postgres::append_authentication_cleartext_password(greeting);
    MERIDIAN_CO_CHECK(co_await write_all(visit.stream(), greeting, deadline));
    MERIDIAN_CO_TRY(Secret token, co_await read_password(visit, shared_.client_rules, deadline));
    if (token.empty()) {
      co_return fail(Errc::unauthenticated, "no token: give one as the password");
    }
    const std::vector<std::string> certificate_names = visit.stream().certificate_names();
    MERIDIAN_CO_TRY(Admission admission,
                    co_await shared_.parts.gate.admit({.request = visit.request(),
                                                       .visit = visit.id(),
                                                       .door = DoorName::postgres,
                                                       .peer = &peer,
                                                       .wanted_role = user,
                                                       .database = database,
                                                       .certificate_names = certificate_names},
                                                      token.reveal(),
                                                      deadline));
    token = Secret();
    visit.let_in();
    MERIDIAN_CO_TRY(std::shared_ptr<Pool> pool,
                    shared_.parts.pools.find(admission.principal->role_name, database));
    const auto login_settings = pool->login_settings();
    const bool needs_backend = !login_settings || !settings.trivial(*login_settings);

    LoggedIn in{
        .relay = nullptr, .slot = std::move(admission.slot), .version = negotiation.version};
    const std::vector<std::string> ignored = settings.ignored;
    in.relay = std::make_unique<Relay>(
        shared_, visit, std::move(admission.principal), std::move(pool), std::move(settings));
    if (needs_backend) {
      auto attached = co_await in.relay->attach_and_settle();
      if (!attached) {
        visit.note_end(attached.error().detail());
        in.settled = true;
        co_return in;
      }
    }
    std::string welcome;
    postgres::append_authentication_ok(welcome);
    for (const auto& [setting, value] : in.relay->reported_settings().all()) {
      postgres::append_parameter_status(welcome, setting, value);
    }
    const std::size_t key_size = in.version >= postgres::version_3_2 ? 32 : 4;
    in.relay->set_seat(shared_.parts.cancels, key_size, welcome);
    for (const std::string& setting : ignored) {
      const std::string message = "start-up parameter " + quote(setting, 64) + " was not applied";
      postgres::append_notice(welcome,
                              {.severity = postgres::Severity::warning,
                               .sqlstate = "01000",
                               .message = message,
                               .hint = "Use SET after connecting."});
    }
    postgres::append_ready_for_query(welcome, postgres::TransactionStatus::idle);
    auto written = co_await write_all(visit.stream(), welcome, deadline);
    if (!written) {
      visit.note_end(written.error().detail());
      in.settled = true;
    }
    shared_.login_seconds.observe(shared_.parts.loop.now() - begun);
    co_return in;
  }

  Async<> live(Visit& visit, LoggedIn in) {
    if (!in.settled) co_await in.relay->run();
    if (visit.end_reason().empty()) visit.note_end("ended");
    co_await in.relay->finish();
  }

  PostgresDoorShared shared_;
};

}  // namespace

PostgresDoorShared::PostgresDoorShared(PostgresDoorParts given)
    : parts(given),
      classifier(given.catalog,
                 &given.metrics.gauge("meridian_postgres_shapes_bytes",
                                      "Memory of what is known of statements, about.")),
      // Statements that are longer than is looked at are passed on in parts, so the codec's bound
      // is the protocol's.
      client_rules(postgres::Sender::frontend, {.buffered_bytes_max = 1U << 30}),
      server_rules(postgres::Sender::backend),
      read_buffer(read_buffer_size),
      timeline(given.timeline),
      statements(
          given.metrics.counter("meridian_postgres_statements_total", "Statements forwarded.")),
      stamped(given.metrics.counter("meridian_postgres_stamped_total",
                                    "Transactions that were given a request id of their own.")),
      checkouts(given.metrics.counter("meridian_postgres_checkouts_total",
                                      "Backends taken from a pool by a visit.")),
      cancels(
          given.metrics.counter("meridian_postgres_cancels_total", "Cancel requests passed on.")),
      violations(given.metrics.counter("meridian_postgres_violations_total",
                                       "Backends closed because they broke the protocol.")),
      statement_seconds(given.metrics.histogram("meridian_postgres_statement_seconds",
                                                "From forwarding a statement to its end.")),
      checkout_seconds(given.metrics.histogram("meridian_postgres_checkout_seconds",
                                               "How long a visit waited for a backend.")),
      login_seconds(given.metrics.histogram("meridian_postgres_login_seconds",
                                            "From the start-up message to readiness.")) {}

std::unique_ptr<Door> make_postgres_door(PostgresDoorParts parts) {
  return std::make_unique<PostgresDoor>(parts);
}

}  // namespace meridian
