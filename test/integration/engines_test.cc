// The engines against the real programs: they start, keep what they were given, come back when they
// are killed, and never outlive us. As root they run as another user; one test runs the others as
// an ordinary user.

#include "integration/engine_node.h"
#include "runtime/child.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <signal.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Engines, KeepWhatTheyWereGivenOverARestart) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    for (const bool first : {true, false}) {
      Node node;
      const Time from = loop.now();
      const auto opened = co_await node.open(loop, temporary.data());
      EXPECT_TRUE(opened) << opened.error().detail();
      if (!opened) co_return co_await node.close();
      std::cout << (first ? "first" : "later")
                << " start: " << (loop.now() - from) / milliseconds(1) << " ms\n";
      Session session(*node.postgres);
      EXPECT_TRUE(session.open()) << session.error();
      if (first) {
        EXPECT_EQ(session.query("create table kept as select 42 as n"), "");
        EXPECT_EQ(co_await ask_redis(loop, *node.redis, "SET kept 42"), "+OK\r\n");
      } else {
        EXPECT_EQ(session.query("select n from kept"), "42");
        EXPECT_EQ(co_await ask_redis(loop, *node.redis, "GET kept"), "$2\r\n42\r\n");
      }
      co_await node.close();
      EXPECT_TRUE(processes_in(temporary.data() / "postgres").empty());
      EXPECT_TRUE(processes_in(temporary.data() / "redis").empty());
      EXPECT_EQ(node.postgres_supervisor->status().state, EngineState::stopped);
      EXPECT_EQ(node.postgres_supervisor->status().failures, 0U);
    }
  });
}

TEST(Engines, AreConfiguredForMeridianAlone) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    Node node;
    const auto opened = co_await node.open(
        loop, temporary.data(), {.connections_max = 33, .shared_buffers_size = 64 * 1024 * 1024});
    EXPECT_TRUE(opened) << opened.error().detail();
    if (!opened) co_return co_await node.close();
    Session session(*node.postgres);
    const auto setting = [&](std::string name) { return session.query("show " + name); };
    EXPECT_EQ(setting("listen_addresses"), "");
    EXPECT_EQ(setting("wal_level"), "logical");
    EXPECT_EQ(setting("max_connections"), "33");
    EXPECT_EQ(setting("shared_buffers"), "64MB");
    EXPECT_EQ(setting("max_slot_wal_keep_size"), "1GB");
    EXPECT_EQ(setting("fsync"), "on");
    EXPECT_EQ(setting("data_checksums"), "on");
    EXPECT_EQ(setting("server_encoding"), "UTF8");
    EXPECT_EQ(setting("lc_collate"), "C");
    EXPECT_EQ(session.query("select upper('\u00e4')"), "\u00c4");
    EXPECT_EQ(session.query("select rolpassword like 'SCRAM-SHA-256$%' from pg_authid "
                            "where rolname = 'meridian'"),
              "t");
    // Without the password nobody comes in.
    const Session stranger(node.postgres->socket_folder().native(), "5432", "guessed");
    EXPECT_FALSE(stranger.open());
    EXPECT_TRUE(stranger.error().contains("password authentication failed")) << stranger.error();

    EXPECT_EQ(co_await ask_redis(loop, *node.redis, "CONFIG GET port"),
              "*2\r\n$4\r\nport\r\n$1\r\n0\r\n");
    auto debug = co_await ask_redis(loop, *node.redis, "DEBUG SLEEP 0");
    EXPECT_TRUE(debug.starts_with("-ERR DEBUG command not allowed")) << debug;
    auto socket = co_await connect(loop, node.redis->endpoint(), loop.after(patience));
    SocketStream stream(loop, std::move(*socket));
    std::array<char, 7> answer{};
    EXPECT_TRUE(co_await write_all(stream, "PING\r\n", loop.after(patience)));
    EXPECT_TRUE(co_await read_exactly(stream, answer, loop.after(patience)));
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "-NOAUTH");

    // No secret in an argument, in a file of the engines or in a log.
    const std::string secret(node.redis->password().reveal());
    const std::string process = std::to_string(node.redis_supervisor->status().process);
    EXPECT_FALSE(text_of("/proc/" + process + "/cmdline").contains(secret));
    EXPECT_FALSE(text_of("/proc/" + process + "/environ").contains(secret));
    for (const auto& entry : std::filesystem::recursive_directory_iterator(temporary.data())) {
      if (!entry.is_regular_file() || entry.path().parent_path() == node.folder->keys()) continue;
      EXPECT_FALSE(text_of(entry.path()).contains(secret)) << entry.path();
      EXPECT_FALSE(text_of(entry.path()).contains(node.postgres->password().reveal()))
          << entry.path();
    }
    co_await node.close();
  });
  // Nothing for others: neither the folder nor what is in it.
  for (const auto* const name : {"postgres", "redis", "keys", "run", "log", "trail"}) {
    struct stat status{};
    ASSERT_EQ(::stat((temporary.data() / name).c_str(), &status), 0) << name;
    EXPECT_EQ(status.st_mode & 07777, 0700U) << name;
    const bool engines = name[0] == 'p' || name[0] == 'r';
    EXPECT_EQ(status.st_uid == 0, ::geteuid() == 0 && !engines) << name;
  }
  for (const auto& entry : std::filesystem::directory_iterator(temporary.data() / "keys")) {
    EXPECT_EQ(entry.status().permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  }
}

