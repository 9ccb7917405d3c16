#include "runtime/file.h"

#include <unistd.h>

namespace meridian {

void File::close() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

}  // namespace meridian
