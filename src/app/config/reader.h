#pragma once
// From the text of a configuration file to a Config, or to all that is wrong with it.
//
// Strict: a key that the table does not have, a number without its unit, a name that nothing is
// called by, are errors. Every error has its place, says what is allowed, and what was probably
// meant. Nothing is opened but the file itself: that the files it names exist is for those who use
// them to say.

#include "app/config/config.h"
#include "app/config/surroundings.h"
#include "base/result.h"

#include <string>
#include <string_view>

namespace meridian::config {

struct ConfigSource {
  std::string name = "meridian.yaml";  // In front of every error.
  std::string folder = "/";            // Absolute; relative file names start there.
};

// Errors: invalid; one line for each thing that is wrong (at most Problems::kept_max).
Result<Config> read_config(std::string_view text,
                           const ConfigSource& source,
                           const Surroundings& surroundings);

// Reads a file of at most config_bytes_max. Blocks. Errors: as above; not_found, denied and
// unavailable with the system's reason.
Result<Config> load_config(const std::string& file, const Surroundings& surroundings);

// What no file at all means.
Config default_config(const Surroundings& surroundings);

}  // namespace meridian::config
