#include "engines/redis_engine.h"

#include "base/escape.h"
#include "base/number.h"
#include "engines/engine_answers.h"
#include "engines/engine_processes.h"
#include "engines/secret_file.h"
#include "runtime/child.h"

#include <array>
#include <signal.h>
#include <span>
#include <string>
#include <unistd.h>

namespace meridian {
namespace {

constexpr RedisVersion version_min{.major = 7, .minor = 0};  // Knows enable-debug-command.
constexpr Duration question_timeout = std::chrono::seconds(10);

}  // namespace

std::optional<RedisVersion> parse_redis_version(std::string_view version_text) noexcept {
  constexpr std::string_view before = " v=";
  const std::size_t at = version_text.find(before);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view version = version_text.substr(at + before.size());
  const std::size_t first_end = version.find('.');
  if (first_end == std::string_view::npos) return std::nullopt;
  const std::string_view rest = version.substr(first_end + 1);
  const auto major = parse_number<int>(version.substr(0, first_end));
  const auto minor = parse_number<int>(rest.substr(0, rest.find_first_not_of("0123456789")));
  if (!major || !minor) return std::nullopt;
  return RedisVersion{.major = *major, .minor = *minor};
}

Async<Result<std::unique_ptr<RedisEngine>>> RedisEngine::open(EpollLoop& loop,
                                                              DataFolder& folder,
                                                              RedisEngineOptions options) {
  std::unique_ptr<RedisEngine> engine(new RedisEngine(loop, folder, std::move(options)));
  MERIDIAN_CO_CHECK(co_await engine->find_program());
  MERIDIAN_CO_CHECK(co_await await_free(
      loop, [&] { return engine->check_free(); }, engine->options_.predecessor_timeout));
  MERIDIAN_CO_TRY(engine->password_,
                  load_or_make_secret(folder.keys() / "redis.password", loop.random()));
  co_return std::move(engine);
}

Endpoint RedisEngine::endpoint() const {
  return {.host = {}, .path = (folder_.run() / "redis.sock").native()};
}

StopSignals RedisEngine::stop_signals() const noexcept {
  // SIGTERM syncs the append-only file first. SIGKILL loses what was not synced if the machine goes
  // down with it, no more.
  return {.polite = SIGTERM, .at_once = SIGKILL};
}

Async<Result<void>> RedisEngine::find_program() {
  if (options_.program.empty()) {
    for (const auto* const place : {"/usr/local/bin/redis-server", "/usr/bin/redis-server"}) {
      if (::access(place, X_OK) != 0) continue;
      options_.program = place;
      break;
    }
  }
  if (options_.program.empty()) {
    co_return fail(Errc::not_found,
                   "redis-server was not found: apt install redis-server, or name its path in the "
                   "configuration");
  }
  const auto answer = co_await run_program(
      loop_,
      {.command = {options_.program.native(), "--version"}, .user = folder_.engine_user()},
      loop_.after(question_timeout));
  if (!answer) co_return fail_while("looking for Redis", answer.error());
  const auto version = parse_redis_version(*answer);
  if (!version || *version < version_min) {
    co_return fail(Errc::not_found,
                   quote(options_.program.native(), 1024) + " is not Redis 7.0 or newer; it says " +
                       quote(*answer));
  }
  version_ = *version;
  co_return Result<void>();
}

Async<Result<ChildOptions>> RedisEngine::prepare() {
  MERIDIAN_CO_CHECK(check_free());
  RedisServerConfig config{.folder = folder_.redis(),
                           .socket = endpoint().path,
                           .password = password_,
                           .memory_size_max = options_.memory_size_max,
                           .eviction = options_.eviction,
                           .durable = options_.durable};
  co_return ChildOptions{
      .command = {options_.program.native(), "-"},
      .directory = folder_.redis().native(),
      .user = folder_.engine_user(),
      .death_signal = SIGKILL,
      .input = to_redis_conf(config),
  };
}

// Our own has ended when this runs.
Result<void> RedisEngine::check_free() {
  const auto there = processes_in(folder_.redis());
  const std::string program = options_.program.filename().native().substr(0, program_size_max);
  for (const EngineProcess& seen : there) {
    if (seen.program != program) continue;
    return fail(Errc::conflict,
                "a Redis that Meridian did not start (process " + std::to_string(seen.process) +
                    ") works in " + quote(folder_.redis().native(), 1024) +
                    ": stop it, or choose another data folder");
  }
  return {};
}

Async<Result<void>> RedisEngine::probe(Deadline deadline) {
  MERIDIAN_CO_TRY(Socket socket, co_await connect(loop_, endpoint(), deadline));
  SocketStream stream(loop_, std::move(socket));
  const Secret request = make_redis_greeting(password_);
  MERIDIAN_CO_CHECK(co_await write_all(stream, request.reveal(), deadline));
  std::array<char, engine_answer_size_max> buffer;
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    MERIDIAN_CO_TRY(const std::size_t size,
                    co_await read_some(stream, std::span(buffer).subspan(filled), deadline));
    if (size == 0) co_return fail(Errc::unavailable, "it closed the connection");
    filled += size;
    if (auto verdict = judge_redis_answer({buffer.data(), filled})) co_return std::move(*verdict);
  }
  co_return fail(Errc::unavailable, "it answered more than was asked");
}

}  // namespace meridian
