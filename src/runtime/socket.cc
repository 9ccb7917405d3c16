#include "runtime/socket.h"

#include "base/escape.h"
#include "base/number.h"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace meridian {
namespace {

constexpr int backlog = 1'024;

std::string error_text(int error) {
  std::array<char, 128> buffer;
  return ::strerror_r(error, buffer.data(), buffer.size());
}

Errc error_code(int error) noexcept {
  switch (error) {
    case EADDRINUSE:
      return Errc::conflict;
    case EACCES:
    case EPERM:
      return Errc::denied;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return Errc::invalid;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return Errc::exhausted;
    default:
      return Errc::unavailable;
  }
}

// A socket address of any family, as the system calls want it.
struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  sockaddr* pointer() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* pointer() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<Address> to_address(const Endpoint& endpoint) {
  Address address;
  if (endpoint.is_unix()) {
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    if (endpoint.path.size() >= sizeof(local.sun_path)) {
      return fail(Errc::invalid,
                  "the path of the Unix socket has " + std::to_string(endpoint.path.size()) +
                      " bytes, the system allows " + std::to_string(sizeof(local.sun_path) - 1) +
                      ": " + quote(endpoint.path));
    }
    std::memcpy(local.sun_path, endpoint.path.data(), endpoint.path.size());
    std::memcpy(&address.storage, &local, sizeof(local));
    address.size = sizeof(local);
    return address;
  }
  sockaddr_in four{};
  if (::inet_pton(AF_INET, endpoint.host.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(endpoint.port);
    std::memcpy(&address.storage, &four, sizeof(four));
    address.size = sizeof(four);
    return address;
  }
  sockaddr_in6 six{};
  if (::inet_pton(AF_INET6, endpoint.host.c_str(), &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(endpoint.port);
    std::memcpy(&address.storage, &six, sizeof(six));
    address.size = sizeof(six);
    return address;
  }
  return fail(Errc::invalid, quote(endpoint.host) + " is not a literal address");
}

bool is_loopback(const sockaddr_storage& storage) noexcept {
  if (storage.ss_family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, &storage, sizeof(four));
    return (ntohl(four.sin_addr.s_addr) >> 24) == 127;
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, &storage, sizeof(six));
    return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) && six.sin6_addr.s6_addr[12] == 127);
  }
  return storage.ss_family == AF_UNIX;
}

Peer to_peer(const sockaddr_storage& storage, int fd) {
  Peer peer;
  peer.local = is_loopback(storage);
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, &storage, sizeof(four));
    ::inet_ntop(AF_INET, &four.sin_addr, text.data(), text.size());
    peer.address = text.data();
    peer.port = ntohs(four.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, &storage, sizeof(six));
    ::inet_ntop(AF_INET6, &six.sin6_addr, text.data(), text.size());
    peer.address = text.data();
    peer.port = ntohs(six.sin6_port);
  } else {
    peer.unix_socket = true;
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
      peer.user = credentials.uid;
      peer.process = credentials.pid;
    }
  }
  return peer;
}

// For a TCP socket; those that a listener accepts have it from the listener.
void set_up(int fd) noexcept {
  const auto set = [&](int level, int option, auto value) {
    const auto number = static_cast<int>(value);
    ::setsockopt(fd, level, option, &number, sizeof(number));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, keepalive_idle / std::chrono::seconds(1));
  set(IPPROTO_TCP, TCP_KEEPINTVL, keepalive_interval / std::chrono::seconds(1));
  set(IPPROTO_TCP, TCP_KEEPCNT, keepalive_count);
}

}  // namespace

Result<Endpoint> Endpoint::parse(std::string_view text) {
  Endpoint endpoint;
  if (text.starts_with("unix:")) {
    endpoint.path = text.substr(5);
    if (endpoint.path.empty()) return fail(Errc::invalid, "unix: needs a path");
    return endpoint;
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return fail(Errc::invalid, quote(text) + " is not host:port, [address]:port or unix:/path");
  }
  const auto port = parse_number<std::uint16_t>(text.substr(colon + 1));
  if (!port)
    return fail(Errc::invalid, quote(text.substr(colon + 1)) + " is not a port (0 to 65535)");
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.contains(':')) {
    return fail(
        Errc::invalid,
        "an IPv6 address stands in brackets: [" + escape(host) + "]:" + std::to_string(*port));
  }
  if (host.empty())
    return fail(Errc::invalid, quote(text) + " has no host; 0.0.0.0 means all addresses");
  endpoint.host = host == "localhost" ? "127.0.0.1" : std::string(host);
  endpoint.port = *port;
  return endpoint;
}

