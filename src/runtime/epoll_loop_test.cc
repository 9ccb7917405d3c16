// The production loop: real sockets, threads, TLS and child processes, without sleeping for luck.

#include "runtime/epoll_loop.h"

#include "base/function_ref.h"
#include "runtime/blocking_pool.h"
#include "runtime/call_on.h"
#include "runtime/child.h"
#include "runtime/scope.h"
#include "runtime/socket.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace meridian {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How long anything here may take: far more than it does.
constexpr Duration patience = seconds(60);

// Runs one fibre on a fresh loop to its end.
void run(FunctionRef<Async<>(EpollLoop&)> body) {
  EpollLoop loop;
  Scope scope(loop);
  scope.spawn([](EpollLoop& on, FunctionRef<Async<>(EpollLoop&)> work) -> Async<> {
    co_await work(on);
    on.stop();
  }(loop, body));
  loop.run();
}

Async<> echo(EpollLoop& loop, Socket socket) {
  SocketStream stream(loop, std::move(socket));
  std::string buffer(1'000, '\0');
  for (;;) {
    auto size = co_await read_some(stream, buffer, Deadline::never());
    if (!size || *size == 0) co_return;
    if (!co_await write_all(stream, std::string_view(buffer).substr(0, *size), Deadline::never()))
      co_return;
  }
}

Async<> exchange_bytes(EpollLoop& loop, std::string where) {
  auto endpoint = Endpoint::parse(where);
  EXPECT_TRUE(endpoint);
  auto listener = Listener::listen(loop, *endpoint);
  EXPECT_TRUE(listener) << listener.error().detail();
  if (!listener) co_return;
  Scope scope(loop);
  scope.spawn([](EpollLoop& on, Listener& from, Scope& visits) -> Async<> {
    for (;;) {
      auto socket = co_await from.accept();
      if (!socket) co_return;
      visits.spawn(echo(on, std::move(*socket)));
    }
  }(loop, **listener, scope));

  auto socket = co_await connect(loop, (*listener)->endpoint(), loop.after(patience));
  EXPECT_TRUE(socket) << socket.error().detail();
  if (socket) {
    SocketStream stream(loop, std::move(*socket));
    EXPECT_TRUE(stream.peer().local);
    // More than the sockets buffer, so that both sides see would_block.
    std::string sent(3'000'000, 'x');
    for (std::size_t i = 0; i < sent.size(); ++i)
      sent[i] = static_cast<char>(i * 7);
    Scope writer(loop);
    writer.spawn([](Stream& to, std::string_view bytes) -> Async<> {
      EXPECT_TRUE(co_await write_all(to, bytes, Deadline::never()));
    }(stream, sent));
    std::string received(sent.size(), '\0');
    EXPECT_TRUE(co_await read_exactly(stream, received, loop.after(patience)));
    EXPECT_EQ(received, sent);
    co_await writer.join();
    // Nothing more comes: the deadline passes and the stream stays good.
    char byte = 0;
    auto late = co_await read_some(stream, {&byte, 1}, loop.after(milliseconds(20)));
    EXPECT_EQ(late.error().code(), Errc::timeout);
    EXPECT_TRUE(co_await write_all(stream, "!", Deadline::never()));
    EXPECT_TRUE(co_await read_exactly(stream, {&byte, 1}, loop.after(patience)));
    EXPECT_EQ(byte, '!');
  }
  co_await scope.close();
}

TEST(Sockets, TcpCarriesBytesBothWays) {
  run([](EpollLoop& loop) { return exchange_bytes(loop, "127.0.0.1:0"); });
}

TEST(Sockets, UnixSocketsCarryBytesBothWays) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("meridian-" + std::to_string(::getpid()));
  run([&](EpollLoop& loop) { return exchange_bytes(loop, "unix:" + path); });
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Sockets, BothEndsAskAfterAPeerThatSaysNothing) {
  run([](EpollLoop& loop) -> Async<> {
    auto listener = Listener::listen(loop, *Endpoint::parse("127.0.0.1:0"));
    auto made = co_await connect(loop, (*listener)->endpoint(), loop.after(patience));
    auto accepted = co_await (*listener)->accept();
    for (const Socket* socket : {&*made, &*accepted}) {
      const auto option = [&](int level, int name) {
        int value = -1;
        socklen_t size = sizeof(value);
        ::getsockopt(socket->file.fd(), level, name, &value, &size);
        return value;
      };
      EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
      EXPECT_EQ(seconds(option(IPPROTO_TCP, TCP_KEEPIDLE)), keepalive_idle);
      EXPECT_EQ(seconds(option(IPPROTO_TCP, TCP_KEEPINTVL)), keepalive_interval);
      EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPCNT), keepalive_count);
      EXPECT_EQ(option(IPPROTO_TCP, TCP_NODELAY), 1);
    }
  });
}

