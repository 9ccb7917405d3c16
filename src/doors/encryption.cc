#include "doors/encryption.h"

#include <array>
#include <memory>
#include <utility>

namespace meridian {
namespace {

constexpr char handshake_record = 0x16;  // TLS's first byte (RFC 8446, section 5.1).

// Stands where a stream was that a handshake has taken. It still says who the peer is.
class GoneStream final : public Stream {
 public:
  explicit GoneStream(Peer peer) : peer_(std::move(peer)) {}

  Transfer try_read(std::span<char>) override { return {.status = Transfer::Status::failed}; }
  Transfer try_write(std::string_view) override { return {.status = Transfer::Status::failed}; }
  void shutdown_write() noexcept override {}
  void close() noexcept override {}
  const Peer& peer() const noexcept override { return peer_; }
  std::string failure() const override { return "TLS did not come about"; }

 protected:
  bool watch(IoWait&, Interest) override { return false; }

 private:
  Peer peer_;
};

}  // namespace

std::unique_ptr<Stream> make_gone_stream(Peer peer) {
  return std::make_unique<GoneStream>(std::move(peer));
}

Async<Result<void>> encrypt(Visit& visit, const TlsServer& tls, TlsHandshake handshake) {
  auto lower = visit.exchange_stream(make_gone_stream(visit.peer()));
  MERIDIAN_CO_TRY(auto stream,
                  co_await TlsStream::accept(std::move(lower), tls.context(), handshake));
  visit.exchange_stream(std::move(stream));
  co_return Result<void>();
}

Async<Result<std::string>> encrypt_at_once(Visit& visit, const TlsServer* tls, Deadline deadline) {
  if (!tls) {
    if (visit.peer().local) co_return std::string();
    co_return fail(Errc::denied,
                   "connections from other machines need TLS; set tls.certificate and tls.key");
  }
  // Nothing has begun that would have to be finished first.
  visit.on_drain([&visit] { visit.end("the node is stopping"); });
  std::string received;
  if (visit.peer().local) {
    std::array<char, 1'024> buffer;
    MERIDIAN_CO_TRY(const std::size_t size, co_await read_some(visit.stream(), buffer, deadline));
    if (size == 0) co_return fail(Errc::unavailable, "the client left before it said anything");
    received.assign(buffer.data(), size);
    if (received.front() != handshake_record) co_return received;
  }
  MERIDIAN_CO_CHECK(
      co_await encrypt(visit, *tls, {.deadline = deadline, .already_read = received}));
  co_return std::string();
}

}  // namespace meridian
