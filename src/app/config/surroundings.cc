#include "app/config/surroundings.h"

#include "app/config/rules.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <sched.h>
#include <system_error>
#include <unistd.h>

namespace meridian::config {
namespace {

constexpr std::uint32_t loops_max = 64;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it.
  return value ? value : "";
}

std::string absolute_or_empty(const std::string& working_folder, const std::string& path) {
  if (path.empty()) return {};
  return (std::filesystem::path(working_folder) / path).lexically_normal().string();
}

std::string find_host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "node";
  return check_node_name(name.data()) ? name.data() : "node";
}

// What this process may use, which a container may have cut.
std::uint32_t count_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (::sched_getaffinity(0, sizeof(cores), &cores) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&cores)));
}

std::string find_data_default(const std::string& working_folder) {
  if (::geteuid() == 0) return "/var/lib/meridian";
  std::string here = absolute_or_empty(working_folder, "meridian-data");
  std::error_code error;  // A folder that cannot be looked at is not there.
  const std::string home = environment("HOME");
  if (home.empty() || std::filesystem::is_directory(here, error)) return here;
  return absolute_or_empty(home, ".local/share/meridian");
}

}  // namespace

Surroundings read_surroundings() {
  std::error_code error;
  std::string working_folder = std::filesystem::current_path(error).string();
  if (error) working_folder = "/";
  return {.host_name = find_host_name(),
          .cores_count = count_cores(),
          .working_folder = working_folder,
          .data_default = find_data_default(working_folder),
          .data = absolute_or_empty(working_folder, environment("MERIDIAN_DATA")),
          .config_file = absolute_or_empty(working_folder, environment("MERIDIAN_CONFIG"))};
}

void fill_defaults(Config& config, const Surroundings& surroundings) {
  if (config.node.name.empty()) config.node.name = surroundings.host_name;
  if (config.node.loops == 0) {
    config.node.loops = std::clamp<std::uint32_t>(surroundings.cores_count, 1, loops_max);
  }
  if (!surroundings.data.empty()) config.data = surroundings.data;
  if (config.data.empty()) config.data = surroundings.data_default;
}

}  // namespace meridian::config
