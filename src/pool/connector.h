#pragma once
// Opens backends: connects, shakes hands, logs in as a role with SCRAM, and reads what the server
// tells.
//
// The server is treated as hostile: what it sends is bounded, and it must prove that it knows the
// password.

#include "base/result.h"
#include "base/secret.h"
#include "pool/backend_source.h"
#include "runtime/blocking_pool.h"
#include "runtime/epoll_loop.h"
#include "runtime/tls.h"
#include "wire/postgres/scram.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace meridian {

struct ServerOptions {
  Endpoint endpoint;
  std::shared_ptr<ssl_ctx_st>
      tls;               // Null: in clear, for a Unix socket or an address of this machine.
  std::string tls_name;  // Verified against the certificate.
};

class Connector final : public BackendSource {
 public:
  static constexpr std::size_t login_bytes_max = 64 * 1024;  // Of everything that the server says.

  // Of the roles; any thread.
  struct Passwords {
    std::function<Result<Secret>(std::string_view role)> now;
    // When the server refused that one, or there was none (`refused` is empty): another, or the
    // same that was set anew.
    std::function<Async<Result<Secret>>(std::string role, Secret refused, Deadline deadline)> after;
  };

  Connector(ServerOptions server, Passwords passwords, BlockingPool& blocking)
      : server_(std::move(server)), passwords_(std::move(passwords)), blocking_(blocking) {}

  // Where the server refuses the password, it is asked for anew and tried once more.
  Async<Result<std::unique_ptr<Backend>>> open(EpollLoop& loop,
                                               std::string role,
                                               std::string database,
                                               SessionDefaults defaults,
                                               Deadline deadline) override;

  // Asks the server to cancel what the backend is doing; returns when the server has closed that
  // connection, so the cancel can hit nothing that comes later. Errors as of open().
  Async<Result<void>> cancel(EpollLoop& loop,
                             std::uint32_t process_id,
                             Secret key,
                             Deadline deadline);

 private:
  struct Connected {
    std::unique_ptr<Stream> stream;
    SocketStream* socket = nullptr;
  };
  Async<Result<Connected>> connect(EpollLoop& loop, Deadline deadline);
  Async<Result<std::unique_ptr<Backend>>> log_in(EpollLoop& loop,
                                                 std::string role,
                                                 std::string database,
                                                 SessionDefaults defaults,
                                                 Secret password,
                                                 Deadline deadline);

  ServerOptions server_;
  Passwords passwords_;
  BlockingPool& blocking_;
};

}  // namespace meridian