TEST(Sockets, AListenerDoesNotTakeAPlaceThatIsTaken) {
  run([](EpollLoop& loop) -> Async<> {
    auto first = Listener::listen(loop, *Endpoint::parse("127.0.0.1:0"));
    auto second = Listener::listen(loop, (*first)->endpoint());
    EXPECT_EQ(second.error().code(), Errc::conflict);
    co_return;
  });
}

TEST(Sockets, RefusedConnectionsSaySo) {
  run([](EpollLoop& loop) -> Async<> {
    auto listener = Listener::listen(loop, *Endpoint::parse("127.0.0.1:0"));
    const Endpoint gone = (*listener)->endpoint();
    (*listener)->close();
    auto socket = co_await connect(loop, gone, loop.after(patience));
    EXPECT_EQ(socket.error().code(), Errc::unavailable);
    EXPECT_TRUE(socket.error().detail().contains("refused")) << socket.error().detail();
  });
}

TEST(Endpoints, ParseWhatPeopleWrite) {
  EXPECT_EQ(Endpoint::parse("127.0.0.1:6432")->to_string(), "127.0.0.1:6432");
  EXPECT_EQ(Endpoint::parse("[::1]:6432")->to_string(), "[::1]:6432");
  EXPECT_EQ(Endpoint::parse("unix:/run/x")->to_string(), "unix:/run/x");
  EXPECT_TRUE(Endpoint::parse("localhost:1")->is_local());
  EXPECT_TRUE(Endpoint::parse("[::1]:1")->is_local());
  EXPECT_FALSE(Endpoint::parse("0.0.0.0:1")->is_local());
  for (const auto* const text :
       {"", "6432", "x", "x:", "x:65536", "x:-1", "::1:5", ":5", "unix:"}) {
    EXPECT_FALSE(Endpoint::parse(text)) << text;
  }
}

TEST(BlockingPool, GivesTheAnswerOnTheAskingLoop) {
  run([](EpollLoop& /*loop*/) -> Async<> {
    BlockingPool pool(2);
    const auto here = std::this_thread::get_id();
    auto there = co_await pool.run([] { return std::this_thread::get_id(); });
    EXPECT_NE(*there, here);
    EXPECT_EQ(std::this_thread::get_id(), here);
  });
}

TEST(CallOn, RunsOnTheOtherLoop) {
  EpollLoop other;
  std::thread thread([&] { other.run(); });
  run([&](EpollLoop& /*loop*/) -> Async<> {
    for (int i = 0; i < 1'000; ++i) {
      auto answer = co_await call_on(other, [i] { return i + 1; });
      EXPECT_EQ(*answer, i + 1);
    }
    auto id = co_await call_on(other, [] { return std::this_thread::get_id(); });
    EXPECT_EQ(*id, thread.get_id());
  });
  other.stop();
  thread.join();
}

TEST(Children, TellHowTheyEnded) {
  run([](EpollLoop& loop) -> Async<> {
    auto child = Child::start(loop, {.command = {"/bin/sh", "-c", "exit 7"}});
    EXPECT_TRUE(child) << child.error().detail();
    EXPECT_EQ((co_await (*child)->exited())->code, 7);
    auto sleeper = Child::start(loop, {.command = {"/bin/sleep", "1000"}});
    (*sleeper)->signal(SIGTERM);
    EXPECT_EQ((co_await (*sleeper)->exited())->signal, SIGTERM);
    auto absent = Child::start(loop, {.command = {"/no/such/program"}});
    EXPECT_EQ(absent.error().code(), Errc::not_found);
    auto output = co_await run_program(
        loop, {.command = {"/bin/cat"}, .input = Secret("hello")}, loop.after(patience));
    EXPECT_EQ(*output, "hello");
    auto failed = co_await run_program(
        loop, {.command = {"/bin/sh", "-c", "echo reason >&2; exit 3"}}, loop.after(patience));
    EXPECT_TRUE(failed.error().detail().contains("exit code 3: reason")) << failed.error().detail();
    auto slow = co_await run_program(
        loop, {.command = {"/bin/sleep", "1000"}}, loop.after(milliseconds(50)));
    EXPECT_EQ(slow.error().code(), Errc::timeout);
  });
}

