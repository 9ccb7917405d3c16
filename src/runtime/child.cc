#include "runtime/child.h"

#include "base/escape.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace meridian {
namespace {

// The capacity of a pipe (pipe(7)), so that writing it need not wait for the child.
constexpr std::size_t input_size_max = 64 * 1024;

struct Failure {
  int error = 0;
  int step = 0;
};
constexpr std::array<const char*, 5> steps{"starting",
                                           "opening the log of",
                                           "changing the user of",
                                           "changing the directory of",
                                           "executing"};

// What runs in the child between fork and exec: system calls only, because other threads may have
// held locks.
[[noreturn]] void become(const ChildOptions& options,
                         char* const* arguments,
                         char* const* environment,
                         int input,
                         int report,
                         pid_t parent) noexcept {
  const auto give_up = [report](int step) {
    const Failure failure{.error = errno, .step = step};
    (void)!::write(report, &failure, sizeof(failure));
    ::_exit(127);
  };
  // A group of its own: a Ctrl-C in the terminal is for us, who stop our children in order.
  ::setpgid(0, 0);
  ::umask(S_IRWXG | S_IRWXO);
  ::dup2(input, STDIN_FILENO);
  int output = options.output;
  if (!options.log_file.empty()) {
    output = ::open(options.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (output < 0) give_up(1);
  }
  if (output >= 0) {
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
  }
  // A library may have opened something without the flag.
  ::syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  if (options.user) {
    const auto [user, group] = *options.user;
    if (::setgroups(0, nullptr) != 0 || ::setgid(group) != 0 || ::setuid(user) != 0) give_up(2);
  }
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) give_up(3);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Ignored signals stay ignored over exec, and a shell's background job ignores SIGINT and
  // SIGQUIT.
  for (int number = 1; number < NSIG; ++number)
    ::signal(number, SIG_DFL);
  // After setuid, which clears it. If we died before it was set, nobody will send it.
  if (::prctl(PR_SET_PDEATHSIG, options.death_signal) != 0 || ::getppid() != parent) give_up(0);
  ::execve(arguments[0], arguments, environment);
  give_up(4);
  ::_exit(127);
}

}  // namespace

std::string ChildExit::to_string() const {
  if (signal != 0) return "signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
  return "exit code " + std::to_string(code);
}

