#include "app/config/bounded_file.h"

#include "base/escape.h"
#include "runtime/file.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace meridian::config {
namespace {

std::unexpected<Error> fail_on(const std::string& file, std::string_view what, int error) {
  const Errc code = error == ENOENT || error == ENOTDIR ? Errc::not_found
                    : error == EACCES || error == EPERM ? Errc::denied
                                                        : Errc::unavailable;
  std::array<char, 128> buffer;
  return fail(code,
              std::string(what) + " " + quote(file) +
                  " cannot be read: " + ::strerror_r(error, buffer.data(), buffer.size()));
}

}  // namespace

Result<std::string> read_bounded_file(const std::string& file,
                                      std::size_t bytes_max,
                                      std::string_view what) {
  const File opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!opened.open()) return fail_on(file, what, errno);
  std::string text(bytes_max + 1, '\0');  // One byte more shows that there is more.
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(opened.fd(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_on(file, what, errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > bytes_max) {
    return fail(Errc::invalid,
                std::string(what) + " " + quote(file) + " has more than " +
                    std::to_string(bytes_max) + " bytes");
  }
  text.resize(size);
  return text;
}

}  // namespace meridian::config