TEST(Engines, AKilledPostgresComesBack) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    Node node;
    const auto opened = co_await node.open(loop, temporary.data());
    EXPECT_TRUE(opened) << opened.error().detail();
    if (!opened) co_return co_await node.close();
    Session session(*node.postgres);
    EXPECT_EQ(session.query("create table kept as select 42 as n"), "");
    Session busy(*node.postgres);
    busy.be_busy();
    const EngineStatus before = node.postgres_supervisor->status();
    EXPECT_EQ(before.state, EngineState::ready);
    EXPECT_EQ(before.generation, 1U);
    EXPECT_EQ(before.down_since, WallTime());

    const Time from = loop.now();
    ::kill(before.process, SIGKILL);
    EXPECT_TRUE(co_await becomes_true(
        loop, [&] { return !node.postgres_supervisor->serving(); }, patience));
    EXPECT_NE(node.postgres_supervisor->status().down_since, WallTime());
    const auto again = co_await node.postgres_supervisor->ready(loop.after(patience));
    EXPECT_TRUE(again) << again.error().detail();
    std::cout << "back after " << (loop.now() - from) / milliseconds(1) << " ms\n";

    const EngineStatus after = node.postgres_supervisor->status();
    EXPECT_EQ(after.generation, 2U);
    EXPECT_EQ(node.postgres_supervisor->generation(), 2U);
    EXPECT_EQ(after.failures, 1U);
    EXPECT_EQ(after.last_failure, "ended with signal 9 (Killed)");
    EXPECT_FALSE(lives(busy.process()));
    Session fresh(*node.postgres);
    EXPECT_EQ(fresh.query("select n from kept"), "42");
    EXPECT_EQ(node.metrics.total("meridian_engine_failures_total", {{"engine", "postgres"}}), 1U);
    EXPECT_EQ(node.metrics.total("meridian_engine_starts_total", {{"engine", "postgres"}}), 2U);

    // The death of a session ends the whole server: one way to recover, and it is counted.
    ::kill(fresh.process(), SIGKILL);
    EXPECT_TRUE(co_await becomes_true(
        loop, [&] { return node.postgres_supervisor->generation() == 3; }, patience));
    EXPECT_TRUE(co_await node.postgres_supervisor->ready(loop.after(patience)));
    co_await node.close();
  });
}

