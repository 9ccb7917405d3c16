#pragma once
// Which processes work in an engine's folder. PostgreSQL and Redis both make their data folder
// their working directory, so /proc tells who is on it, whatever files of theirs say: their numbers
// may have been given to others since.

#include "base/function_ref.h"
#include "base/result.h"
#include "base/time.h"
#include "runtime/async.h"
#include "runtime/loop.h"

#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace meridian {

// The kernel keeps no more of a program's name (proc(5), comm).
inline constexpr std::size_t program_size_max = 15;

struct EngineProcess {
  pid_t process = 0;
  pid_t parent = 0;
  std::string program;  // "postgres", at most program_size_max characters.
};

// Those whose working directory is `folder`, as far as we may see them: other users' are hidden
// from an ordinary user, and cannot work in a folder of his. Dead ones that nobody has reaped do
// not count.
std::vector<EngineProcess> processes_in(const std::filesystem::path& folder);

// Sends SIGKILL to a process that works in `folder`; nothing happens when it no longer does.
void kill_in(const std::filesystem::path& folder, pid_t process);

// The engines of a Meridian that was killed end a moment after it (its lock is free before the
// kernel tells them, and a PostgreSQL may take 5 s), so somebody on the folder is given this time
// before he counts as somebody else. `check_free` fails with conflict as long as he is there; its
// last answer is the result.
Async<Result<void>> await_free(Loop& loop,
                               FunctionRef<Result<void>()> check_free,
                               Duration timeout);

}  // namespace meridian
