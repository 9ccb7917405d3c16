#pragma once
// A backend: one connection to PostgreSQL, logged in as a role, that serves one visit at a time.
//
// Owned by a Pool while idle, by a visit's relay while in use. Belongs to the loop of its stream;
// between two uses it belongs to none.

#include "base/secret.h"
#include "base/time.h"
#include "pool/settings.h"
#include "runtime/socket.h"
#include "wire/postgres/backend.h"

#include <cstdint>
#include <memory>
#include <string>

namespace meridian {

// What a CancelRequest for the backend must carry.
struct BackendKey {
  std::uint32_t process_id = 0;
  Secret key;
};

class Backend {
 public:
  Backend(std::unique_ptr<Stream> stream, SocketStream& socket, BackendKey key, Time opened_at)
      : stream_(std::move(stream)), socket_(socket), key_(std::move(key)), opened_at_(opened_at) {}

  Stream& stream() noexcept { return *stream_; }
  const BackendKey& key() const noexcept { return key_; }
  Time opened_at() const noexcept { return opened_at_; }

  // As the server reported them: at login, and now.
  ReportedSettings login_settings;
  ReportedSettings settings;

  // Which incarnation of the engine it was opened under; another one's backends are closed.
  std::uint64_t generation = 0;

  // A session of it may have committed without waiting for the disk.
  bool may_commit_unflushed = false;

  void leave_loop() noexcept { socket_.leave_loop(); }
  void enter_loop(EpollLoop& loop) { socket_.enter_loop(loop); }
  bool healthy() const noexcept { return socket_.healthy(); }

 private:
  std::unique_ptr<Stream> stream_;  // The socket, or TLS over it.
  SocketStream& socket_;
  BackendKey key_;
  Time opened_at_;
};

}  // namespace meridian
