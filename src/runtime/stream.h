#pragma once
// A Stream carries bytes both ways between two peers.
//
// Implementations: SocketStream (TCP and Unix sockets), TlsStream over another stream, and
// SimStream in simulation. The interface is readiness: try_read and try_write never wait,
// readable() and writable() wait and move no byte. So nothing is lost when a wait is cancelled, and
// an idle peer costs no buffer.
//
// Belongs to one loop. One fibre may read while another writes. close() wakes both.

#include "base/list.h"
#include "base/result.h"
#include "runtime/async.h"
#include "runtime/deadline.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

// What a try came to. `size` is above zero only when done.
struct Transfer {
  enum class Status : std::uint8_t {
    done,
    would_block,  // Wait for readable() or writable(), then try again.
    ended,        // Reading: the peer has said goodbye. Nothing more will come.
    failed,       // The stream is finished; Stream::failure() says why.
  };
  Status status = Status::would_block;
  std::size_t size = 0;
};

// Who is at the other end.
struct Peer {
  std::string address;  // "127.0.0.1", "::1", or the path of the Unix socket; for logs and limits.
  std::uint16_t port = 0;
  bool local = false;  // A Unix socket, or an address of the loopback interface.
  bool unix_socket = false;
  std::int64_t user = -1;  // The user id behind a Unix socket (SO_PEERCRED); -1 for TCP.
  std::int64_t process = -1;

  std::string to_string() const;  // "127.0.0.1:5432"
};

enum class Interest : std::uint8_t { read, write };

struct IoWaitTag;

// A wait for bytes to move, linked to the descriptor or the simulated pipe that will wake it.
class IoWait : public Suspension, public ListNode<IoWaitTag> {
 public:
  Interest interest() const noexcept { return interest_; }

 protected:
  IoWait(Interest interest, Deadline deadline) noexcept
      : Suspension(deadline), interest_(interest) {}
  ~IoWait() = default;

 private:
  void detach() noexcept override { ListNode<IoWaitTag>::unlink(); }

  Interest interest_;
};
using IoWaits = List<IoWait, IoWaitTag>;

inline void wake_all(IoWaits& waits) noexcept {
  while (!waits.empty())
    waits.pop_front().wake(Wake::ready);
}

class Stream {
 public:
  class Wait final : public IoWait {
   public:
    Wait(Stream& stream, Interest interest, Deadline deadline) noexcept
        : IoWait(interest, deadline), stream_(stream) {}

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) {
      if (!park(handle)) return false;
      if (stream_.watch(*this, interest())) return true;
      unpark(Wake::ready);
      return false;
    }
    Wake await_resume() const noexcept { return outcome(); }

   private:
    Stream& stream_;
  };

  virtual ~Stream() = default;

  virtual Transfer try_read(std::span<char> into) = 0;

  // Sends a first part of `bytes`, at best all.
  virtual Transfer try_write(std::string_view bytes) = 0;

  // Ready means: worth a try. A closed or failed stream is ready.
  Wait readable(Deadline deadline = Deadline::never()) noexcept {
    return {*this, Interest::read, deadline};
  }
  Wait writable(Deadline deadline = Deadline::never()) noexcept {
    return {*this, Interest::write, deadline};
  }

  // Says goodbye to the peer after what was written: it reads the end.
  virtual void shutdown_write() noexcept = 0;

  // False while shutdown_write() has not found room for the goodbye: when the stream is writable it
  // is to be called again. say_goodbye() does so.
  virtual bool goodbye_said() const noexcept { return true; }

  // Ends both directions at once; later tries fail and waits are ready. May be called many times.
  virtual void close() noexcept = 0;

  virtual const Peer& peer() const noexcept = 0;
  virtual bool encrypted() const noexcept { return false; }

  // What the peer's verified certificate says that it is: "dns:a.example", "uri:spiffe://...",
  // "email:a@b.example", "cn:a". Empty where it has shown none.
  virtual std::vector<std::string> certificate_names() const { return {}; }

  // After Status::failed: what happened, for operators.
  virtual std::string failure() const = 0;

 protected:
  // Links the wait to where its wake will come from; false when that interest is ready now. A
  // stream over a stream passes the wait down, perhaps with the other interest: TLS may have to
  // write before it can read.
  virtual bool watch(IoWait& wait, Interest interest) = 0;

  static bool watch_in(Stream& lower, IoWait& wait, Interest interest) {
    return lower.watch(wait, interest);
  }
};

// One read: at least a byte, or 0 at the end of the stream. Timeout and cancelled leave the stream
// usable.
Async<Result<std::size_t>> read_some(Stream& stream, std::span<char> into, Deadline deadline);

// Fills `into`; the end of the stream before that is Errc::unavailable.
Async<Result<void>> read_exactly(Stream& stream, std::span<char> into, Deadline deadline);

// Sends all. After an error an unknown part has been sent, so the stream is good for close() alone.
Async<Result<void>> write_all(Stream& stream, std::string_view bytes, Deadline deadline);

// shutdown_write(), with the time that a goodbye of more than a flag needs: TLS has one. After the
// deadline, or when cancelled, the peer may see an end without it.
Async<> say_goodbye(Stream& stream, Deadline deadline);

}  // namespace meridian
