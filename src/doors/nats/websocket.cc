#include "doors/nats/websocket.h"

#include "doors/encryption.h"
#include "wire/http/decoder.h"
#include "wire/http/encoder.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>

namespace meridian {
namespace {

constexpr std::string_view subprotocol = "nats";

// Whether a list of tokens has this one, in any case (RFC 9110, section 5.6.1).
bool lists(std::string_view list, std::string_view token) noexcept {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view item = list.substr(0, comma);
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t'))
      item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t'))
      item.remove_suffix(1);
    if (http::equal_without_case(item, token)) return true;
  }
  return false;
}

// Why a request does not open a WebSocket; empty when it does.
std::string_view objection(const http::Request& request) {
  const auto upgrade = request.header("Upgrade");
  const auto connection = request.header("Connection");
  const auto key = request.header("Sec-WebSocket-Key");
  if (request.method != "GET") return "the method is not GET";
  if (!upgrade || !lists(*upgrade, "websocket")) return "it asks for no WebSocket";
  if (!connection || !lists(*connection, "Upgrade")) return "Connection does not say Upgrade";
  if (request.header("Sec-WebSocket-Version") != "13") return "the version is not 13";
  if (!key || !websocket::is_key(*key)) return "Sec-WebSocket-Key is not 16 bytes";
  return {};
}

std::string acceptance(const http::Request& request) {
  std::string answer =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: ";
  answer += websocket::accept_value(*request.header("Sec-WebSocket-Key"));
  // A browser that offered some wants one of them named.
  const auto offered = request.header("Sec-WebSocket-Protocol");
  if (offered && lists(*offered, subprotocol)) {
    answer += "\r\nSec-WebSocket-Protocol: ";
    answer += subprotocol;
  }
  return answer + "\r\n\r\n";
}

}  // namespace

// Done when nothing stands before what is written next.
Transfer::Status WebSocketStream::send_pending() {
  while (!pending_.empty()) {
    const Transfer transfer = lower_->try_write(pending_);
    if (transfer.status != Transfer::Status::done) return transfer.status;
    pending_.erase(0, transfer.size);
  }
  return Transfer::Status::done;
}

Transfer WebSocketStream::try_read(std::span<char> into) {
  constexpr Transfer failed{.status = Transfer::Status::failed};
  for (;;) {
    if (broken_) return failed;
    if (decoder_.closed()) return {.status = Transfer::Status::ended};
    Transfer transfer{.status = Transfer::Status::done, .size = 0};
    if (!already_read_.empty()) {
      transfer.size = already_read_.copy(into.data(), into.size());
      already_read_.erase(0, transfer.size);
    } else {
      transfer = lower_->try_read(into);
      if (transfer.status != Transfer::Status::done) return transfer;
    }
    const auto size = decoder_.unwrap(into.first(transfer.size));
    if (!size) {
      broken_ = true;
      if (frame_left_ == 0) {
        pending_ += websocket::make_close(size.error());
        (void)send_pending();
      }
      return failed;
    }
    // Between two frames of ours; else with the next. Only the last ping is worth an answer.
    if (decoder_.has_answer() && frame_left_ == 0 && pending_.empty()) {
      pending_ = decoder_.take_answer();
      (void)send_pending();
    }
    if (*size > 0) return {.status = Transfer::Status::done, .size = *size};
  }
}

// Header and payload are written apart: a stream over TLS wants what it could not write again as it
// was, and what the caller brings then may have grown.
Transfer WebSocketStream::try_write(std::string_view bytes) {
  if (broken_) return {.status = Transfer::Status::failed};
  if (bytes.empty()) return {.status = Transfer::Status::done};
  if (frame_left_ == 0) {
    if (pending_.empty() && decoder_.has_answer()) pending_ = decoder_.take_answer();
    pending_ += make_header(websocket::Opcode::binary, bytes.size()).view();
    frame_left_ = bytes.size();
  }
  if (const auto status = send_pending(); status != Transfer::Status::done) {
    return {.status = status};
  }
  const Transfer transfer = lower_->try_write(bytes.substr(0, frame_left_));
  if (transfer.status == Transfer::Status::done) frame_left_ -= transfer.size;
  return transfer;
}

void WebSocketStream::shutdown_write() noexcept {
  if (frame_left_ == 0 && !broken_ && !decoder_.closed()) {
    pending_ += websocket::make_close(websocket::CloseCode::normal);
  }
  (void)send_pending();
  lower_->shutdown_write();
}

std::string WebSocketStream::failure() const {
  return broken_ ? "the client sent what is no frame of WebSocket" : lower_->failure();
}

bool WebSocketStream::watch(IoWait& wait, Interest interest) {
  if (interest == Interest::read && (!already_read_.empty() || broken_ || decoder_.closed())) {
    return false;
  }
  return watch_in(*lower_, wait, interest);
}

Async<Result<void>> open_websocket(Visit& visit, const TlsServer* tls, Deadline deadline) {
  MERIDIAN_CO_TRY(std::string received, co_await encrypt_at_once(visit, tls, deadline));
  http::RequestDecoder decoder({.body_size_max = 0});
  std::array<char, 4'096> buffer;
  const auto refuse = [&](int status) -> Async<> {
    http::Response response{.status = status};
    if (status == 426)
      response.headers = {{"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}};
    const std::string bytes =
        http::encode(response, {.now = visit.loop().wall_now(), .keep_alive = false});
    (void)co_await write_all(visit.stream(), bytes, deadline);
  };
  while (!decoder.complete()) {
    if (received.empty()) {
      MERIDIAN_CO_TRY(const std::size_t size,
                      co_await read_some(visit.stream(), std::span(buffer), deadline));
      if (size == 0) co_return fail(Errc::unavailable, "the client left");
      visit.counters.bytes_in += size;
      received.assign(buffer.data(), size);
    }
    const auto taken = decoder.feed(received);
    if (!taken) {
      co_await refuse(decoder.refusal_status());
      co_return std::unexpected(taken.error());
    }
    received.erase(0, *taken);
  }
  const http::Request request = decoder.take();
  if (const std::string_view why = objection(request); !why.empty()) {
    co_await refuse(426);
    co_return fail(Errc::invalid, std::string(why));
  }
  const std::string answer = acceptance(request);
  MERIDIAN_CO_CHECK(co_await write_all(visit.stream(), answer, deadline));
  auto lower = visit.exchange_stream(make_gone_stream(visit.peer()));
  visit.exchange_stream(std::make_unique<WebSocketStream>(std::move(lower), std::move(received)));
  co_return Result<void>();
}

}  // namespace meridian
