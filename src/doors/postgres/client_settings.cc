#include "doors/postgres/client_settings.h"

#include "base/escape.h"
#include "base/number.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace meridian {
namespace {

// In lower case, sorted.
constexpr std::array<std::string_view, 24> allowed{
    "application_name",
    "bytea_output",
    "check_function_bodies",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "lc_messages",
    "lock_timeout",
    "plan_cache_mode",
    "row_security",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronous_commit",
    "timezone",
    "work_mem",
};

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

bool is_utf8_name(std::string_view encoding) {
  std::string plain;
  for (const char c : to_lower(encoding)) {
    if (c != '-' && c != '_') plain += c;
  }
  return plain == "utf8" || plain == "unicode" || plain == "auto";
}

// The reported setting of a name in lower case: "TimeZone" of "timezone".
const std::string* find_reported(const ReportedSettings& login, std::string_view name) {
  for (const auto& [known, value] : login.all()) {
    if (to_lower(known) == name) return &value;
  }
  return nullptr;
}

bool is_trivial(const postgres::Setting& setting, const ReportedSettings& login) {
  if (setting.name == "client_encoding") {
    const std::string* const present = login.find("client_encoding");
    return present && *present == "UTF8" && is_utf8_name(setting.value);
  }
  if (setting.name == "extra_float_digits") {
    const auto digits = parse_number<int>(setting.value);
    return digits && *digits >= -15 && *digits <= 3;
  }
  const std::string* const present = find_reported(login, setting.name);
  return present && *present == setting.value;
}

}  // namespace

Result<ClientSettings> ClientSettings::read(const postgres::StartupMessage& startup) {
  ClientSettings settings;
  std::vector<postgres::Setting> wanted;
  for (const postgres::Parameter& parameter : startup.parameters) {
    const std::string name = to_lower(parameter.name);
    if (name == "user" || name == "database" || name.starts_with("_pq_.")) continue;
    if (name == "replication") {
      const std::string value = to_lower(parameter.value);
      if (value == "false" || value == "off" || value == "no" || value == "0") continue;
      return fail(Errc::denied, "replication connections are not served through this door");
    }
    if (name == "options") {
      MERIDIAN_TRY(const auto options, postgres::parse_options(parameter.value));
      wanted.insert(wanted.end(), options.begin(), options.end());
      continue;
    }
    wanted.push_back({.name = name, .value = std::string(parameter.value)});
  }
  for (postgres::Setting& setting : wanted) {
    if (setting.name == "application_name") {
      settings.application_name = setting.value;
    } else if (std::ranges::binary_search(allowed, setting.name)) {
      // The last one of a name counts.
      std::erase_if(settings.applied,
                    [&](const auto& earlier) { return earlier.name == setting.name; });
      settings.applied.push_back(std::move(setting));
    } else {
      settings.ignored.push_back(std::move(setting.name));
    }
  }
  return settings;
}

bool ClientSettings::trivial(const ReportedSettings& login) const {
  return std::ranges::all_of(applied,
                             [&](const auto& setting) { return is_trivial(setting, login); });
}

ReportedSettings ClientSettings::reported(const ReportedSettings& login) const {
  ReportedSettings told = login;
  (void)told.set("application_name", application_name);
  return told;
}

}  // namespace meridian
