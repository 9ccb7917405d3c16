#include "engines/server_program.h"

#include "base/escape.h"
#include "engines/engine_answers.h"
#include "engines/engine_processes.h"
#include "runtime/child.h"
#include "runtime/stream.h"

#include <array>
#include <string>
#include <unistd.h>
#include <utility>

namespace meridian {
namespace {

constexpr Duration question_timeout = std::chrono::seconds(10);

}  // namespace

Async<Result<std::filesystem::path>> find_server(EpollLoop& loop,
                                                 const ServerProgram& what,
                                                 std::filesystem::path configured,
                                                 std::optional<Account> run_as,
                                                 FunctionRef<bool(std::string_view)> accepts) {
  std::filesystem::path program = std::move(configured);
  for (const std::string_view place : what.places) {
    if (!program.empty()) break;
    if (::access(std::string(place).c_str(), X_OK) == 0) program = place;
  }
  const std::string name(what.name);
  if (program.empty()) {
    co_return fail(
        Errc::not_found,
        name + " was not found: apt install " + name + ", or name its path in the configuration");
  }
  const auto answer =
      co_await run_program(loop,
                           {.command = {program.native(), "--version"}, .user = run_as},
                           loop.after(question_timeout));
  if (!answer) co_return fail_while("looking for " + name, answer.error());
  if (!accepts(*answer)) {
    co_return fail(Errc::not_found,
                   quote(program.native(), 1024) + " is not " + std::string(what.wanted) +
                       "; it says " + quote(*answer));
  }
  co_return program;
}

Result<void> check_no_server_in(const std::filesystem::path& folder,
                                const std::filesystem::path& program) {
  const std::string name = program.filename().native();
  for (const EngineProcess& seen : processes_in(folder)) {
    if (seen.program != name.substr(0, program_size_max)) continue;
    return fail(Errc::conflict,
                "a " + name + " that Meridian did not start (process " +
                    std::to_string(seen.process) + ") works in " + quote(folder.native(), 1024) +
                    ": stop it, or choose another data folder");
  }
  return {};
}

Async<Result<void>> greet_server(EpollLoop& loop,
                                 const Endpoint& at,
                                 const Secret& greeting,
                                 AnswerJudge* judge,
                                 Deadline deadline) {
  MERIDIAN_CO_TRY(Socket socket, co_await connect(loop, at, deadline));
  SocketStream stream(loop, std::move(socket));
  MERIDIAN_CO_CHECK(co_await write_all(stream, greeting.reveal(), deadline));
  std::array<char, engine_answer_size_max> buffer;
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    MERIDIAN_CO_TRY(const std::size_t size,
                    co_await read_some(stream, std::span(buffer).subspan(filled), deadline));
    if (size == 0) co_return fail(Errc::unavailable, "it closed the connection");
    filled += size;
    if (auto verdict = judge({buffer.data(), filled})) co_return std::move(*verdict);
  }
  co_return fail(Errc::unavailable, "it answered more than was asked");
}

}  // namespace meridian
