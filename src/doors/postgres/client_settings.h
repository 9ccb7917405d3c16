#pragma once
// What a client asks for at start-up beside user and database: settings of its session.
//
// They are applied after authentication, on the backend that serves the visit, as SET would; so
// they can do no more than the role could do itself. Names outside of the list are left alone, with
// a notice.

#include "base/result.h"
#include "pool/settings.h"
#include "wire/postgres/options.h"
#include "wire/postgres/startup.h"

#include <string>
#include <string_view>
#include <vector>

namespace meridian {

struct ClientSettings {
  std::string application_name;
  std::vector<postgres::Setting> applied;  // In the order given, application_name left out.
  std::vector<std::string> ignored;        // Names.

  // Errors: invalid (options that cannot be read), denied (a replication connection).
  static Result<ClientSettings> read(const postgres::StartupMessage& startup);

  // True when the server's login settings already say the same, or the values are sure to be
  // accepted and are not reported. Then a backend is not needed to answer the login.
  bool trivial(const ReportedSettings& login) const;

  // What the client is to be told about the session's settings, when trivial().
  ReportedSettings reported(const ReportedSettings& login) const;
};

}  // namespace meridian
