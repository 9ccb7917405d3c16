#include "engines/redis_engine.h"

#include "base/number.h"
#include "engines/engine_answers.h"
#include "engines/engine_processes.h"
#include "engines/secret_file.h"
#include "engines/server_program.h"
#include "runtime/child.h"

#include <array>
#include <signal.h>
#include <string>

namespace meridian {
namespace {

constexpr RedisVersion version_min{.major = 7, .minor = 0};  // Knows enable-debug-command.
constexpr std::array<std::string_view, 2> places{"/usr/local/bin/redis-server",
                                                 "/usr/bin/redis-server"};
constexpr ServerProgram redis_server{
    .name = "redis-server", .wanted = "Redis 7.0 or newer", .places = places};

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
  MERIDIAN_CO_TRY(options_.program,
                  co_await find_server(loop_,
                                       redis_server,
                                       options_.program,
                                       folder_.engine_user(),
                                       [this](std::string_view said) {
                                         const auto version = parse_redis_version(said);
                                         if (version) version_ = *version;
                                         return version && *version >= version_min;
                                       }));
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

Result<void> RedisEngine::check_free() {
  return check_no_server_in(folder_.redis(), options_.program);
}

Async<Result<void>> RedisEngine::probe(Deadline deadline) {
  co_return co_await greet_server(
      loop_, endpoint(), make_redis_greeting(password_), judge_redis_answer, deadline);
}

}  // namespace meridian
