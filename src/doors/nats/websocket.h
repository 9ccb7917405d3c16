#pragma once
// NATS over WebSocket: the same bytes, carried in messages. An HTTP request opens it
// (RFC 6455, section 4.2), and from then on the visit's stream is one of plain bytes to the rest of
// the door.
//
// Cookies and the like log nobody in: the token comes in CONNECT, so a page of another origin can
// do nothing without one. Extensions are declined.

#include "doors/visit.h"
#include "runtime/tls.h"
#include "wire/websocket/frame.h"

#include <memory>
#include <string>

namespace meridian {

class WebSocketStream final : public Stream {
 public:
  // `already_read` is what came behind the request.
  WebSocketStream(std::unique_ptr<Stream> lower, std::string already_read)
      : lower_(std::move(lower)), already_read_(std::move(already_read)) {}

  Transfer try_read(std::span<char> into) override;
  Transfer try_write(std::string_view bytes) override;
  void shutdown_write() noexcept override;
  void close() noexcept override { lower_->close(); }
  const Peer& peer() const noexcept override { return lower_->peer(); }
  bool encrypted() const noexcept override { return lower_->encrypted(); }
  std::string failure() const override;

 protected:
  bool watch(IoWait& wait, Interest interest) override;

 private:
  Transfer::Status send_pending();

  std::unique_ptr<Stream> lower_;
  std::string already_read_;
  websocket::Decoder decoder_;
  std::string pending_;         // Of a header or a control frame: goes before anything else.
  std::size_t frame_left_ = 0;  // Payload that the last header has promised.
  bool broken_ = false;         // The client does not speak WebSocket.
};

// TLS where it must be or the client begins with it, then the opening. Errors: invalid (what the
// client asks is not that; it was answered), denied, timeout, unavailable, cancelled.
Async<Result<void>> open_websocket(Visit& visit, const TlsServer* tls, Deadline deadline);

}  // namespace meridian
