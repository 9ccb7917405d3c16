#include "engines/owned_file.h"

#include "base/escape.h"
#include "runtime/file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace meridian {
namespace {

Result<void> write_all(const File& file, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t size = ::write(file.fd(), text.data(), text.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_at("writing", path, errno);
    text.remove_prefix(static_cast<std::size_t>(size));
  }
  return {};
}

Result<void> sync_folder(const std::filesystem::path& folder) {
  const File file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.open() || ::fsync(file.fd()) != 0) return fail_at("syncing", folder, errno);
  return {};
}

}  // namespace

std::unexpected<Error> fail_at(std::string_view doing,
                               const std::filesystem::path& path,
                               int error) {
  Errc code = Errc::unavailable;
  if (error == EACCES || error == EPERM || error == EROFS) code = Errc::denied;
  if (error == ENOSPC || error == EDQUOT || error == EMFILE) code = Errc::exhausted;
  if (error == ELOOP || error == ENOTDIR || error == ENAMETOOLONG) code = Errc::invalid;
  if (error == ENOENT) code = Errc::not_found;
  return fail(code,
              std::string(doing) + " " + quote(path.native(), 1024) + ": " + ::strerror(error));
}

Result<std::optional<std::string>> read_file(const std::filesystem::path& path,
                                             std::size_t size_max) {
  // Without waiting: a FIFO in its place must not hold us up.
  const File file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.open()) {
    if (errno == ENOENT) return std::nullopt;
    return fail_at("opening", path, errno);
  }
  struct stat status{};
  if (::fstat(file.fd(), &status) != 0) return fail_at("reading", path, errno);
  if (!S_ISREG(status.st_mode)) {
    return fail(Errc::invalid, quote(path.native(), 1024) + " is not an ordinary file");
  }
  std::string text(size_max + 1, '\0');
  std::size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t size = ::read(file.fd(), text.data() + filled, text.size() - filled);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_at("reading", path, errno);
    if (size == 0) break;
    filled += static_cast<std::size_t>(size);
  }
  if (filled > size_max) {
    return fail(
        Errc::invalid,
        quote(path.native(), 1024) + " is longer than " + std::to_string(size_max) + " bytes");
  }
  text.resize(filled);
  return text;
}

Result<void> replace_file(const std::filesystem::path& path,
                          std::string_view text,
                          std::optional<Account> owner) {
  std::filesystem::path fresh = path;
  fresh += ".new";
  if (::unlink(fresh.c_str()) != 0 && errno != ENOENT) return fail_at("removing", fresh, errno);
  const File file(
      ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.open()) return fail_at("creating", fresh, errno);
  if (::fchmod(file.fd(), 0600) != 0) return fail_at("changing the mode of", fresh, errno);
  if (owner && ::fchown(file.fd(), owner->first, owner->second) != 0) {
    return fail_at("changing the owner of", fresh, errno);
  }
  MERIDIAN_CHECK(write_all(file, text, fresh));
  if (::fsync(file.fd()) != 0) return fail_at("syncing", fresh, errno);
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail_at("replacing", path, errno);
  return sync_folder(path.parent_path());
}

Result<void> remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return fail_at("removing", path, errno);
  }
  return sync_folder(path.parent_path());
}

}  // namespace meridian