TEST(Engines, AKilledRedisComesBack) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    Node node;
    const auto opened = co_await node.open(loop, temporary.data());
    EXPECT_TRUE(opened) << opened.error().detail();
    if (!opened) co_return co_await node.close();
    EXPECT_EQ(co_await ask_redis(loop, *node.redis, "SET kept 42"), "+OK\r\n");
    ::kill(node.redis_supervisor->status().process, SIGKILL);
    EXPECT_TRUE(co_await becomes_true(
        loop, [&] { return node.redis_supervisor->generation() == 2; }, patience));
    EXPECT_TRUE(co_await node.redis_supervisor->ready(loop.after(patience)));
    EXPECT_EQ(co_await ask_redis(loop, *node.redis, "GET kept"), "$2\r\n42\r\n");
    EXPECT_EQ(node.redis_supervisor->status().last_failure, "ended with signal 9 (Killed)");
    co_await node.close();
  });
}

// A process that holds the data folder and runs the engines until it is killed.
Async<> hold(EpollLoop& loop, std::filesystem::path path) {
  Node node;
  const auto opened = co_await node.open(loop, std::move(path));
  if (!opened) {
    std::cerr << opened.error().detail() << "\n";
    ::_exit(1);
  }
  if (!node.folder->record_doors({{"postgres", "127.0.0.1:6432"}, {"redis", "127.0.0.1:6380"}})) {
    ::_exit(1);
  }
  (void)co_await loop.sleep(std::chrono::hours(1));
  ::_exit(1);
}

Result<std::unique_ptr<Child>> start_holder(EpollLoop& loop, std::filesystem::path path) {
  return Child::start(loop, {.command = {"/proc/self/exe", "hold", path.native()}});
}

bool holds(const std::filesystem::path& path) {
  const auto holder = DataFolder::holder(path);
  return holder && *holder && !(*holder)->doors.empty();
}

TEST(Engines, DieWithMeridianAndComeBackWithIt) {
  const TemporaryDataFolder temporary;
  const std::filesystem::path cluster = temporary.data() / "postgres";
  const std::filesystem::path keys = temporary.data() / "redis";
  run([&](EpollLoop& loop) -> Async<> {
    auto holder = start_holder(loop, temporary.data());
    EXPECT_TRUE(holder) << holder.error().detail();
    if (!holder ||
        !co_await becomes_true(loop, [&] { return holds(temporary.data()); }, patience)) {
      ADD_FAILURE() << "the holder did not start";
      co_return;
    }
    Session session(
        temporary.data() / "run", "5432", text_of(temporary.data() / "keys/postgres.password"));
    EXPECT_EQ(session.query("create table kept as select 42 as n"), "");
    Session busy(
        temporary.data() / "run", "5432", text_of(temporary.data() / "keys/postgres.password"));
    busy.be_busy();
    // The postmaster, its five workers, two sessions; and Redis.
    EXPECT_TRUE(
        co_await becomes_true(loop, [&] { return processes_in(cluster).size() >= 8; }, patience));
    EXPECT_EQ(processes_in(keys).size(), 1U);

    const Time from = loop.now();
    ::kill((*holder)->process(), SIGKILL);
    EXPECT_TRUE(co_await becomes_true(
        loop,
        [&] { return processes_in(cluster).empty() && processes_in(keys).empty(); },
        patience));
    std::cout << "all gone after " << (loop.now() - from) / milliseconds(1) << " ms\n";
    EXPECT_EQ((co_await (*holder)->exited())->signal, SIGKILL);

    Node node;
    const auto opened = co_await node.open(loop, temporary.data());
    EXPECT_TRUE(opened) << opened.error().detail();
    if (opened) {
      EXPECT_EQ(Session(*node.postgres).query("select n from kept"), "42");
    }
    co_await node.close();
  });
}

