#include "engines/postgres_engine.h"

#include "base/escape.h"
#include "base/number.h"
#include "engines/engine_answers.h"
#include "engines/engine_processes.h"
#include "engines/secret_file.h"
#include "runtime/log.h"

#include <algorithm>
#include <array>
#include <limits>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

namespace meridian {
namespace {

constexpr std::uint16_t default_port = 5432;
constexpr Duration initdb_timeout = std::chrono::minutes(5);
constexpr Duration leftovers_timeout = std::chrono::seconds(10);
constexpr Duration leftovers_pause = std::chrono::milliseconds(10);
constexpr std::size_t small_file_size_max = 64uz * 1024;
constexpr std::size_t configuration_size_max = 1024uz * 1024;

// There while the cluster is being made: what is in the folder then is half a cluster.
constexpr const char* unfinished_name = "postgres.unfinished";
constexpr const char* secret_name = "postgres.password";

// The memory that we may use: the machine's, or less in a container (cgroups v2).
std::uint64_t memory_size() {
  const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
  const std::uint64_t machine = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto text = read_file("/sys/fs/cgroup/memory.max", small_file_size_max);
  if (!text || !*text) return machine;
  const std::string_view digits = std::string_view(**text).substr(0, (*text)->find('\n'));
  return std::min(machine, parse_number<std::uint64_t>(digits).value_or(machine));  // Or "max".
}

// The number of the process that wrote a pid file; a PostgreSQL without postmaster writes it
// negative. Empty when there is no such file; 0 when there is no number in it, as after a crash.
Result<std::optional<pid_t>> read_pid_file(const std::filesystem::path& path) {
  MERIDIAN_TRY(const auto text, read_file(path, small_file_size_max));
  if (!text) return std::nullopt;
  const auto number =
      parse_number<std::int64_t>(std::string_view(*text).substr(0, text->find('\n')));
  if (!number || *number > std::numeric_limits<pid_t>::max() ||
      *number < -std::numeric_limits<pid_t>::max()) {
    return 0;
  }
  return static_cast<pid_t>(*number < 0 ? -*number : *number);
}

// The version that made the cluster; empty when there is no cluster.
Result<std::optional<int>> read_cluster_major(const std::filesystem::path& cluster) {
  const std::filesystem::path path = cluster / "PG_VERSION";
  MERIDIAN_TRY(const auto text, read_file(path, small_file_size_max));
  if (!text) return std::nullopt;
  const auto major = parse_number<int>(std::string_view(*text).substr(0, text->find('\n')));
  if (!major) return fail(Errc::invalid, quote(path.native(), 1024) + " names no version");
  return major;
}

Result<void> empty_folder(const std::filesystem::path& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::filesystem::remove_all(it->path(), error);
    if (error) return fail_at("removing", it->path(), error.value());
  }
  if (error) return fail_at("reading", folder, error.value());
  return {};
}

}  // namespace

Async<Result<std::unique_ptr<PostgresEngine>>> PostgresEngine::open(EpollLoop& loop,
                                                                    DataFolder& folder,
                                                                    PostgresEngineOptions options) {
  std::unique_ptr<PostgresEngine> engine(new PostgresEngine(loop, folder, std::move(options)));
  MERIDIAN_CO_CHECK(co_await engine->find_cluster());
  co_return std::move(engine);
}

std::uint16_t PostgresEngine::port() const noexcept {
  return options_.tcp_port.value_or(default_port);
}

Endpoint PostgresEngine::endpoint() const {
  return {.host = {}, .path = (folder_.run() / (".s.PGSQL." + std::to_string(port()))).native()};
}

StopSignals PostgresEngine::stop_signals() const noexcept {
  // Fast and immediate shutdown (section 19.5).
  return {.polite = SIGINT, .at_once = SIGQUIT};
}

