// The table of settings is sound: every entry is documented, its example and its default are values
// that it accepts, and every field of Config is filled by one.

#include "app/config/settings.h"

#include "app/config/schema.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace meridian::config {
namespace {

template <class Kind>
std::vector<const Kind*> all_of_kind() {
  std::vector<const Kind*> found;
  for (const SettingTable::Entry& entry : setting_table().entries()) {
    if (const Kind* each = std::get_if<Kind>(&entry)) found.push_back(each);
  }
  return found;
}

// An owner of the kind that a path's settings have.
struct Owners {
  Config config;
  IssuerConfig issuer;
  ExchangeBindingConfig exchange_binding;
  RoleConfig role;
  BindingConfig binding;
  ViewConfig view;
  PublishConfig publish;
  IngestConfig ingest;

  Owner of(std::string_view path) {
    if (path.starts_with("issuers.*")) return &issuer;
    if (path.starts_with("exchange.bind[]")) return &exchange_binding;
    if (path.starts_with("roles.*.bind[]")) return &binding;
    if (path.starts_with("roles.*")) return &role;
    if (path.starts_with("views.*")) return &view;
    if (path.starts_with("publish.*")) return &publish;
    if (path.starts_with("ingest.*")) return &ingest;
    return &config;
  }
};

ConstOwner to_const(Owner owner) {
  return std::visit([](const auto* each) -> ConstOwner { return each; }, owner);
}

YamlNode value_of(std::string_view yaml) {
  Problems problems;
  auto document = read_yaml("x: " + std::string(yaml) + "\n", problems);
  EXPECT_TRUE(problems.empty()) << yaml << ": " << problems.to_text("x");
  return document && document->members.size() == 1 ? document->members[0].value : YamlNode();
}

TEST(Settings, EveryEntryIsDocumentedInSentences) {
  std::set<std::string_view> paths;
  for (const Setting* setting : all_of_kind<Setting>()) {
    EXPECT_TRUE(paths.insert(setting->path).second) << setting->path << " is there twice";
    EXPECT_TRUE(setting->text.documentation.ends_with('.')) << setting->path;
    EXPECT_FALSE(setting->text.example.empty()) << setting->path;
    EXPECT_FALSE(setting->type.empty()) << setting->path;
  }
  for (const Section* section : all_of_kind<Section>()) {
    EXPECT_TRUE(section->documentation.ends_with('.')) << section->path;
  }
  for (const Collection* collection : all_of_kind<Collection>()) {
    EXPECT_TRUE(collection->documentation.ends_with('.')) << collection->path;
    EXPECT_GT(collection->count_max, 0U) << collection->path;
  }
}

TEST(Settings, EverySectionHasAHeadingAndEveryHeadingSettings) {
  const auto check = [](auto self, const SchemaNode& node, const std::string& path) -> void {
    for (const SchemaNode& child : node.children) {
      const std::string child_path = path_of_key(path, child.key);
      if (child.setting) continue;
      EXPECT_FALSE(child.documentation.empty()) << child_path << " has no heading";
      const SchemaNode& inner = child.entry ? *child.entry : child;
      EXPECT_FALSE(inner.children.empty()) << child_path << " has nothing in it";
      self(self, inner, child_path);
    }
  };
  check(check, schema(), "");
}

TEST(Settings, EveryExampleIsAcceptedAndPrintsAsItself) {
  for (const Setting* setting : all_of_kind<Setting>()) {
    Owners owners;
    const Owner owner = owners.of(setting->path);
    const auto read = setting->read(owner, value_of(setting->text.example), "/etc/meridian");
    ASSERT_TRUE(read) << setting->path << " " << read.error();
    const std::string printed = setting->print(to_const(owner));
    EXPECT_FALSE(printed.empty()) << setting->path;

    Owners again;
    const Owner other = again.of(setting->path);
    ASSERT_TRUE(setting->read(other, value_of(printed), "/elsewhere")) << setting->path;
    EXPECT_EQ(setting->print(to_const(other)), printed) << setting->path;
  }
}

TEST(Settings, EveryDefaultIsAccepted) {
  for (const Setting* setting : all_of_kind<Setting>()) {
    if (setting->default_value.empty() || !setting->text.default_text.empty()) continue;
    Owners owners;
    const Owner owner = owners.of(setting->path);
    const auto read = setting->read(owner, value_of(setting->default_value), "/etc/meridian");
    ASSERT_TRUE(read) << setting->path << " " << read.error();
    EXPECT_EQ(setting->print(to_const(owner)), setting->default_value) << setting->path;
  }
}

// Two settings of one owner that fill the same field would change each other's print.
TEST(Settings, EverySettingFillsAFieldOfItsOwn) {
  const auto settings = all_of_kind<Setting>();
  for (const Setting* setting : settings) {
    Owners owners;
    const Owner owner = owners.of(setting->path);
    if (value_of(setting->text.example).text == setting->default_value) continue;
    ASSERT_TRUE(setting->read(owner, value_of(setting->text.example), "/etc/meridian"));
    for (const Setting* other : settings) {
      if (other == setting || owners.of(other->path) != owner) continue;
      EXPECT_EQ(other->print(to_const(owner)), other->default_value)
          << setting->path << " fills the field of " << other->path;
    }
  }
}

TEST(Settings, ANullIsNoValueOfAnySetting) {
  for (const Setting* setting : all_of_kind<Setting>()) {
    Owners owners;
    EXPECT_FALSE(setting->read(owners.of(setting->path), YamlNode(), "/")) << setting->path;
  }
}

}  // namespace
}  // namespace meridian::config
