#include "doors/postgres/opening.h"

#include "doors/encryption.h"

#include <array>
#include <utility>

namespace meridian {
namespace {

// What TLS clients of PostgreSQL 17 offer by ALPN.
const std::array<std::string, 1>& protocols() {
  static const std::array<std::string, 1> list{"postgresql"};
  return list;
}

// Reads until `received` holds `size` bytes, or at least one more byte when that is not known yet.
Async<Result<void>> read_more(Stream& stream, std::string& received, Deadline deadline) {
  std::array<char, 1'024> buffer;
  MERIDIAN_CO_TRY(const std::size_t size, co_await read_some(stream, buffer, deadline));
  if (size == 0) co_return fail(Errc::unavailable, "the client left before it said anything");
  received.append(buffer.data(), size);
  co_return Result<void>();
}

Async<Result<void>> start_tls(
    Visit& visit, const TlsServer& tls, std::string already_read, bool direct, Deadline deadline) {
  co_return co_await encrypt(visit,
                             tls,
                             {.deadline = deadline,
                              .already_read = already_read,
                              .alpn = protocols(),
                              .alpn_required = direct});
}

}  // namespace

Async<Result<Opened>> open_connection(Visit& visit, const TlsServer* tls, Deadline deadline) {
  auto received = std::make_unique<std::string>();
  bool asked_tls = false;
  bool asked_gss = false;
  for (;;) {
    const postgres::Opening opening = postgres::recognise(*received);
    if (opening == postgres::Opening::foreign) {
      co_return fail(Errc::invalid, "the client does not speak PostgreSQL's protocol");
    }
    if (opening == postgres::Opening::unclear) {
      MERIDIAN_CO_CHECK(co_await read_more(visit.stream(), *received, deadline));
      continue;
    }
    if (opening == postgres::Opening::direct_tls) {
      if (!tls || asked_tls || visit.stream().encrypted()) {
        co_return fail(Errc::invalid, "TLS is not to be had here; set tls.certificate and tls.key");
      }
      asked_tls = true;
      auto started = co_await start_tls(visit, *tls, std::exchange(*received, {}), true, deadline);
      if (!started) co_return std::unexpected(started.error());
      continue;
    }
    MERIDIAN_CO_TRY(const std::size_t size, postgres::first_packet_bytes(*received));
    if (size == 0 || received->size() < size) {
      MERIDIAN_CO_CHECK(co_await read_more(visit.stream(), *received, deadline));
      continue;
    }
    // Refuses bytes behind the packet: sent in clear, they would be taken for encrypted ones
    // (CVE-2021-23214).
    MERIDIAN_CO_TRY(postgres::FirstPacket packet, postgres::parse_first_packet(*received));
    if (std::holds_alternative<postgres::SslRequest>(packet)) {
      if (std::exchange(asked_tls, true)) co_return fail(Errc::invalid, "TLS was asked for twice");
      received->clear();
      const bool willing = tls && !visit.peer().unix_socket && !visit.stream().encrypted();
      MERIDIAN_CO_CHECK(co_await write_all(visit.stream(), willing ? "S" : "N", deadline));
      if (!willing) continue;
      auto started = co_await start_tls(visit, *tls, {}, false, deadline);
      if (!started) co_return std::unexpected(started.error());
      continue;
    }
    if (std::holds_alternative<postgres::GssRequest>(packet)) {
      if (std::exchange(asked_gss, true)) co_return fail(Errc::invalid, "GSS was asked for twice");
      received->clear();
      MERIDIAN_CO_CHECK(co_await write_all(visit.stream(), "N", deadline));
      continue;
    }
    if (const auto* const cancel = std::get_if<postgres::CancelRequest>(&packet)) {
      OpenedCancel opened{.process_id = cancel->process_id,
                          .key = Secret(std::string(cancel->key))};
      wipe(received->data(), received->size());
      co_return Opened(std::move(opened));
    }
    co_return Opened(
        OpenedSession{.bytes = std::move(received),
                      .startup = std::get<postgres::StartupMessage>(std::move(packet))});
  }
}

}  // namespace meridian
