#pragma once
// What a node finds around it at the start, and the defaults that come from there.

#include "app/config/config.h"

#include <cstdint>
#include <string>

namespace meridian::config {

struct Surroundings {
  std::string host_name = "node";
  std::uint32_t cores_count = 1;
  std::string working_folder = "/";
  std::string data_default = "/var/lib/meridian";  // The data folder when nobody names one.
  std::string data;         // MERIDIAN_DATA, made absolute; it comes before the file.
  std::string config_file;  // MERIDIAN_CONFIG, made absolute. Empty: not set.

  friend bool operator==(const Surroundings&, const Surroundings&) = default;
};

// Of this process. Reads the environment and looks whether ./meridian-data exists.
Surroundings read_surroundings();

// Gives their values to the settings whose default is found out at the start.
void fill_defaults(Config& config, const Surroundings& surroundings);

}  // namespace meridian::config
