#include "runtime/stream.h"

namespace meridian {

std::string Peer::to_string() const {
  if (unix_socket) return address.empty() ? "unix" : "unix:" + address;
  const bool six = address.contains(':');
  return (six ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

Async<Result<std::size_t>> read_some(Stream& stream, std::span<char> into, Deadline deadline) {
  for (;;) {
    const Transfer transfer = stream.try_read(into);
    switch (transfer.status) {
      case Transfer::Status::done:
        co_return transfer.size;
      case Transfer::Status::ended:
        co_return 0uz;
      case Transfer::Status::failed:
        co_return fail(Errc::unavailable, stream.failure());
      case Transfer::Status::would_block:
        break;
    }
    MERIDIAN_CO_CHECK(to_result(co_await stream.readable(deadline), "bytes from the peer"));
  }
}

Async<Result<void>> read_exactly(Stream& stream, std::span<char> into, Deadline deadline) {
  while (!into.empty()) {
    MERIDIAN_CO_TRY(const std::size_t size, co_await read_some(stream, into, deadline));
    if (size == 0) co_return fail(Errc::unavailable, "the peer closed the connection");
    into = into.subspan(size);
  }
  co_return Result<void>();
}

Async<> say_goodbye(Stream& stream, Deadline deadline) {
  stream.shutdown_write();
  while (!stream.goodbye_said()) {
    if (co_await stream.writable(deadline) != Wake::ready) co_return;
    stream.shutdown_write();
  }
}

Async<Result<void>> write_all(Stream& stream, std::string_view bytes, Deadline deadline) {
  while (!bytes.empty()) {
    const Transfer transfer = stream.try_write(bytes);
    if (transfer.status == Transfer::Status::done) {
      bytes.remove_prefix(transfer.size);
    } else if (transfer.status == Transfer::Status::would_block) {
      MERIDIAN_CO_CHECK(to_result(co_await stream.writable(deadline), "the peer to read"));
    } else {
      co_return fail(Errc::unavailable, stream.failure());
    }
  }
  co_return Result<void>();
}

}  // namespace meridian
