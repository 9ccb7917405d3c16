#pragma once
// A configuration as text: what counts, as YAML that reads back as the same Config.

#include "app/config/config.h"

#include <string>
#include <string_view>

namespace meridian::config {

// Every setting that has a value: the effective configuration. No secret can be in it, because none
// is in a Config.
std::string to_yaml(const Config& config);

// Only what differs from `defaults`, which is what default_config() gave.
std::string to_yaml(const Config& config, const Config& defaults);

// For `meridian config check`: that the file is right, what it sets up in a few words, and what
// differs from the defaults.
std::string check_report(std::string_view file, const Config& config, const Config& defaults);

}  // namespace meridian::config