TEST(Children, LeaveNoChildrenOfTheirOwn) {
  run([](EpollLoop& loop) -> Async<> {
    // The grandchild would hold the writing end of the pipe open.
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    auto output = co_await run_program(
        loop, {.command = {"/bin/sh", "-c", "sleep 1000 & echo $!"}}, loop.after(patience));
    EXPECT_TRUE(output) << output.error().detail();
    ::close(ends[1]);
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 0);  // Descriptors are not inherited either.
    ::close(ends[0]);
    const std::string process = output->substr(0, output->find('\n'));
    const auto dead = [&] {
      std::ifstream status("/proc/" + process + "/stat");
      std::string text;
      std::getline(status, text);
      return text.empty() || text.contains(") Z");
    };
    const Deadline last = loop.after(patience);
    while (!dead() && !last.passed(loop.now()))
      (void)co_await loop.sleep(milliseconds(1));
    EXPECT_TRUE(dead());
  });
}

TEST(Children, StartWithoutOurSignalsAndFiles) {
  // As a shell's background job, that ignores what its children shall not.
  ::signal(SIGINT, SIG_IGN);
  const mode_t mask = ::umask(0);
  run([](EpollLoop& loop) -> Async<> {
    auto output =
        co_await run_program(loop,
                             {.command = {"/bin/sh", "-c", "umask; kill -INT $$; echo survived"}},
                             Deadline::never());
    EXPECT_FALSE(output);
    EXPECT_TRUE(output.error().detail().contains("signal 2 (Interrupt): 0077"))
        << output.error().detail();
    auto long_input = co_await run_program(
        loop,
        {.command = {"/bin/cat"}, .input = Secret(std::string(64 * 1024, 'x'))},
        Deadline::never());
    EXPECT_EQ(long_input->size(), 64U * 1024);
    auto longer = co_await run_program(
        loop,
        {.command = {"/bin/cat"}, .input = Secret(std::string(64 * 1024 + 1, 'x'))},
        Deadline::never());
    EXPECT_EQ(longer.error().code(), Errc::invalid);
  });
  ::umask(mask);
  ::signal(SIGINT, SIG_DFL);
}

TEST(Children, DieWithAParentThatIsKilled) {
  // A middle process starts a child, tells its number and is killed with SIGKILL.
  int report[2];
  ASSERT_EQ(::pipe(report), 0);
  const pid_t middle = ::fork();
  if (middle == 0) {
    EpollLoop loop;
    auto child = Child::start(loop, {.command = {"/bin/sleep", "1000"}});
    const pid_t process = child ? (*child)->process() : -1;
    (void)!::write(report[1], &process, sizeof(process));
    ::pause();
    ::_exit(0);
  }
  pid_t process = -1;
  ASSERT_EQ(::read(report[0], &process, sizeof(process)), static_cast<ssize_t>(sizeof(process)));
  ASSERT_GT(process, 0);
  ASSERT_EQ(::kill(process, 0), 0);
  ::kill(middle, SIGKILL);
  ::waitpid(middle, nullptr, 0);
  // The orphan is reaped by init, or stays a zombie of ours where there is none: gone or dead.
  const auto dead = [&] {
    if (::kill(process, 0) != 0) return true;
    std::ifstream status("/proc/" + std::to_string(process) + "/stat");
    std::string text;
    std::getline(status, text);
    return text.empty() || text.contains(") Z");
  };
  for (int i = 0; i < 6'000 && !dead(); ++i)
    std::this_thread::sleep_for(milliseconds(10));
  EXPECT_TRUE(dead());
  ::close(report[0]);
  ::close(report[1]);
}

}  // namespace
}  // namespace meridian