Async<Result<void>> PostgresEngine::find_cluster() {
  const std::filesystem::path unfinished = folder_.path() / unfinished_name;
  MERIDIAN_CO_TRY(const auto half, read_file(unfinished, small_file_size_max));
  if (half) {
    MERIDIAN_CO_CHECK(co_await end_leftovers());  // Of an initdb that was killed.
    MERIDIAN_CO_CHECK(empty_folder(folder_.postgres()));
  }
  MERIDIAN_CO_CHECK(
      co_await await_free(loop_, [this] { return check_free(); }, options_.predecessor_timeout));
  MERIDIAN_CO_TRY(const auto major, read_cluster_major(folder_.postgres()));
  MERIDIAN_CO_TRY(programs_,
                  co_await find_postgres(loop_, options_.programs, major, folder_.engine_user()));
  if (!major) co_return co_await make_cluster();
  const std::filesystem::path path = folder_.keys() / secret_name;
  MERIDIAN_CO_TRY(auto secret, load_secret(path));
  if (!secret) {
    co_return fail(Errc::invalid,
                   "there is a cluster in " + quote(folder_.postgres().native(), 1024) +
                       ", but its password is missing: restore " + quote(path.native(), 1024) +
                       " from a backup");
  }
  password_ = std::move(*secret);
  co_return Result<void>();
}

Async<Result<void>> PostgresEngine::make_cluster() {
  std::error_code error;
  const std::filesystem::directory_iterator first(folder_.postgres(), error);
  if (error) co_return fail_at("reading", folder_.postgres(), error.value());
  if (first != std::filesystem::directory_iterator()) {
    co_return fail(Errc::invalid,
                   quote(folder_.postgres().native(), 1024) +
                       " holds something that is no PostgreSQL cluster; move it away");
  }
  MERIDIAN_CO_TRY(password_, load_or_make_secret(folder_.keys() / secret_name, loop_.random()));
  const std::filesystem::path unfinished = folder_.path() / unfinished_name;
  MERIDIAN_CO_CHECK(replace_file(unfinished, ""));
  MERIDIAN_CO_CHECK(co_await run_initdb());
  co_return remove_file(unfinished);
}

Async<Result<void>> PostgresEngine::run_initdb() {
  const Time from = loop_.now();
  // initdb reads the password as the engine user, who may not look into keys/.
  const std::filesystem::path password_file = folder_.run() / "initdb.password";
  MERIDIAN_CO_CHECK(replace_file(password_file, password_.reveal(), folder_.engine_user()));
  // Sorting by code point is quick, and the same on every machine and after every upgrade of the C
  // library (which would silently break indexes); C.UTF-8 knows all letters.
  const auto made = co_await run_program(loop_,
                                         {.command = {programs_.folder / "initdb",
                                                      "--pgdata=" + folder_.postgres().native(),
                                                      "--username=" + std::string(superuser),
                                                      "--pwfile=" + password_file.native(),
                                                      "--auth=scram-sha-256",
                                                      "--encoding=UTF8",
                                                      "--locale=C",
                                                      "--lc-ctype=C.UTF-8",
                                                      "--data-checksums",
                                                      "--no-instructions"},
                                          .environment = {{"PATH", "/usr/bin:/bin"}},
                                          .directory = folder_.postgres().native(),
                                          .user = folder_.engine_user()},
                                         loop_.after(initdb_timeout));
  MERIDIAN_CO_CHECK(remove_file(password_file));
  if (!made) co_return fail_while("making the PostgreSQL cluster", made.error());
  log_info("engines",
           "made a PostgreSQL cluster",
           {{"folder", folder_.postgres().native()},
            {"version", programs_.major},
            {"took", to_text(std::chrono::ceil<std::chrono::milliseconds>(loop_.now() - from))}});
  co_return Result<void>();
}

Async<Result<ChildOptions>> PostgresEngine::prepare() {
  MERIDIAN_CO_CHECK(check_free());
  MERIDIAN_CO_CHECK(co_await end_leftovers());
  MERIDIAN_CO_CHECK(clear_stale_files());
  MERIDIAN_CO_CHECK(write_configuration());
  co_return ChildOptions{
      .command = {programs_.folder / "postgres", "-D", folder_.postgres().native()},
      .directory = folder_.postgres().native(),
      .user = folder_.engine_user(),
      // Its immediate shutdown, which it passes on to its own children.
      .death_signal = SIGQUIT,
  };
}

// Our own postmaster has ended when this runs, so a living one is somebody else's.
Result<void> PostgresEngine::check_free() {
  MERIDIAN_TRY(const auto postmaster, read_pid_file(folder_.postgres() / "postmaster.pid"));
  if (!postmaster) return {};
  const auto there = processes_in(folder_.postgres());
  if (std::ranges::find(there, *postmaster, &EngineProcess::process) == there.end()) return {};
  return fail(Errc::conflict,
              "a PostgreSQL that Meridian did not start (process " + std::to_string(*postmaster) +
                  ") runs on " + quote(folder_.postgres().native(), 1024) +
                  ": stop it (pg_ctl stop -D), or choose another data folder");
}