TEST(Engines, AMeridianThatWasKilledIsFollowedAtOnce) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    for (int round = 0; round < 3; ++round) {
      auto holder = start_holder(loop, temporary.data());
      EXPECT_TRUE(holder) << holder.error().detail();
      if (!holder ||
          !co_await becomes_true(loop, [&] { return holds(temporary.data()); }, patience)) {
        ADD_FAILURE() << "the holder did not start";
        co_return;
      }
      // Its engines are still ending when the next one looks.
      ::kill((*holder)->process(), SIGKILL);
      EXPECT_TRUE(co_await (*holder)->exited(loop.after(patience)));
      const Time from = loop.now();
      Node node;
      const auto opened = co_await node.open(loop, temporary.data());
      EXPECT_TRUE(opened) << opened.error().detail();
      std::cout << "back after " << (loop.now() - from) / milliseconds(1) << " ms\n";
      co_await node.close();
    }
  });
}

TEST(Engines, AFolderHasOneHolder) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    auto holder = start_holder(loop, temporary.data());
    EXPECT_TRUE(holder) << holder.error().detail();
    if (!holder ||
        !co_await becomes_true(loop, [&] { return holds(temporary.data()); }, patience)) {
      ADD_FAILURE() << "the holder did not start";
      co_return;
    }
    Node node;
    const auto opened = co_await node.open(loop, temporary.data());
    EXPECT_FALSE(opened);
    if (opened) co_return co_await node.close();
    EXPECT_EQ(opened.error().code(), Errc::conflict);
    const std::string& text = opened.error().detail();
    EXPECT_TRUE(
        text.contains("held by process " + std::to_string((*holder)->process()) + " since "))
        << text;
    EXPECT_TRUE(text.contains("doors: postgres 127.0.0.1:6432, redis 127.0.0.1:6380")) << text;
  });
}

// As somebody would start PostgreSQL on our folder by hand.
Async<Result<std::unique_ptr<Child>>> start_foreign(EpollLoop& loop,
                                                    std::filesystem::path programs,
                                                    std::filesystem::path data,
                                                    std::optional<Account> user) {
  MERIDIAN_CO_TRY(auto child,
                  Child::start(loop,
                               {.command = {programs / "postgres", "-D", data / "postgres"},
                                .log_file = data / "log" / "foreign.log",
                                .user = user}));
  const std::string password = text_of(data / "keys/postgres.password");
  const bool open = co_await becomes_true(
      loop, [&] { return Session(data / "run", "5432", password).open(); }, patience);
  if (!open) co_return fail(Errc::timeout, text_of(data / "log" / "foreign.log"));
  co_return std::move(child);
}

TEST(Engines, AForeignPostgresIsLeftAlone) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    std::optional<Account> user;
    {
      Node node;
      const auto opened = co_await node.open(loop, temporary.data());
      EXPECT_TRUE(opened) << opened.error().detail();
      if (node.folder) user = node.folder->engine_user();
      co_await node.close();
    }
    const auto programs = co_await find_postgres(loop, {}, std::nullopt, user);
    auto foreign = co_await start_foreign(loop, programs->folder, temporary.data(), user);
    EXPECT_TRUE(foreign) << foreign.error().detail();
    if (!foreign) co_return;
    {
      Node node;
      const auto opened =
          co_await node.open(loop, temporary.data(), {.predecessor_timeout = milliseconds(100)});
      EXPECT_FALSE(opened);
      if (opened) co_return co_await node.close();
      EXPECT_EQ(opened.error().code(), Errc::conflict);
      EXPECT_TRUE(
          opened.error().detail().contains("a PostgreSQL that Meridian did not start (process " +
                                           std::to_string((*foreign)->process()) + ")"))
          << opened.error().detail();
      co_await node.close();
    }
    const std::string password = text_of(temporary.data() / "keys/postgres.password");
    EXPECT_EQ(Session(temporary.data() / "run", "5432", password).query("select 42"), "42");
    EXPECT_TRUE(lives((*foreign)->process()));

    // When it has been killed, nothing of it stands in the way.
    Session busy(temporary.data() / "run", "5432", password);
    busy.be_busy();
    ::kill((*foreign)->process(), SIGKILL);
    EXPECT_TRUE(co_await (*foreign)->exited(loop.after(patience)));
    Node node;
    const auto opened = co_await node.open(loop, temporary.data());
    EXPECT_TRUE(opened) << opened.error().detail();
    EXPECT_FALSE(lives(busy.process()));
    co_await node.close();
  });
}

