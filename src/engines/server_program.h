#pragma once
// A server that is one program, says its version when asked, and answers a greeting: Redis, NATS.

#include "base/function_ref.h"
#include "base/result.h"
#include "base/secret.h"
#include "engines/owned_file.h"
#include "runtime/async.h"
#include "runtime/epoll_loop.h"
#include "runtime/socket.h"

#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

namespace meridian {

struct ServerProgram {
  std::string_view name;    // Of the program and of Debian's package: "redis-server".
  std::string_view wanted;  // "Redis 7.0 or newer"
  std::span<const std::string_view> places;
};

// `configured` alone if it is given, else the first of `places` that can be run. `accepts` is shown
// what it prints for --version; `run_as`: whom it runs as. Errors: not_found, with what to install.
Async<Result<std::filesystem::path>> find_server(EpollLoop& loop,
                                                 const ServerProgram& what,
                                                 std::filesystem::path configured,
                                                 std::optional<Account> run_as,
                                                 FunctionRef<bool(std::string_view)> accepts);

// Errors: conflict while a process of that program works in the folder; ours has ended when this is
// asked.
Result<void> check_no_server_in(const std::filesystem::path& folder,
                                const std::filesystem::path& program);

using AnswerJudge = std::optional<Result<void>>(std::string_view bytes);

// Says `greeting` on a connection of its own until `judge` has an opinion of all that came back.
// Errors: unavailable, those of the connection, and the judge's.
Async<Result<void>> greet_server(EpollLoop& loop,
                                 const Endpoint& at,
                                 const Secret& greeting,
                                 AnswerJudge* judge,
                                 Deadline deadline);

}  // namespace meridian
