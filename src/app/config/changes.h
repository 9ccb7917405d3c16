#pragma once
// What a reloaded configuration changes, and what of it counts without a restart.

#include "app/config/config.h"
#include "app/config/settings.h"

#include <string>
#include <vector>

namespace meridian::config {

struct Change {
  std::string path;    // Of a setting, or of a whole entry that came or went: "roles.checkout".
  std::string before;  // As YAML; empty: was not set, or the entry was not there.
  std::string after;   // The same for the new configuration.
  Applies applies = Applies::at_once;

  friend bool operator==(const Change&, const Change&) = default;
};

// What went first, then the rest in the order of the documentation. An entry that came or went is
// one change, with "(entry)" as its value.
std::vector<Change> changes_between(const Config& before, const Config& after);

// For the log: "roles.checkout.postgres.visits_max: 100 -> 200 (at once)".
std::string to_text(const Change& change);

}  // namespace meridian::config
