#include "engines/engine_processes.h"

#include "base/number.h"
#include "runtime/file.h"

#include <fstream>
#include <iterator>
#include <optional>
#include <signal.h>
#include <string_view>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace meridian {
namespace {

// /proc/<number>/stat: "4711 (postgres) S 1 ..." (proc(5)). The name may hold anything, so the last
// parenthesis counts.
std::optional<EngineProcess> read_stat(const std::filesystem::path& entry, pid_t process) {
  std::ifstream file(entry / "stat");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return std::nullopt;
  const std::string_view rest = std::string_view(text).substr(close + 1);  // " S 1 ..."
  if (rest.size() < 4) return std::nullopt;
  const std::string_view parent = rest.substr(3, rest.find(' ', 3) - 3);
  return EngineProcess{.process = process,
                       .parent = parse_number<pid_t>(parent).value_or(0),
                       .program = text.substr(open + 1, close - open - 1)};
}

bool works_in(const std::filesystem::path& entry, const struct stat& folder) {
  struct stat directory{};
  // Fails for those that are not ours to see, that are dead, and that just ended.
  return ::stat((entry / "cwd").c_str(), &directory) == 0 && directory.st_dev == folder.st_dev &&
         directory.st_ino == folder.st_ino;
}

}  // namespace

std::vector<EngineProcess> processes_in(const std::filesystem::path& folder) {
  std::vector<EngineProcess> found;
  struct stat status{};
  if (::stat(folder.c_str(), &status) != 0) return found;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc", error), end; !error && it != end;
       it.increment(error)) {
    const auto process = parse_number<pid_t>(it->path().filename().native());
    if (!process || !works_in(it->path(), status)) continue;
    if (auto seen = read_stat(it->path(), *process)) found.push_back(std::move(*seen));
  }
  return found;
}

void kill_in(const std::filesystem::path& folder, pid_t process) {
  struct stat status{};
  if (::stat(folder.c_str(), &status) != 0) return;
  // Holds the process by a descriptor before the second look, so that a number that was given to
  // another in between is never hit.
  const File handle(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!handle.open() || !works_in("/proc/" + std::to_string(process), status)) return;
  ::syscall(SYS_pidfd_send_signal, handle.fd(), SIGKILL, nullptr, 0);
}

Async<Result<void>> await_free(Loop& loop,
                               FunctionRef<Result<void>()> check_free,
                               Duration timeout) {
  constexpr Duration pause = std::chrono::milliseconds(20);
  const Deadline deadline = loop.after(timeout);
  for (;;) {
    auto free = check_free();
    if (free || free.error().code() != Errc::conflict || deadline.passed(loop.now())) {
      co_return free;
    }
    MERIDIAN_CO_CHECK(to_result(co_await loop.sleep(pause), "another server to end"));
  }
}

}  // namespace meridian
