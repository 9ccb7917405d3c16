#include "app/version.h"

namespace meridian {

std::string_view version() noexcept {
  return MERIDIAN_VERSION;
}

}  // namespace meridian
