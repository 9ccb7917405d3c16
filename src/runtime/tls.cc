#include "runtime/tls.h"

#include "base/assert.h"
#include "base/escape.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <limits>

namespace meridian {
namespace {

constexpr std::size_t certificate_names_max =
    64;  // Of one certificate; the rest counts for nothing.

// OpenSSL's queue of errors as one line, and the queue emptied.
std::string take_errors() {
  std::string text;
  while (const unsigned long code = ::ERR_get_error()) {
    if (!text.empty()) text += "; ";
    const char* const reason = ::ERR_reason_error_string(code);
    text += reason ? reason : "error " + std::to_string(code);
  }
  return text.empty() ? "unknown TLS error" : text;
}

std::shared_ptr<ssl_ctx_st> own(SSL_CTX* context) {
  return {context, [](SSL_CTX* ended) { ::SSL_CTX_free(ended); }};
}

void set_common(SSL_CTX* context) {
  ::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  ::SSL_CTX_set_options(
      context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  ::SSL_CTX_set_read_ahead(context, 1);  // One read of the socket for header and body of a record.
  ::SSL_CTX_set_mode(context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                         SSL_MODE_RELEASE_BUFFERS);
}

std::string to_wire(std::span<const std::string> protocols) {
  std::string wire;
  for (const std::string& protocol : protocols) {
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  return wire;
}

// A name with a NUL would be another one to whoever reads it as C does: it counts for nothing.
void add_name(std::vector<std::string>& names, std::string_view kind, const ASN1_STRING* value) {
  unsigned char* bytes = nullptr;
  const int size = value ? ::ASN1_STRING_to_UTF8(&bytes, value) : -1;
  if (size < 0) return;
  const std::string_view text(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  if (!text.empty() && !text.contains('\0') && names.size() < certificate_names_max)
    names.push_back(std::string(kind) + std::string(text));
  ::OPENSSL_free(bytes);
}

// The alternative names (RFC 5280, section 4.2.1.6), then the common names of the subject.
std::vector<std::string> names_of(X509& certificate) {
  std::vector<std::string> names;
  auto* const alternatives = static_cast<GENERAL_NAMES*>(
      ::X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); ++i) {
    const GENERAL_NAME* const one = sk_GENERAL_NAME_value(alternatives, i);
    if (one->type == GEN_DNS) add_name(names, "dns:", one->d.dNSName);
    if (one->type == GEN_URI) add_name(names, "uri:", one->d.uniformResourceIdentifier);
    if (one->type == GEN_EMAIL) add_name(names, "email:", one->d.rfc822Name);
  }
  ::GENERAL_NAMES_free(alternatives);
  X509_NAME* const subject = ::X509_get_subject_name(&certificate);
  for (int at = ::X509_NAME_get_index_by_NID(subject, NID_commonName, -1); at >= 0;
       at = ::X509_NAME_get_index_by_NID(subject, NID_commonName, at)) {
    add_name(names, "cn:", ::X509_NAME_ENTRY_get_data(::X509_NAME_get_entry(subject, at)));
  }
  return names;
}

// The accepted protocols of a server connection, kept beside its SSL object.
struct AlpnChoice {
  std::string wire;
  bool required = false;
};

int alpn_index() {
  static const int index = ::SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

int choose_alpn(SSL* ssl,
                const unsigned char** chosen,
                unsigned char* chosen_size,
                const unsigned char* offered,
                unsigned int offered_size,
                void* /*unused*/) {
  const auto* const choice = static_cast<const AlpnChoice*>(::SSL_get_ex_data(ssl, alpn_index()));
  if (!choice || choice->wire.empty()) return SSL_TLSEXT_ERR_NOACK;
  unsigned char* selected = nullptr;
  const int found =
      ::SSL_select_next_proto(&selected,
                              chosen_size,
                              reinterpret_cast<const unsigned char*>(choice->wire.data()),
                              static_cast<unsigned int>(choice->wire.size()),
                              offered,
                              offered_size);
  if (found != OPENSSL_NPN_NEGOTIATED) {
    return choice->required ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
  }
  *chosen = selected;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

Result<std::unique_ptr<TlsServer>> TlsServer::load(TlsServerOptions options) {
  std::unique_ptr<TlsServer> server(new TlsServer(std::move(options)));
  MERIDIAN_CHECK(server->reload());
  return server;
}

Result<void> TlsServer::reload() {
  ::ERR_clear_error();
  auto context = own(::SSL_CTX_new(::TLS_server_method()));
  if (!context) return fail(Errc::unavailable, take_errors());
  set_common(context.get());
  ::SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_alpn_select_cb(context.get(), choose_alpn, nullptr);
  if (::SSL_CTX_use_certificate_chain_file(context.get(), options_.certificate_file.c_str()) != 1) {
    return fail(Errc::invalid,
                "certificate " + quote(options_.certificate_file) + ": " + take_errors());
  }
  if (::SSL_CTX_use_PrivateKey_file(context.get(), options_.key_file.c_str(), SSL_FILETYPE_PEM) !=
      1) {
    return fail(Errc::invalid, "key " + quote(options_.key_file) + ": " + take_errors());
  }
  if (::SSL_CTX_check_private_key(context.get()) != 1) {
    return fail(Errc::invalid,
                "key " + quote(options_.key_file) + " does not belong to " +
                    quote(options_.certificate_file));
  }
  if (!options_.client_ca_file.empty()) {
    if (::SSL_CTX_load_verify_locations(context.get(), options_.client_ca_file.c_str(), nullptr) !=
        1) {
      return fail(Errc::invalid,
                  "client_ca " + quote(options_.client_ca_file) + ": " + take_errors());
    }
    ::SSL_CTX_set_client_CA_list(context.get(),
                                 ::SSL_load_client_CA_file(options_.client_ca_file.c_str()));
    ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    // A resumed session would bring the certificate of an earlier handshake, checked against the
    // authorities of then.
    ::SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET);
    ::SSL_CTX_set_num_tickets(context.get(), 0);
  }
  const std::lock_guard lock(mutex_);
  context_ = std::move(context);
  return {};
}

std::shared_ptr<ssl_ctx_st> TlsServer::context() const {
  const std::lock_guard lock(mutex_);
  return context_;
}

Result<std::shared_ptr<ssl_ctx_st>> make_tls_client(const TlsClientOptions& options) {
  ::ERR_clear_error();
  auto context = own(::SSL_CTX_new(::TLS_client_method()));
  if (!context) return fail(Errc::unavailable, take_errors());
  set_common(context.get());
  const bool loaded =
      options.ca_file.empty()
          ? ::SSL_CTX_set_default_verify_paths(context.get()) == 1
          : ::SSL_CTX_load_verify_locations(context.get(), options.ca_file.c_str(), nullptr) == 1;
  if (!loaded)
    return fail(Errc::invalid,
                "certificate authorities " + quote(options.ca_file) + ": " + take_errors());
  ::SSL_CTX_set_verify(context.get(), options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  return context;
}

void TlsStream::SslDeleter::operator()(ssl_st* ssl) const noexcept {
  delete static_cast<AlpnChoice*>(::SSL_get_ex_data(ssl, alpn_index()));
  ::SSL_free(ssl);
}

BIO_METHOD* TlsStream::bio_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* const made =
        ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "meridian stream");
    ::BIO_meth_set_read(made, bio_read);
    ::BIO_meth_set_write(made, bio_write);
    ::BIO_meth_set_ctrl(made, bio_control);
    return made;
  }();
  return method;
}

TlsStream::TlsStream(std::unique_ptr<Stream> lower,
                     std::shared_ptr<ssl_ctx_st> context,
                     std::string already_read)
    : lower_(std::move(lower)),
      context_(std::move(context)),
      already_read_(std::move(already_read)),
      ssl_(::SSL_new(context_.get())) {
  MERIDIAN_ASSERT(ssl_);
  BIO* const bio = ::BIO_new(bio_method());
  MERIDIAN_ASSERT(bio);
  ::BIO_set_data(bio, this);
  ::BIO_set_init(bio, 1);
  ::SSL_set_bio(ssl_.get(), bio, bio);
}

TlsStream::~TlsStream() = default;

int TlsStream::bio_read(BIO* bio, char* into, int size) {
  auto& stream = *static_cast<TlsStream*>(::BIO_get_data(bio));
  ::BIO_clear_retry_flags(bio);
  const auto wanted = static_cast<std::size_t>(size);
  if (!stream.already_read_.empty()) {
    const std::size_t count = std::min(wanted, stream.already_read_.size());
    std::copy_n(stream.already_read_.data(), count, into);
    stream.already_read_.erase(0, count);
    return static_cast<int>(count);
  }
  const Transfer transfer = stream.lower_->try_read({into, wanted});
  if (transfer.status == Transfer::Status::done) return static_cast<int>(transfer.size);
  if (transfer.status == Transfer::Status::would_block) {
    ::BIO_set_retry_read(bio);
    return -1;
  }
  return transfer.status == Transfer::Status::ended ? 0 : -1;
}

int TlsStream::bio_write(BIO* bio, const char* bytes, int size) {
  auto& stream = *static_cast<TlsStream*>(::BIO_get_data(bio));
  ::BIO_clear_retry_flags(bio);
  const Transfer transfer = stream.lower_->try_write({bytes, static_cast<std::size_t>(size)});
  if (transfer.status == Transfer::Status::done) return static_cast<int>(transfer.size);
  if (transfer.status == Transfer::Status::would_block) ::BIO_set_retry_write(bio);
  return -1;
}

long TlsStream::bio_control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

Async<Result<std::unique_ptr<TlsStream>>> TlsStream::accept(std::unique_ptr<Stream> lower,
                                                            std::shared_ptr<ssl_ctx_st> context,
                                                            TlsHandshake handshake) {
  std::unique_ptr<TlsStream> stream(
      new TlsStream(std::move(lower), std::move(context), std::string(handshake.already_read)));
  ::SSL_set_ex_data(
      stream->ssl_.get(),
      alpn_index(),
      new AlpnChoice{.wire = to_wire(handshake.alpn), .required = handshake.alpn_required});
  const bool alpn_required = handshake.alpn_required;
  MERIDIAN_CO_CHECK(co_await stream->shake_hands(handshake.deadline, true));
  if (alpn_required && stream->alpn().empty()) {
    co_return fail(Errc::invalid, "the client offered no protocol by ALPN; direct TLS needs one");
  }
  co_return stream;
}

Async<Result<std::unique_ptr<TlsStream>>> TlsStream::connect(std::unique_ptr<Stream> lower,
                                                             std::shared_ptr<ssl_ctx_st> context,
                                                             TlsHandshake handshake) {
  std::unique_ptr<TlsStream> stream(new TlsStream(std::move(lower), std::move(context), {}));
  const std::string name(handshake.server_name);
  if (!name.empty()) {
    ::SSL_set_tlsext_host_name(stream->ssl_.get(), name.c_str());
    ::SSL_set1_host(stream->ssl_.get(), name.c_str());
  }
  const std::string wire = to_wire(handshake.alpn);
  if (!wire.empty()) {
    ::SSL_set_alpn_protos(stream->ssl_.get(),
                          reinterpret_cast<const unsigned char*>(wire.data()),
                          static_cast<unsigned int>(wire.size()));
  }
  MERIDIAN_CO_CHECK(co_await stream->shake_hands(handshake.deadline, false));
  co_return stream;
}

Async<Result<void>> TlsStream::shake_hands(Deadline deadline, bool server) {
  for (;;) {
    ::ERR_clear_error();
    const int result = server ? ::SSL_accept(ssl_.get()) : ::SSL_connect(ssl_.get());
    if (result == 1) co_return Result<void>();
    const int error = ::SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_WANT_READ) {
      MERIDIAN_CO_CHECK(to_result(co_await lower_->readable(deadline), "the TLS handshake"));
    } else if (error == SSL_ERROR_WANT_WRITE) {
      MERIDIAN_CO_CHECK(to_result(co_await lower_->writable(deadline), "the TLS handshake"));
    } else if (error == SSL_ERROR_SSL) {
      co_return fail(Errc::invalid, "TLS handshake: " + take_errors());
    } else {
      co_return fail(Errc::unavailable, "the peer left during the TLS handshake");
    }
  }
}

Transfer TlsStream::interpret(int result) {
  switch (::SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return {};
    case SSL_ERROR_ZERO_RETURN:
      return {.status = Transfer::Status::ended};
    case SSL_ERROR_SYSCALL:
      failure_ = "the connection below TLS ended";
      return {.status = Transfer::Status::failed};
    default:
      failure_ = "TLS: " + take_errors();
      return {.status = Transfer::Status::failed};
  }
}

Transfer TlsStream::try_read(std::span<char> into) {
  if (closed_) return {.status = Transfer::Status::failed};
  ::ERR_clear_error();
  std::size_t size = 0;
  const int result = ::SSL_read_ex(ssl_.get(), into.data(), into.size(), &size);
  maybe_more_ = result == 1;
  if (result == 1) return {.status = Transfer::Status::done, .size = size};
  read_wants_ = SSL_want_write(ssl_.get()) ? Interest::write : Interest::read;
  return interpret(result);
}

Transfer TlsStream::try_write(std::string_view bytes) {
  if (closed_) return {.status = Transfer::Status::failed};
  MERIDIAN_ASSERT(bytes.size() >= write_retry_size_);
  ::ERR_clear_error();
  std::size_t size = 0;
  const std::size_t offered = write_retry_size_ != 0 ? write_retry_size_ : bytes.size();
  const int result = ::SSL_write_ex(ssl_.get(), bytes.data(), offered, &size);
  if (result == 1) {
    write_retry_size_ = 0;
    return {.status = Transfer::Status::done, .size = size};
  }
  write_wants_ = SSL_want_read(ssl_.get()) ? Interest::read : Interest::write;
  const Transfer transfer = interpret(result);
  if (transfer.status == Transfer::Status::would_block) write_retry_size_ = offered;
  return transfer;
}

void TlsStream::shutdown_write() noexcept {
  if (closed_) return;
  ::ERR_clear_error();
  const int result = ::SSL_shutdown(ssl_.get());
  // Only with the goodbye is the end known to be no attacker's (RFC 8446, section 6.1).
  goodbye_waits_ = result < 0 && ::SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_WRITE;
  ::ERR_clear_error();
  if (goodbye_waits_) {
    write_wants_ = Interest::write;
  } else {
    lower_->shutdown_write();
  }
}

void TlsStream::close() noexcept {
  closed_ = true;
  goodbye_waits_ = false;
  lower_->close();
}

std::string TlsStream::failure() const {
  if (closed_) return "the connection was closed on this side";
  return failure_.empty() ? lower_->failure() : failure_;
}

std::string_view TlsStream::alpn() const noexcept {
  const unsigned char* chosen = nullptr;
  unsigned int size = 0;
  ::SSL_get0_alpn_selected(ssl_.get(), &chosen, &size);
  return {reinterpret_cast<const char*>(chosen), size};
}

std::vector<std::string> TlsStream::certificate_names() const {
  X509* const certificate = ::SSL_get0_peer_certificate(ssl_.get());
  if (!certificate || ::SSL_get_verify_result(ssl_.get()) != X509_V_OK) return {};
  return names_of(*certificate);
}

std::string_view TlsStream::version() const noexcept {
  return ::SSL_get_version(ssl_.get());
}

bool TlsStream::watch(IoWait& wait, Interest interest) {
  if (closed_) return false;
  if (interest == Interest::read && maybe_more_) return false;
  return watch_in(*lower_, wait, interest == Interest::read ? read_wants_ : write_wants_);
}

}  // namespace meridian