// A postmaster that was killed leaves sessions behind that end when they notice, and one that is
// busy may not for long; PostgreSQL refuses to start until all have let go of its shared memory.
Async<Result<void>> PostgresEngine::end_leftovers() {
  const Deadline deadline = loop_.after(leftovers_timeout);
  std::size_t count = 0;
  for (;;) {
    auto left = processes_in(folder_.postgres());
    std::erase_if(left, [](const EngineProcess& seen) { return seen.program != "postgres"; });
    if (left.empty()) break;
    if (deadline.passed(loop_.now())) {
      co_return fail(Errc::unavailable,
                     "process " + std::to_string(left.front().process) +
                         ", left by a PostgreSQL that was killed, does not end");
    }
    if (count == 0) count = left.size();
    for (const EngineProcess& process : left)
      kill_in(folder_.postgres(), process.process);
    MERIDIAN_CO_CHECK(
        to_result(co_await loop_.sleep(leftovers_pause), "leftover processes to end"));
  }
  if (count > 0) {
    log_warning("engines",
                "ended what a killed PostgreSQL had left",
                {{"processes", static_cast<std::uint64_t>(count)}});
  }
  co_return Result<void>();
}

// PostgreSQL takes a pid file for another server's when its number belongs to any living process of
// the engine user, and refuses an empty one. After a crash of the machine or the container numbers
// come round quickly. Nobody works on the cluster now, so such files go, the socket's as well.
Result<void> PostgresEngine::clear_stale_files() {
  const std::string socket = endpoint().path;
  for (const std::filesystem::path& path :
       {folder_.postgres() / "postmaster.pid", std::filesystem::path(socket + ".lock")}) {
    MERIDIAN_TRY(const auto process, read_pid_file(path));
    if (!process) continue;
    // One that names nobody alive is left to PostgreSQL, which looks for more than the number.
    if (*process != 0 && ::kill(*process, 0) != 0 && errno == ESRCH) continue;
    MERIDIAN_CHECK(remove_file(path));
  }
  return remove_file(socket);
}

Result<void> PostgresEngine::write_configuration() {
  const std::filesystem::path cluster = folder_.postgres();
  const PostgresClusterConfig config{
      .socket_folder = folder_.run(),
      .port = port(),
      .tcp = options_.tcp_port.has_value(),
      .connections_max = options_.connections_max,
      .shared_buffers_size =
          options_.shared_buffers_size.value_or(shared_buffers_size_for(memory_size())),
      .slot_wal_kept_size_max = options_.slot_wal_kept_size_max,
      .settings = options_.settings,
  };
  const auto& owner = folder_.engine_user();
  MERIDIAN_CHECK(replace_file(cluster / postgres_config_name, to_postgresql_conf(config), owner));
  MERIDIAN_CHECK(replace_file(cluster / "pg_hba.conf", to_pg_hba_conf(config), owner));
  const std::filesystem::path main = cluster / "postgresql.conf";
  MERIDIAN_TRY(const auto text, read_file(main, configuration_size_max));
  const std::string with = with_include(text ? *text : "");
  if (text && *text == with) return {};
  return replace_file(main, with, owner);
}

Async<Result<void>> PostgresEngine::probe(Deadline deadline) {
  MERIDIAN_CO_TRY(Socket socket, co_await connect(loop_, endpoint(), deadline));
  SocketStream stream(loop_, std::move(socket));
  const std::string message = make_postgres_startup(superuser, first_database);
  MERIDIAN_CO_CHECK(co_await write_all(stream, message, deadline));
  std::array<char, engine_answer_size_max> buffer;
  std::size_t filled = 0;
  for (;;) {
    MERIDIAN_CO_TRY(const std::size_t size,
                    co_await read_some(stream, std::span(buffer).subspan(filled), deadline));
    if (size == 0) co_return fail(Errc::unavailable, "it closed the connection");
    filled += size;
    if (auto verdict = judge_postgres_answer({buffer.data(), filled}))
      co_return std::move(*verdict);
  }
}

}  // namespace meridian
