// The pages in docs/ are those that the table gives, and the files that people start from are
// valid.

#include "app/config/documentation.h"

#include "app/config/reader.h"
#include "app/config/settings.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

namespace meridian::config {
namespace {

std::string text_of(const std::string& name) {
  std::ifstream stream(std::string(MERIDIAN_SOURCE_DIR) + "/" + name, std::ios::binary);
  EXPECT_TRUE(stream) << name << " is not there; run script/docs";
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// The example with every setting in force: a # goes where no space follows it.
std::string in_force(const std::string& example) {
  std::string text;
  bool at_start = true;
  for (std::size_t i = 0; i < example.size(); ++i) {
    const char c = example[i];
    const bool setting = c == '#' && at_start && i + 1 < example.size() && example[i + 1] != ' ';
    if (!setting) text += c;
    at_start = c == '\n' || (at_start && c == ' ');
  }
  return text;
}

TEST(Documentation, TheReferenceIsUpToDate) {
  EXPECT_TRUE(text_of("docs/configuration.md") == reference_page())
      << "docs/configuration.md is not what the table of settings says; run script/docs";
}

TEST(Documentation, TheExampleIsUpToDate) {
  EXPECT_TRUE(text_of("docs/meridian.example.yaml") == example_file())
      << "docs/meridian.example.yaml is not what the table of settings says; run script/docs";
}

TEST(Documentation, EverySettingIsOnBothPages) {
  const std::string page = reference_page();
  const std::string example = example_file();
  for (const SettingTable::Entry& entry : setting_table().entries()) {
    const Setting* setting = std::get_if<Setting>(&entry);
    if (!setting) continue;
    const std::string path(setting->path);
    EXPECT_TRUE(page.contains("# `" + path + "`\n")) << path;
    const std::string key = path.substr(path.rfind('.') + 1);
    EXPECT_TRUE(example.contains("#" + key + ": ") || example.contains("#- " + key + ": ")) << path;
  }
}

TEST(Documentation, TheExampleSetsNothing) {
  const auto config = read_config(example_file(), {}, {});
  ASSERT_TRUE(config) << config.error().detail();
  EXPECT_EQ(*config, default_config({}));
}

TEST(Documentation, TheExampleInForceIsValid) {
  const auto config = read_config(in_force(example_file()), {}, {});
  ASSERT_TRUE(config) << config.error().detail() << "\n" << in_force(example_file());
  EXPECT_EQ(config->issuers.count("k8s"), 1U);
  ASSERT_EQ(config->roles.count("checkout"), 1U);
  EXPECT_EQ(config->roles.at("checkout").bind.size(), 1U);
  EXPECT_EQ(config->exchange.bind.size(), 1U);
  EXPECT_EQ(config->views.at("order").as, "checkout");
  EXPECT_FALSE(config->timeline.url.empty());
}

TEST(Documentation, TheStarterLetsOneDeveloperInAndNobodyElse) {
  const auto config = read_config(starter_file(), {}, {});
  ASSERT_TRUE(config) << config.error().detail();
  ASSERT_EQ(config->roles.size(), 1U);
  const RoleConfig& developer = config->roles.at("developer");
  ASSERT_EQ(developer.bind.size(), 1U);
  EXPECT_EQ(developer.bind[0].issuer, own_issuer_name);
  EXPECT_EQ(developer.bind[0].subject, "developer");
  EXPECT_TRUE(developer.redis.commands.empty());
  EXPECT_TRUE(config->issuers.empty());
  for (const auto* endpoints :
       {&config->listen.postgres, &config->listen.redis, &config->listen.http}) {
    for (const Endpoint& endpoint : *endpoints) {
      EXPECT_TRUE(endpoint.is_local()) << endpoint.to_string();
    }
  }
}

}  // namespace
}  // namespace meridian::config
