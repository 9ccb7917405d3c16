#pragma once
// TLS at a door: a visit's stream is wrapped in place.
//
// Used by every door, on the visit's loop. A visit has a stream all the time: after a handshake
// that failed it has one that is closed.

#include "doors/visit.h"
#include "runtime/tls.h"

#include <memory>
#include <string>

namespace meridian {

// Shakes hands as the server. Errors as TlsStream::accept; the visit can only end then.
Async<Result<void>> encrypt(Visit& visit, const TlsServer& tls, TlsHandshake handshake);

// A closed stream to stand in a visit while its own is being wrapped.
std::unique_ptr<Stream> make_gone_stream(Peer peer);

// For protocols where TLS begins at once or not at all. A client of another machine must speak it;
// one of this machine may, where there is a certificate, and is known by its first byte. Gives what
// was read of a client that does not: the beginning of its first request, or nothing.
Async<Result<std::string>> encrypt_at_once(Visit& visit, const TlsServer* tls, Deadline deadline);

}  // namespace meridian
