// Defaults that are found out at the start fill what the file left open, and nothing else.

#include "app/config/surroundings.h"

#include "app/config/rules.h"

#include <gtest/gtest.h>

namespace meridian::config {
namespace {

TEST(Surroundings, FillWhatIsOpen) {
  Config config;
  fill_defaults(config,
                {.host_name = "h",
                 .cores_count = 200,
                 .working_folder = "/",
                 .data_default = "/d",
                 .data = {},
                 .config_file = {}});
  EXPECT_EQ(config.node.name, "h");
  EXPECT_EQ(config.node.loops, 64U) << "bounded";
  EXPECT_EQ(config.data, "/d");
}

TEST(Surroundings, LeaveWhatIsSaid) {
  Config config;
  config.node.name = "n";
  config.node.loops = 2;
  config.data = "/x";
  fill_defaults(config, {});
  EXPECT_EQ(config.node.name, "n");
  EXPECT_EQ(config.node.loops, 2U);
  EXPECT_EQ(config.data, "/x");
}

TEST(Surroundings, OfThisProcessAreUsable) {
  const Surroundings found = read_surroundings();
  EXPECT_TRUE(check_node_name(found.host_name)) << found.host_name;
  EXPECT_GE(found.cores_count, 1U);
  EXPECT_TRUE(found.working_folder.starts_with('/'));
  EXPECT_TRUE(found.data_default.starts_with('/'));
}

}  // namespace
}  // namespace meridian::config
