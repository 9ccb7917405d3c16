#pragma once
// What must hold between settings: names that lead somewhere, listeners with the TLS that they
// need, views whose keys do not meet.

#include "app/config/config.h"
#include "app/config/problems.h"

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace meridian::config {

// Where the settings and entries that the file has stand in it, by path.
class Places {
 public:
  void add(std::string path, Place place) { places_.emplace(std::move(path), place); }

  // Of the setting, or of the innermost entry or section around it that the file has.
  Place find(std::string_view path) const;

 private:
  std::map<std::string, Place, std::less<>> places_;
};

void check_config(const Config& config, const Places& places, Problems& problems);

}  // namespace meridian::config
