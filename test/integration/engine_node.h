#pragma once
// For tests against real engines: a node that owns a PostgreSQL and a Redis in a temporary folder,
// and clients of them.

#include "base/function_ref.h"
#include "base/metrics.h"
#include "engines/data_folder.h"
#include "engines/engine_processes.h"
#include "engines/postgres_engine.h"
#include "engines/redis_engine.h"
#include "engines/supervisor.h"
#include "runtime/epoll_loop.h"
#include "runtime/scope.h"
#include "runtime/socket.h"
#include "test/temporary_folder.h"
#include "timeline/postgres/session.h"

#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <stdlib.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/types.h>
#include <thread>

namespace meridian {

// How long anything here may take: far more than it does.
inline constexpr Duration patience = std::chrono::seconds(60);

inline void run(FunctionRef<Async<>(EpollLoop&)> body) {
  EpollLoop loop;
  Scope scope(loop);
  scope.spawn([](EpollLoop& on, FunctionRef<Async<>(EpollLoop&)> work) -> Async<> {
    co_await work(on);
    on.stop();
  }(loop, body));
  loop.run();
}

// A data folder for one test, in a place that the engine user may pass through.
class TemporaryDataFolder {
 public:
  explicit TemporaryDataFolder(std::string_view name = "data") : data_(root_ / name) {
    ::chmod(root_.path().c_str(), 0711);
  }
  ~TemporaryDataFolder() {
    // Engines of a process that was killed at the end of a test are still ending.
    for (int i = 0; i < 1'000 && any_process(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  TemporaryDataFolder(const TemporaryDataFolder&) = delete;
  TemporaryDataFolder& operator=(const TemporaryDataFolder&) = delete;

  const std::filesystem::path& data() const { return data_; }

 private:
  bool any_process() const {
    return !processes_in(data_ / "postgres").empty() || !processes_in(data_ / "redis").empty();
  }

  TemporaryFolder root_{"/tmp"};  // Short: a socket's path is.
  std::filesystem::path data_;
};

// What `meridian up` does with its engines.
struct Node {
  std::unique_ptr<DataFolder> folder;
  Metrics metrics;
  std::unique_ptr<PostgresEngine> postgres;
  std::unique_ptr<RedisEngine> redis;
  std::optional<Supervisor> postgres_supervisor;
  std::optional<Supervisor> redis_supervisor;

  Async<Result<void>> open(EpollLoop& loop,
                           std::filesystem::path path,
                           PostgresEngineOptions options = {}) {
    MERIDIAN_CO_TRY(folder, DataFolder::open({.path = std::move(path)}, loop.wall_now()));
    MERIDIAN_CO_TRY(postgres, co_await PostgresEngine::open(loop, *folder, std::move(options)));
    MERIDIAN_CO_TRY(redis, co_await RedisEngine::open(loop, *folder, {}));
    postgres_supervisor.emplace(loop, *postgres, metrics);
    redis_supervisor.emplace(loop, *redis, metrics);
    postgres_supervisor->start();
    redis_supervisor->start();
    MERIDIAN_CO_CHECK(co_await postgres_supervisor->ready(loop.after(patience)));
    co_return co_await redis_supervisor->ready(loop.after(patience));
  }

  Async<> close() {
    if (redis_supervisor) co_await redis_supervisor->close();
    if (postgres_supervisor) co_await postgres_supervisor->close();
    if (folder) folder->close();
  }
};

// For sessions of Meridian's own, as the owner of the cluster.
inline PostgresOptions login_of(const Node& node) {
  return {.url = "host=" + node.postgres->socket_folder().native() +
                 " port=" + std::to_string(node.postgres->port()),
          .user = "meridian",
          .password = node.postgres->password(),
          .database = "postgres"};
}

// A session with PostgreSQL. Blocks the loop, which has nothing else to do.
class Session {
 public:
  explicit Session(PostgresEngine& engine)
      : Session(engine.socket_folder().native(),
                std::to_string(engine.port()),
                std::string(engine.password().reveal())) {}

  Session(const std::string& host, const std::string& port, const std::string& password) {
    const std::array<const char*, 6> names{"host", "port", "user", "dbname", "password", nullptr};
    const std::array<const char*, 6> values{
        host.c_str(), port.c_str(), "meridian", "postgres", password.c_str(), nullptr};
    connection_ = ::PQconnectdbParams(names.data(), values.data(), 0);
  }
  ~Session() { ::PQfinish(connection_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool open() const { return ::PQstatus(connection_) == CONNECTION_OK; }
  std::string error() const { return ::PQerrorMessage(connection_); }
  pid_t process() const { return ::PQbackendPID(connection_); }

  // The first value, or what went wrong.
  std::string query(std::string_view sql) {
    PGresult* const result = ::PQexec(connection_, std::string(sql).c_str());
    std::string text;
    if (::PQresultStatus(result) == PGRES_TUPLES_OK) {
      text = ::PQntuples(result) > 0 ? ::PQgetvalue(result, 0, 0) : "";
    } else if (::PQresultStatus(result) != PGRES_COMMAND_OK) {
      text = ::PQerrorMessage(connection_);
    }
    ::PQclear(result);
    return text;
  }

  // A statement that never ends and looks at nothing meanwhile: not at its postmaster either.
  void be_busy() { ::PQsendQuery(connection_, "do $$ begin loop end loop; end $$"); }

 private:
  PGconn* connection_;
};

// What Redis answers to one command, given as a line.
inline Async<std::string> ask_redis(EpollLoop& loop, RedisEngine& engine, std::string command) {
  constexpr std::string_view ok = "+OK\r\n";  // To AUTH, and to QUIT.
  auto socket = co_await connect(loop, engine.endpoint(), loop.after(patience));
  if (!socket) co_return socket.error().detail();
  SocketStream stream(loop, std::move(*socket));
  const std::string text =
      "AUTH " + std::string(engine.password().reveal()) + "\r\n" + command + "\r\nQUIT\r\n";
  if (!co_await write_all(stream, text, loop.after(patience))) co_return "not sent";
  std::string answer;
  std::array<char, 1024> buffer;
  for (;;) {
    const auto size = co_await read_some(stream, buffer, loop.after(patience));
    if (!size) co_return size.error().detail();
    if (*size == 0) break;
    answer.append(buffer.data(), *size);
  }
  if (!answer.starts_with(ok) || !answer.ends_with(ok)) co_return answer;
  co_return answer.substr(ok.size(), answer.size() - 2 * ok.size());
}

// True when the condition comes true in time.
inline Async<bool> becomes_true(EpollLoop& loop, FunctionRef<bool()> condition, Duration within) {
  const Deadline deadline = loop.after(within);
  while (!condition()) {
    if (deadline.passed(loop.now())) co_return false;
    (void)co_await loop.sleep(std::chrono::milliseconds(5));
  }
  co_return true;
}

inline bool lives(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(file, text);
  return !text.empty() && !text.contains(") Z");  // A zombie that nobody has reaped is dead.
}

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace meridian
