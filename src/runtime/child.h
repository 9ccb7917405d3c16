#pragma once
// A child process that never outlives us: the kernel kills it when we die, whatever killed us.

#include "base/result.h"
#include "base/secret.h"
#include "runtime/async.h"
#include "runtime/epoll_loop.h"
#include "runtime/file.h"

#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace meridian {

struct ChildOptions {
  std::vector<std::string> command;  // The program's path, then its arguments.
  std::vector<std::pair<std::string, std::string>>
      environment{};        // The whole of it; nothing is inherited.
  std::string directory{};  // Where it starts.
  std::string log_file{};   // Appended to by its standard output and error; empty for ours.
  int output = -1;          // Or a descriptor for them, which stays the caller's.
  std::optional<std::pair<uid_t, gid_t>> user{};  // Whom it runs as; needs root.
  int death_signal = 9;                           // What the kernel sends it when we die. SIGKILL.
  Secret input{};  // Given on standard input, which then ends. At most 64 KiB.
};

struct ChildExit {
  int code = 0;                   // When it exited by itself.
  int signal = 0;                 // When a signal ended it.
  std::string to_string() const;  // "exit code 1", "signal 9 (Killed)"
};

// It leads a process group of its own. What is left of the group when the child has ended is
// killed, so that its own children do not stay behind; those that left the group must look after
// themselves.
//
// Threading: start() on the loop's thread, which must be the thread that lives as long as the
// process (the kernel ties the death signal to the thread that started the child).
class Child {
 public:
  // Errors: not_found, denied, exhausted, with the program's path and the system's reason.
  static Result<std::unique_ptr<Child>> start(EpollLoop& loop, ChildOptions options);

  // Kills the child if it still runs, and reaps it.
  ~Child();

  pid_t process() const noexcept { return process_; }

  // Sends a signal to it. Nothing happens when it has ended.
  void signal(int number) noexcept;

  // Waits until it has ended. May be awaited again.
  Async<Result<ChildExit>> exited(Deadline deadline = Deadline::never());

 private:
  Child(EpollLoop& loop, pid_t process, File handle);

  // True when it has ended; `wait` makes it so.
  bool reap(bool wait) noexcept;

  pid_t process_;
  File handle_;  // A pidfd: names this process even after its number was given to another.
  std::unique_ptr<EpollLoop::Watch> watch_;
  std::optional<ChildExit> exit_;
};

// Runs a program to its end. For short helpers such as initdb. Errors: as start(), timeout (killed
// then), and unavailable when it ended otherwise than with code 0; the detail ends with the last 2
// KiB of what it printed.
Async<Result<std::string>> run_program(EpollLoop& loop, ChildOptions options, Deadline deadline);

}  // namespace meridian
