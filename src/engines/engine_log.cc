#include "engines/engine_log.h"

#include "engines/owned_file.h"
#include "runtime/file.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

namespace meridian {
namespace {

constexpr std::size_t copied_at_once = 1024uz * 1024;  // About a millisecond of the loop's time.

std::uint64_t size_of(const File& file) {
  struct stat status{};
  if (!file.open() || ::fstat(file.fd(), &status) != 0) return 0;
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

void EngineLog::mark() {
  marked_ = size_of(File(::open(path_.c_str(), O_RDONLY | O_CLOEXEC)));
}

std::vector<std::string> EngineLog::tail() const {
  std::vector<std::string> lines;
  const File file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  const std::uint64_t end = size_of(file);
  // The file may have been cut since it was marked.
  const std::uint64_t mark = marked_ > end ? 0 : marked_;
  const std::uint64_t size = std::min<std::uint64_t>(end - mark, tail_size_max);
  std::string text(size, '\0');
  const ssize_t read = ::pread(file.fd(), text.data(), size, static_cast<off_t>(end - size));
  text.resize(read < 0 ? 0 : static_cast<std::size_t>(read));
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t to = std::min(text.find('\n', from), text.size());
    if (to > from) lines.push_back(text.substr(from, to - from));
    from = to + 1;
  }
  if (lines.size() > tail_lines_max) {
    lines.erase(lines.begin(), lines.end() - tail_lines_max);
  }
  return lines;
}

Async<Result<void>> EngineLog::bound(Loop& loop) {
  const File file(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.open()) {
    if (errno == ENOENT) co_return Result<void>();
    co_return fail_at("opening", path_, errno);
  }
  if (size_of(file) <= size_max_) co_return Result<void>();
  std::filesystem::path older = path_;
  older += ".1";
  const File copy(::open(older.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!copy.open()) co_return fail_at("creating", older, errno);
  // A burst leaves more than the bound: its last part is kept. What is written faster than it is
  // copied is given up.
  auto from = static_cast<off_t>(size_of(file) - size_max_);
  Result<void> copied;
  for (std::uint64_t left = 2 * size_max_; left > 0;) {
    const ssize_t size =
        ::sendfile(copy.fd(), file.fd(), &from, std::min<std::uint64_t>(left, copied_at_once));
    if (size < 0) copied = fail_at("copying to", older, errno);
    if (size <= 0) break;
    left -= static_cast<std::uint64_t>(size);
    MERIDIAN_CO_CHECK(to_result(co_await loop.yield(), "the copy of a log"));
  }
  // Also when there was no room for the copy: that is when the bound matters most.
  if (::ftruncate(file.fd(), 0) != 0) co_return fail_at("cutting", path_, errno);
  marked_ = 0;
  co_return copied;
}

}  // namespace meridian
