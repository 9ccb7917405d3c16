#include "base/result.h"

namespace meridian {

std::string_view to_string(Errc code) noexcept {
  switch (code) {
    case Errc::cancelled:
      return "cancelled";
    case Errc::timeout:
      return "timeout";
    case Errc::unauthenticated:
      return "unauthenticated";
    case Errc::denied:
      return "denied";
    case Errc::not_found:
      return "not_found";
    case Errc::conflict:
      return "conflict";
    case Errc::invalid:
      return "invalid";
    case Errc::exhausted:
      return "exhausted";
    case Errc::unavailable:
      return "unavailable";
    case Errc::outcome_unknown:
      return "outcome_unknown";
  }
  return "unknown";
}

std::unexpected<Error> fail_while(std::string_view doing, const Error& error) {
  return fail(error.code(), std::string(doing) + ": " + error.detail());
}

}  // namespace meridian
