#pragma once
// What a server's refusal of a login means.

#include "base/result.h"

namespace meridian::postgres {

// Whether an error of a login, whose text ends with the server's code, is invalid_password: the
// role has another one, or none that is valid now.
inline bool is_password_refused(const Error& error) {
  return error.code() == Errc::denied && error.detail().ends_with("[28P01]");
}

}  // namespace meridian::postgres