bool Endpoint::is_local() const noexcept {
  if (is_unix()) return true;
  const auto address = to_address(*this);
  return address && is_loopback(address->storage);
}

std::string Endpoint::to_string() const {
  if (is_unix()) return "unix:" + path;
  return (host.contains(':') ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

void Socket::say(std::string_view bytes) const noexcept {
  // It is closed behind this, whatever comes of it.
  if (!bytes.empty())
    (void)!::send(file.fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

SocketStream::SocketStream(EpollLoop& loop, Socket socket)
    : socket_(std::move(socket)),
      watch_(std::make_unique<EpollLoop::Watch>(loop, socket_.file.fd())) {}

SocketStream::~SocketStream() = default;

Transfer SocketStream::failed(int error) noexcept {
  error_ = error;
  return {.status = Transfer::Status::failed};
}

Transfer SocketStream::try_read(std::span<char> into) {
  if (closed_) return failed(ECANCELED);
  if (!watch_->readable_hint()) return {};
  for (;;) {
    const ssize_t size = ::recv(socket_.file.fd(), into.data(), into.size(), MSG_DONTWAIT);
    if (size > 0) {
      // A short read emptied the socket's buffer; the next bytes bring an event of their own
      // (epoll(7), question 9).
      if (static_cast<std::size_t>(size) < into.size()) watch_->drained();
      return {.status = Transfer::Status::done, .size = static_cast<std::size_t>(size)};
    }
    if (size == 0) return {.status = Transfer::Status::ended};
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return failed(errno);
    watch_->drained();
    return {};
  }
}

Transfer SocketStream::try_write(std::string_view bytes) {
  if (closed_) return failed(ECANCELED);
  if (!watch_->writable_hint()) return {};
  for (;;) {
    const ssize_t size =
        ::send(socket_.file.fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size >= 0) {
      if (static_cast<std::size_t>(size) < bytes.size()) watch_->full();
      return {.status = Transfer::Status::done, .size = static_cast<std::size_t>(size)};
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return failed(errno);
    watch_->full();
    return {};
  }
}

void SocketStream::shutdown_write() noexcept {
  if (!closed_) ::shutdown(socket_.file.fd(), SHUT_WR);
}

void SocketStream::close() noexcept {
  if (closed_) return;
  closed_ = true;
  ::shutdown(socket_.file.fd(), SHUT_RDWR);
  watch_->wake_all_waits();
}

std::string SocketStream::failure() const {
  if (closed_) return "the connection was closed on this side";
  return error_text(error_);
}

void SocketStream::enter_loop(EpollLoop& loop) {
  watch_ = std::make_unique<EpollLoop::Watch>(loop, socket_.file.fd());
}

bool SocketStream::healthy() const noexcept {
  char byte = 0;
  return !closed_ && ::recv(socket_.file.fd(), &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) < 0 &&
         (errno == EAGAIN || errno == EWOULDBLOCK);
}

bool SocketStream::watch(IoWait& wait, Interest interest) {
  if (closed_) return false;
  return watch_->watch(wait, interest);
}

Listener::Listener(EpollLoop& loop, File file, Endpoint endpoint)
    : file_(std::move(file)),
      endpoint_(std::move(endpoint)),
      watch_(std::make_unique<EpollLoop::Watch>(loop, file_.fd())) {}

Listener::~Listener() {
  close();
}

Result<std::unique_ptr<Listener>> Listener::listen(EpollLoop& loop, Endpoint endpoint) {
  MERIDIAN_TRY(Address address, to_address(endpoint));
  const auto trouble = [&](std::string_view doing, int error) {
    return fail(error_code(error),
                std::string(doing) + " " + endpoint.to_string() + ": " + error_text(error));
  };
  File file(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!file.open()) return trouble("making a socket for", errno);
  if (endpoint.is_unix()) {
    // Only a path that nobody answers on is stale.
    File probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (probe.open() && ::connect(probe.fd(), address.pointer(), address.size) == 0) {
      return trouble("listening on", EADDRINUSE);
    }
    struct stat status{};
    if (errno == ECONNREFUSED && ::lstat(endpoint.path.c_str(), &status) == 0 &&
        S_ISSOCK(status.st_mode)) {
      ::unlink(endpoint.path.c_str());
    }
  } else {
    const int on = 1;
    ::setsockopt(file.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    set_up(file.fd());
  }
  if (::bind(file.fd(), address.pointer(), address.size) != 0)
    return trouble("listening on", errno);
  if (::listen(file.fd(), backlog) != 0) return trouble("listening on", errno);
  if (!endpoint.is_unix() && endpoint.port == 0) {
    Address bound;
    bound.size = sizeof(bound.storage);
    if (::getsockname(file.fd(), bound.pointer(), &bound.size) != 0)
      return trouble("reading the port of", errno);
    endpoint.port = to_peer(bound.storage, -1).port;
  }
  return std::unique_ptr<Listener>(new Listener(loop, std::move(file), std::move(endpoint)));
}

void Listener::close() noexcept {
  if (!file_.open()) return;
  if (endpoint_.is_unix()) ::unlink(endpoint_.path.c_str());
  watch_->wake_all_waits();
  watch_.reset();
  file_.close();
}

Async<Result<Socket>> Listener::accept() {
  for (;;) {
    if (!file_.open()) co_return fail(Errc::unavailable, "the listener is closed");
    if (watch_->readable_hint()) {
      Address address;
      address.size = sizeof(address.storage);
      File file(
          ::accept4(file_.fd(), address.pointer(), &address.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (file.open()) {
        Peer peer = to_peer(address.storage, file.fd());
        if (peer.unix_socket) peer.address = endpoint_.path;
        co_return Socket{.file = std::move(file), .peer = std::move(peer)};
      }
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        watch_->drained();
      } else if (error_code(errno) == Errc::exhausted) {
        co_return fail(Errc::exhausted,
                       "accepting on " + endpoint_.to_string() + ": " + error_text(errno));
      } else {
        continue;  // The peer left before it was accepted (accept(2), "Error handling").
      }
    }
    MERIDIAN_CO_CHECK(to_result(co_await watch_->readable(), "a connection"));
  }
}

Async<Result<Socket>> connect(EpollLoop& loop, Endpoint endpoint, Deadline deadline) {
  MERIDIAN_CO_TRY(Address address, to_address(endpoint));
  File file(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!file.open()) co_return fail(error_code(errno), "making a socket: " + error_text(errno));
  if (!endpoint.is_unix()) set_up(file.fd());
  const auto attempt = [&] {
    return ::connect(file.fd(), address.pointer(), address.size) == 0 ? 0 : errno;
  };
  int error = attempt();
  while (error == EAGAIN) {
    // The backlog of a Unix socket is full, and there is no event for room in it.
    MERIDIAN_CO_CHECK(to_result(co_await loop.sleep(std::chrono::milliseconds(1)), "a connection"));
    if (deadline.passed(loop.now()))
      co_return fail(Errc::timeout, "connecting to " + endpoint.to_string());
    error = attempt();
  }
  if (error == EINPROGRESS) {
    EpollLoop::Watch watch(loop, file.fd());
    watch.full();
    MERIDIAN_CO_CHECK(
        to_result(co_await watch.writable(deadline), "a connection to " + endpoint.to_string()));
    socklen_t size = sizeof(error);
    ::getsockopt(file.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error != 0) {
    co_return fail(error_code(error) == Errc::exhausted ? Errc::exhausted : Errc::unavailable,
                   "connecting to " + endpoint.to_string() + ": " + error_text(error));
  }
  Peer peer = to_peer(address.storage, file.fd());
  if (peer.unix_socket) peer.address = endpoint.path;
  co_return Socket{.file = std::move(file), .peer = std::move(peer)};
}

Result<std::vector<Endpoint>> resolve(const Endpoint& endpoint) {
  if (endpoint.is_unix() || to_address(endpoint)) return std::vector{endpoint};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(endpoint.host.c_str(), nullptr, &hints, &found);
  if (code != 0) {
    return fail(Errc::unavailable,
                "resolving " + quote(endpoint.host) + ": " + ::gai_strerror(code));
  }
  std::vector<Endpoint> endpoints;
  for (const addrinfo* info = found; info; info = info->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, info->ai_addr, info->ai_addrlen);
    endpoints.push_back({.host = to_peer(storage, -1).address, .port = endpoint.port, .path = {}});
  }
  ::freeaddrinfo(found);
  return endpoints;
}

}  // namespace meridian