TEST(Engines, StaleFilesDoNotStopAStart) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    std::optional<Account> user;
    {
      Node node;
      const auto opened = co_await node.open(loop, temporary.data());
      EXPECT_TRUE(opened) << opened.error().detail();
      if (node.folder) user = node.folder->engine_user();
      co_await node.close();
    }
    // The number of the dead postmaster now belongs to another process of the engine user. Then: a
    // file that the crash left empty.
    auto other = Child::start(loop, {.command = {"/bin/sleep", "1000"}, .user = user});
    EXPECT_TRUE(other) << other.error().detail();
    for (const std::string& text : {std::to_string((*other)->process()) + "\n/elsewhere\n",
                                    std::string(),
                                    std::string("nonsense\n")}) {
      for (const auto* const name : {"postgres/postmaster.pid", "run/.s.PGSQL.5432.lock"}) {
        EXPECT_TRUE(replace_file(temporary.data() / name, text, user));
      }
      Node node;
      const auto opened = co_await node.open(loop, temporary.data());
      EXPECT_TRUE(opened) << opened.error().detail();
      if (node.postgres_supervisor) {
        EXPECT_EQ(node.postgres_supervisor->status().failures, 0U) << text;
      }
      co_await node.close();
      EXPECT_TRUE(lives((*other)->process()));
    }
  });
}

TEST(Engines, AFirstStartThatWasKilledIsMadeGood) {
  run([&](EpollLoop& loop) -> Async<> {
    // Killed at several places on the way.
    for (const auto* const sign : {"postgres/PG_VERSION", "postgres/base/4"}) {
      std::optional<TemporaryDataFolder> folder;
      // On a busy machine it may be ready before we come to kill it.
      for (int attempt = 0; attempt < 10; ++attempt) {
        folder.emplace();
        auto holder = start_holder(loop, folder->data());
        EXPECT_TRUE(holder) << holder.error().detail();
        EXPECT_TRUE(co_await becomes_true(
            loop, [&] { return std::filesystem::exists(folder->data() / sign); }, patience));
        ::kill((*holder)->process(), SIGKILL);
        EXPECT_TRUE(co_await (*holder)->exited(loop.after(patience)));
        if (std::filesystem::exists(folder->data() / "postgres.unfinished")) break;
      }
      const TemporaryDataFolder& temporary = *folder;
      EXPECT_TRUE(std::filesystem::exists(temporary.data() / "postgres.unfinished")) << sign;
      Node node;
      const auto opened = co_await node.open(loop, temporary.data());
      EXPECT_TRUE(opened) << sign << ": " << opened.error().detail();
      EXPECT_FALSE(std::filesystem::exists(temporary.data() / "postgres.unfinished"));
      EXPECT_FALSE(std::filesystem::exists(temporary.data() / "run" / "initdb.password"));
      co_await node.close();
    }
  });
}

TEST(Engines, AClusterWithoutItsPasswordSaysWhatIsMissing) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    {
      Node node;
      const auto opened = co_await node.open(loop, temporary.data());
      EXPECT_TRUE(opened) << opened.error().detail();
      co_await node.close();
    }
    std::filesystem::remove(temporary.data() / "keys/postgres.password");
    Node node;
    const auto opened = co_await node.open(loop, temporary.data());
    EXPECT_FALSE(opened);
    if (opened) co_return co_await node.close();
    EXPECT_EQ(opened.error().code(), Errc::invalid);
    EXPECT_TRUE(opened.error().detail().contains("keys/postgres.password"))
        << opened.error().detail();
    co_await node.close();
  });
}

