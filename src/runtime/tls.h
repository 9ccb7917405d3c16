#pragma once
// TLS 1.2 and 1.3 over any stream, on OpenSSL.

#include "base/result.h"
#include "runtime/stream.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct bio_method_st;
struct bio_st;
struct ssl_ctx_st;
struct ssl_st;

namespace meridian {

struct TlsServerOptions {
  std::string certificate_file;  // PEM: the server's certificate, then its chain.
  std::string key_file;          // PEM, not encrypted.
  std::string client_ca_file;  // PEM. When given, clients may present a certificate that it signed.
};

// What is served to clients. reload() swaps certificate and key for connections to come; those that
// stand keep theirs. Any thread.
class TlsServer {
 public:
  // Errors: invalid, with the file and OpenSSL's reason.
  static Result<std::unique_ptr<TlsServer>> load(TlsServerOptions options);
  Result<void> reload();

  std::shared_ptr<ssl_ctx_st> context() const;

 private:
  explicit TlsServer(TlsServerOptions options) : options_(std::move(options)) {}

  TlsServerOptions options_;
  mutable std::mutex mutex_;
  std::shared_ptr<ssl_ctx_st> context_;
};

// How we connect to somebody.
struct TlsClientOptions {
  std::string server_name;  // Verified against the certificate, and sent as SNI.
  std::string ca_file;      // PEM; empty for the system's authorities.
  bool verify = true;
};
Result<std::shared_ptr<ssl_ctx_st>> make_tls_client(const TlsClientOptions& options);

struct TlsHandshake {
  Deadline deadline = Deadline::never();
  std::string_view already_read{};      // What was read from the stream before TLS was recognised.
  std::span<const std::string> alpn{};  // Offered (client) or accepted (server); empty for none.
  bool alpn_required = false;           // Server: refuse a client that offers none or others.
  std::string_view server_name{};       // Client: SNI and verification.
};

class TlsStream final : public Stream {
 public:
  // Shakes hands. The stream below belongs to the new one. Errors: invalid (no TLS, or no
  // agreement), timeout, unavailable, cancelled; the stream below is gone then.
  static Async<Result<std::unique_ptr<TlsStream>>> accept(std::unique_ptr<Stream> lower,
                                                          std::shared_ptr<ssl_ctx_st> context,
                                                          TlsHandshake handshake);
  static Async<Result<std::unique_ptr<TlsStream>>> connect(std::unique_ptr<Stream> lower,
                                                           std::shared_ptr<ssl_ctx_st> context,
                                                           TlsHandshake handshake);
  ~TlsStream() override;

  Transfer try_read(std::span<char> into) override;
  Transfer try_write(std::string_view bytes) override;
  void shutdown_write() noexcept override;
  bool goodbye_said() const noexcept override { return !goodbye_waits_; }
  void close() noexcept override;
  const Peer& peer() const noexcept override { return lower_->peer(); }
  bool encrypted() const noexcept override { return true; }
  std::vector<std::string> certificate_names() const override;
  std::string failure() const override;

  std::string_view alpn() const noexcept;     // What was agreed on; empty for none.
  std::string_view version() const noexcept;  // "TLSv1.3"

 protected:
  bool watch(IoWait& wait, Interest interest) override;

 private:
  TlsStream(std::unique_ptr<Stream> lower,
            std::shared_ptr<ssl_ctx_st> context,
            std::string already_read);

  Async<Result<void>> shake_hands(Deadline deadline, bool server);
  Transfer interpret(int result);

  static int bio_read(bio_st* bio, char* into, int size);
  static int bio_write(bio_st* bio, const char* bytes, int size);
  static long bio_control(bio_st* bio, int command, long number, void* pointer);
  static bio_method_st* bio_method();

  struct SslDeleter {
    void operator()(ssl_st* ssl) const noexcept;
  };

  std::unique_ptr<Stream> lower_;
  std::shared_ptr<ssl_ctx_st> context_;
  std::string already_read_;
  std::unique_ptr<ssl_st, SslDeleter> ssl_;
  Interest read_wants_ = Interest::read;  // What reading waits for: a key update makes it write.
  Interest write_wants_ = Interest::write;
  std::string failure_;
  bool closed_ = false;
  bool goodbye_waits_ = false;  // There was no room for it.
  bool maybe_more_ =
      true;  // OpenSSL may hold bytes of which the socket will tell nothing any more.
  std::size_t write_retry_size_ = 0;  // OpenSSL wants the same bytes again after a blocked write.
};

}  // namespace meridian
