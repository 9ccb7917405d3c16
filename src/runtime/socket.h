#pragma once
// TCP and Unix sockets: endpoints, listening, connecting, and the stream over them.

#include "base/result.h"
#include "runtime/epoll_loop.h"
#include "runtime/file.h"
#include "runtime/stream.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// Where to listen or connect: "127.0.0.1:6432", "[::1]:6432", "name:6432", or "unix:/path".
struct Endpoint {
  std::string host;        // Empty for a Unix socket.
  std::uint16_t port = 0;  // 0 lets the system choose when listening.
  std::string path;        // Of the Unix socket.

  static Result<Endpoint> parse(std::string_view text);

  bool is_unix() const noexcept { return !path.empty(); }

  // A Unix socket or a literal loopback address: bytes sent there do not leave the machine.
  bool is_local() const noexcept;

  std::string to_string() const;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// A peer that its machine or the network took away says nothing. Where nothing else is sent, the
// system asks after it, and the connection fails once it has not answered: after a minute.
inline constexpr Duration keepalive_idle = std::chrono::seconds(30);
inline constexpr Duration keepalive_interval = std::chrono::seconds(10);
inline constexpr int keepalive_count = 3;

// A connection that has been accepted or made, not yet bound to a loop.
struct Socket {
  File file;
  Peer peer;

  // A last word to who is refused: what of it can be sent at once.
  void say(std::string_view bytes) const noexcept;
};

class SocketStream final : public Stream {
 public:
  SocketStream(EpollLoop& loop, Socket socket);
  ~SocketStream() override;

  Transfer try_read(std::span<char> into) override;
  Transfer try_write(std::string_view bytes) override;
  void shutdown_write() noexcept override;
  void close() noexcept override;
  const Peer& peer() const noexcept override { return socket_.peer; }
  std::string failure() const override;

  // Leaves its loop with the connection intact, and enters another one. Requires that nobody waits.
  // Between the two nothing else may be called but healthy().
  void leave_loop() noexcept { watch_.reset(); }
  void enter_loop(EpollLoop& loop);

  // The peer has neither closed nor said anything unasked.
  bool healthy() const noexcept;

 protected:
  bool watch(IoWait& wait, Interest interest) override;

 private:
  Transfer failed(int error) noexcept;

  Socket socket_;
  std::unique_ptr<EpollLoop::Watch> watch_;
  int error_ = 0;
  bool closed_ = false;
};

class Listener {
 public:
  // Listens with a backlog of 1,024. A Unix path that a dead process left behind is replaced; one
  // that answers is not. Errors: invalid (no such address), conflict (somebody listens there),
  // denied.
  static Result<std::unique_ptr<Listener>> listen(EpollLoop& loop, Endpoint endpoint);
  ~Listener();

  // The next connection; waits for one. Errors: cancelled; exhausted when descriptors ran out (wait
  // a little and go on); unavailable after close().
  Async<Result<Socket>> accept();

  // With the port that the system chose.
  const Endpoint& endpoint() const noexcept { return endpoint_; }

  void close() noexcept;

 private:
  Listener(EpollLoop& loop, File file, Endpoint endpoint);

  File file_;
  Endpoint endpoint_;
  std::unique_ptr<EpollLoop::Watch> watch_;
};

// Connects to a literal address or a Unix path; names are resolved by the caller on a BlockingPool.
// Errors: unavailable with the system's reason, timeout, cancelled.
Async<Result<Socket>> connect(EpollLoop& loop, Endpoint endpoint, Deadline deadline);

// Blocks: name to literal addresses, in the order to try them.
Result<std::vector<Endpoint>> resolve(const Endpoint& endpoint);

}  // namespace meridian
