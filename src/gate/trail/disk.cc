#include "gate/trail/disk.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace meridian::trail {
namespace {

namespace fs = std::filesystem;

Result<void> write_whole(const File& file, const fs::path& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = ::write(file.fd(), text.data(), text.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno("write", path, errno);
    text.remove_prefix(static_cast<std::size_t>(size));
  }
  if (::fsync(file.fd()) != 0) return fail_errno("fsync", path, errno);
  return {};
}

}  // namespace

Disk Disk::system() {
  return {
      .preallocate =
          [](int fd, std::uint64_t size) {
            return ::posix_fallocate(fd, 0, static_cast<off_t>(size));
          },
      .sync = [](void* begin,
                 std::size_t size) { return ::msync(begin, size, MS_SYNC) == 0 ? 0 : errno; },
  };
}

std::unexpected<Error> fail_errno(std::string_view call, const fs::path& path, int error) {
  Errc code = Errc::unavailable;
  if (error == ENOENT) code = Errc::not_found;
  if (error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE) {
    code = Errc::exhausted;
  }
  return fail(code,
              std::string(call) + " " + path.string() + ": " +
                  std::error_code(error, std::generic_category()).message());
}

Result<void> make_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return {};
  if (folder.has_parent_path() && folder.parent_path() != folder) {
    MERIDIAN_CHECK(make_folder(folder.parent_path()));
  }
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_errno("mkdir", folder, errno);
  }
  return {};
}

Result<std::vector<std::string>> list_names(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error == std::errc::no_such_file_or_directory) return names;
  while (!error && entries != fs::directory_iterator()) {
    names.push_back(entries->path().filename().string());
    entries.increment(error);
  }
  if (error) return fail_errno("read the folder", folder, error.value());
  std::ranges::sort(names);
  return names;
}

Result<void> write_new(const fs::path& path, std::string_view text, unsigned mode) {
  const fs::path draft = path.string() + ".new." + std::to_string(::getpid());
  ::unlink(draft.c_str());  // Left behind by a process of the same number that was killed here.
  {
    const File file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!file.open()) return fail_errno("create", draft, errno);
    if (auto done = write_whole(file, draft, text); !done) {
      ::unlink(draft.c_str());
      return done;
    }
  }
  // A link, unlike a rename, leaves a file alone that another process put there meanwhile.
  const int error = ::link(draft.c_str(), path.c_str()) == 0 ? 0 : errno;
  ::unlink(draft.c_str());
  if (error != 0 && error != EEXIST) return fail_errno("link", path, error);
  return sync_folder(path.parent_path());
}

Result<std::string> read_whole(const File& file, const fs::path& path, std::uint64_t size_max) {
  std::string text(size_max + 1, '\0');
  std::size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t size = ::read(file.fd(), text.data() + filled, text.size() - filled);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno("read", path, errno);
    if (size == 0) break;
    filled += static_cast<std::size_t>(size);
  }
  if (filled > size_max) {
    return fail(Errc::invalid,
                path.string() + " is larger than " + std::to_string(size_max) + " bytes");
  }
  text.resize(filled);
  return text;
}

Result<void> sync_folder(const fs::path& folder) {
  const fs::path named = folder.empty() ? "." : folder;
  const File file(::open(named.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.open()) return fail_errno("open", named, errno);
  if (::fsync(file.fd()) != 0) return fail_errno("fsync", named, errno);
  return {};
}

Result<void> remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("unlink", path, errno);
  return {};
}

}  // namespace meridian::trail