Result<std::unique_ptr<Child>> Child::start(EpollLoop& loop, ChildOptions options) {
  MERIDIAN_ASSERT(!options.command.empty());
  const std::string program = options.command.front();
  const std::string_view text = options.input.reveal();
  if (text.size() > input_size_max) {
    return fail(Errc::invalid,
                "the input of " + quote(program) + " has " + std::to_string(text.size()) +
                    " bytes; at most " + std::to_string(input_size_max));
  }

  std::vector<std::string> variables;
  for (const auto& [name, value] : options.environment)
    variables.push_back(name + "=" + value);
  std::vector<char*> arguments;
  for (std::string& argument : options.command)
    arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  for (std::string& variable : variables)
    environment.push_back(variable.data());
  environment.push_back(nullptr);

  std::array<int, 2> input{};
  std::array<int, 2> report{};
  if (::pipe2(input.data(), O_CLOEXEC) != 0)
    return fail(Errc::exhausted, "pipe: " + std::string(::strerror(errno)));
  File input_read(input[0]);
  File input_write(input[1]);
  if (::pipe2(report.data(), O_CLOEXEC) != 0)
    return fail(Errc::exhausted, "pipe: " + std::string(::strerror(errno)));
  File report_read(report[0]);
  File report_write(report[1]);
  // A user with many pipes gets smaller ones: fail rather than wait for ever.
  ::fcntl(input_write.fd(), F_SETFL, O_NONBLOCK);
  if (!text.empty() &&
      ::write(input_write.fd(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return fail(Errc::exhausted,
                "the input of " + quote(program) + " (" + std::to_string(text.size()) +
                    " bytes) does not fit into a pipe; see fs.pipe-user-pages-soft");
  }
  input_write.close();

  const pid_t parent = ::getpid();
  const pid_t process = ::fork();
  if (process < 0) return fail(Errc::exhausted, "fork: " + std::string(::strerror(errno)));
  if (process == 0) {
    become(
        options, arguments.data(), environment.data(), input_read.fd(), report_write.fd(), parent);
  }
  report_write.close();
  File handle(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  MERIDIAN_ASSERT(handle.open());
  // Ends at once when exec succeeded, because the pipe closes with it.
  Failure failure;
  ssize_t size = 0;
  do {
    size = ::read(report_read.fd(), &failure, sizeof(failure));
  } while (size < 0 && errno == EINTR);
  if (size == static_cast<ssize_t>(sizeof(failure))) {
    ::waitpid(process, nullptr, 0);
    const Errc code = failure.error == ENOENT                             ? Errc::not_found
                      : failure.error == EACCES || failure.error == EPERM ? Errc::denied
                                                                          : Errc::unavailable;
    return fail(code,
                std::string(steps[static_cast<std::size_t>(failure.step)]) + " " + quote(program) +
                    ": " + ::strerror(failure.error));
  }
  return std::unique_ptr<Child>(new Child(loop, process, std::move(handle)));
}

Child::Child(EpollLoop& loop, pid_t process, File handle)
    : process_(process),
      handle_(std::move(handle)),
      watch_(std::make_unique<EpollLoop::Watch>(loop, handle_.fd())) {}

Child::~Child() {
  if (reap(false)) return;
  signal(SIGKILL);
  reap(true);
}

void Child::signal(int number) noexcept {
  if (!exit_) ::syscall(SYS_pidfd_send_signal, handle_.fd(), number, nullptr, 0);
}

bool Child::reap(bool wait) noexcept {
  if (exit_) return true;
  siginfo_t ended{};
  const int flags = WEXITED | WNOWAIT | (wait ? 0 : WNOHANG);
  int result = 0;
  do {
    result = ::waitid(P_PID, static_cast<id_t>(process_), &ended, flags);
  } while (result != 0 && errno == EINTR);
  if (result != 0 || ended.si_pid != process_) return false;
  // Before it is reaped nobody else can have the number, as a process or as a group.
  ::kill(-process_, SIGKILL);
  int status = 0;
  ::waitpid(process_, &status, 0);
  exit_ = WIFSIGNALED(status) ? ChildExit{.signal = WTERMSIG(status)}
                              : ChildExit{.code = WEXITSTATUS(status)};
  return true;
}

Async<Result<ChildExit>> Child::exited(Deadline deadline) {
  while (!reap(false)) {
    watch_->drained();
    if (reap(false)) break;  // It ended between the two looks.
    MERIDIAN_CO_CHECK(to_result(co_await watch_->readable(deadline), "a child process to end"));
  }
  co_return *exit_;
}

Async<Result<std::string>> run_program(EpollLoop& loop, ChildOptions options, Deadline deadline) {
  constexpr std::size_t output_size_max = 1024 * 1024;
  constexpr std::size_t output_shown_max = 2 * 1024;
  const std::string program = options.command.front();
  // A file without a name holds the output: a pipe would have to be read while the program runs.
  File output(::memfd_create("output", MFD_CLOEXEC));
  if (!output.open())
    co_return fail(Errc::exhausted, "memfd_create: " + std::string(::strerror(errno)));
  options.output = output.fd();
  MERIDIAN_CO_TRY(auto child, Child::start(loop, std::move(options)));
  auto exit = co_await child->exited(deadline);
  if (!exit) co_return fail_while(program, exit.error());
  std::string text(output_size_max, '\0');
  const ssize_t size = ::pread(output.fd(), text.data(), text.size(), 0);
  text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  if (exit->code != 0 || exit->signal != 0) {
    const std::size_t from = text.size() > output_shown_max ? text.size() - output_shown_max : 0;
    co_return fail(Errc::unavailable,
                   program + " ended with " + exit->to_string() + ": " + text.substr(from));
  }
  co_return text;
}

}  // namespace meridian
