#include "app/commands/command_line.h"

#include "app/config/reader.h"
#include "app/config/surroundings.h"
#include "app/config/units.h"

#include <cstdio>
#include <filesystem>

namespace meridian {
namespace {

config::Surroundings surroundings_of(const CommandLine& line) {
  config::Surroundings around = config::read_surroundings();
  if (!line.data.empty()) around.data = std::filesystem::absolute(line.data).lexically_normal();
  if (!line.config_file.empty()) {
    around.config_file = std::filesystem::absolute(line.config_file).lexically_normal();
  }
  return around;
}

}  // namespace

Result<std::string> CommandLine::config_file_in_use() const {
  const config::Surroundings around = surroundings_of(*this);
  if (!around.config_file.empty()) return around.config_file;
  const std::string folder = around.data.empty() ? around.data_default : around.data;
  const std::string own = (std::filesystem::path(folder) / "meridian.yaml").native();
  std::error_code ignored;
  return std::filesystem::exists(own, ignored) ? own : std::string();
}

Result<config::Config> CommandLine::read_config() const {
  MERIDIAN_TRY(const std::string file, config_file_in_use());
  const config::Surroundings around = surroundings_of(*this);
  if (file.empty()) return config::default_config(around);
  return config::load_config(file, around);
}

Result<std::string> CommandLine::data_folder() const {
  const config::Surroundings around = surroundings_of(*this);
  if (!around.data.empty()) return around.data;
  MERIDIAN_TRY(const config::Config config, read_config());
  return config.data;
}

int complain(const Error& error) {
  std::fprintf(stderr, "meridian: %s\n", error.detail().c_str());
  return error.code() == Errc::invalid ? 2 : 1;
}

Result<Duration> parse_duration_argument(std::string_view text) {
  const auto duration = config::parse_duration(text);
  if (!duration) return fail(Errc::invalid, duration.error());
  return *duration;
}

}  // namespace meridian
