#pragma once
// What happens on a connection before anybody has said who they are: TLS, GSS, cancel, and the
// StartupMessage (PostgreSQL documentation, "Start-up").

#include "base/result.h"
#include "base/secret.h"
#include "doors/visit.h"
#include "runtime/deadline.h"
#include "runtime/tls.h"
#include "wire/postgres/startup.h"

#include <memory>
#include <string>
#include <variant>

namespace meridian {

struct OpenedSession {
  std::unique_ptr<std::string> bytes;  // What the message is a view of.
  postgres::StartupMessage startup;
};

struct OpenedCancel {
  std::uint32_t process_id = 0;
  Secret key;
};

using Opened = std::variant<OpenedSession, OpenedCancel>;

// Reads the first packets and brings TLS up where the client asks for it; `tls` is null when there
// is none. Errors: invalid (not the protocol, or bytes where none may be), timeout, unavailable,
// cancelled.
Async<Result<Opened>> open_connection(Visit& visit, const TlsServer* tls, Deadline deadline);

}  // namespace meridian
