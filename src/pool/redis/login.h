#pragma once
// Logging in to a Redis server, and making a used connection as good as a fresh one.

#include "base/result.h"
#include "pool/redis/connector.h"
#include "runtime/async.h"
#include "wire/resp/protocol.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace meridian::redis {

class Link;

// Every reply to what is sent here is smaller; HELLO's has some 200 bytes.
inline constexpr std::size_t greeting_bytes_max = 64 * 1024;

// Sends HELLO with AUTH and SETNAME on a fresh connection and checks the answer. Returns the
// server's version, "7.0.15". `client_name` shows in CLIENT LIST and must outlive the call; it has
// no blanks. Errors: unauthenticated, denied, exhausted (the server has enough clients), invalid
// (no Redis 6 or newer), unavailable, timeout, cancelled. The stream is of no use after an error.
Async<Result<std::string>> log_in(Stream& stream,
                                  resp::Protocol protocol,
                                  RedisLogin login,
                                  std::string_view client_name,
                                  Deadline deadline);

// Takes back all that a visit may have done to an exclusive link (transactions, watched keys,
// subscriptions, tracking, the selected database, the name, its identity) and proves it: the
// answers must end in one that nobody could have foreseen. Nothing but success makes the link fit
// for another visit. Requires that it has no owner and is not busy.
Async<Result<void>> reset_link(Link& link,
                               resp::Protocol protocol,
                               RedisLogin login,
                               std::string_view client_name,
                               std::string nonce,
                               Deadline deadline);

}  // namespace meridian::redis
