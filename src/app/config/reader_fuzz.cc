// Any bytes as a configuration file: they are refused with a bounded text, or accepted as a Config
// whose printed form reads back as the same Config and differs from it in nothing.

#include "app/config/changes.h"
#include "app/config/print.h"
#include "app/config/reader.h"
#include "base/assert.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace {

// Problems::kept_max errors, of which each quotes at most a few texts of bounded size.
constexpr std::size_t error_size_max = std::size_t{64} << 10U;

void check_printed(const meridian::config::Config& config,
                   std::string_view text,
                   const meridian::config::Surroundings& surroundings) {
  const auto again = meridian::config::read_config(text, {}, surroundings);
  MERIDIAN_ASSERT(again);
  MERIDIAN_ASSERT(*again == config);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const meridian::config::Surroundings surroundings;
  const auto config = meridian::config::read_config(text, {}, surroundings);
  if (!config) {
    MERIDIAN_ASSERT(!config.error().detail().empty());
    MERIDIAN_ASSERT(config.error().detail().size() <= error_size_max);
    return 0;
  }
  const meridian::config::Config defaults = meridian::config::default_config(surroundings);
  check_printed(*config, meridian::config::to_yaml(*config), surroundings);
  check_printed(*config, meridian::config::to_yaml(*config, defaults), surroundings);
  MERIDIAN_ASSERT(meridian::config::changes_between(*config, *config).empty());
  MERIDIAN_ASSERT(meridian::config::changes_between(defaults, *config).empty() ==
                  (*config == defaults));
  return 0;
}