TEST(Engines, RunInAFolderWithALongAndStrangeName) {
  const TemporaryDataFolder temporary("It's \"a, b\" \\ %s " + std::string(100, 'x'));
  std::filesystem::path sockets;
  run([&](EpollLoop& loop) -> Async<> {
    for (int start = 0; start < 2; ++start) {
      Node node;
      const auto opened = co_await node.open(loop, temporary.data());
      EXPECT_TRUE(opened) << opened.error().detail();
      if (!opened) co_return co_await node.close();
      sockets = node.folder->run();
      EXPECT_TRUE(sockets.native().starts_with("/tmp/meridian-"));
      EXPECT_EQ(std::filesystem::read_symlink(temporary.data() / "run"), sockets);
      EXPECT_EQ(Session(*node.postgres).query("select 42"), "42");
      EXPECT_EQ(co_await ask_redis(loop, *node.redis, "PING"), "+PONG\r\n");
      co_await node.close();
      EXPECT_FALSE(std::filesystem::exists(sockets));
    }
  });
}

TEST(Engines, ATakenPortStaysWithItsOwner) {
  const TemporaryDataFolder temporary;
  run([&](EpollLoop& loop) -> Async<> {
    auto owner = Listener::listen(loop, *Endpoint::parse("127.0.0.1:0"));
    EXPECT_TRUE(owner) << owner.error().detail();
    auto folder = DataFolder::open({.path = temporary.data()}, loop.wall_now());
    EXPECT_TRUE(folder) << folder.error().detail();
    auto postgres =
        co_await PostgresEngine::open(loop, **folder, {.tcp_port = (*owner)->endpoint().port});
    EXPECT_TRUE(postgres) << postgres.error().detail();
    Metrics metrics;
    Supervisor supervisor(loop, **postgres, metrics);
    supervisor.start();
    EXPECT_TRUE(
        co_await becomes_true(loop, [&] { return supervisor.status().failures > 0; }, patience));
    const auto ready = co_await supervisor.ready(loop.after(milliseconds(50)));
    EXPECT_EQ(ready.error().code(), Errc::timeout);
    EXPECT_TRUE(ready.error().detail().contains("it ended with exit code 1"))
        << ready.error().detail();
    EXPECT_TRUE(text_of((*folder)->log() / "postgres.log").contains("Address already in use"));

    // The owner lets it go: the next attempt takes it.
    (*owner)->close();
    EXPECT_TRUE(co_await supervisor.ready(loop.after(patience)));
    Session session("127.0.0.1",
                    std::to_string((*postgres)->port()),
                    std::string((*postgres)->password().reveal()));
    EXPECT_EQ(session.query("select 42"), "42");
    co_await supervisor.close();
  });
}

TEST(Engines, RunForAnOrdinaryUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "we are one";
  run([](EpollLoop& loop) -> Async<> {
    constexpr uid_t nobody = 65534;
    const auto output = co_await run_program(
        loop,
        {.command = {"/proc/self/exe",
                     "--gtest_brief=1",
                     "--gtest_filter=*Restart:*Alone:*DieWith*:*OneHolder:*WasKilled*"},
         .directory = "/tmp",
         .user = Account(nobody, nobody)},
        loop.after(4 * patience));
    EXPECT_TRUE(output) << output.error().detail();
    if (output) std::cout << *output;
  });
}

}  // namespace
}  // namespace meridian

// "hold FOLDER" is the process that tests kill.
int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "hold") {
    meridian::EpollLoop loop;
    meridian::Scope scope(loop);
    scope.spawn(meridian::hold(loop, argv[2]));
    loop.run();
    return 1;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
