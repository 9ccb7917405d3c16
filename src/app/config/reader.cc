#include "app/config/reader.h"

#include "app/config/bounded_file.h"
#include "app/config/checks.h"
#include "app/config/problems.h"
#include "app/config/schema.h"
#include "app/config/spelling.h"
#include "app/config/yaml_document.h"
#include "base/escape.h"

#include <algorithm>
#include <filesystem>
#include <span>
#include <utility>

namespace meridian::config {
namespace {

// Walks the document and the schema side by side.
class ConfigReader {
 public:
  ConfigReader(std::string_view folder, Places& places, Problems& problems)
      : folder_(folder), places_(places), problems_(problems) {}

  void read(const SchemaNode& schema_node,
            const YamlNode& yaml,
            const std::string& path,
            Owner owner) {
    if (schema_node.setting) {
      read_setting(*schema_node.setting, yaml, path, owner);
    } else if (schema_node.is_list()) {
      read_list(schema_node, yaml, path, owner);
    } else if (schema_node.collection) {
      read_map(schema_node, yaml, path, owner);
    } else {
      read_section(schema_node, yaml, path, owner);
    }
  }

 private:
  void read_setting(const Setting& setting,
                    const YamlNode& yaml,
                    const std::string& path,
                    Owner owner) {
    auto read = setting.read(owner, yaml, folder_);
    if (!read) problems_.add(yaml.place, path, std::move(read).error());
  }

  void read_section(const SchemaNode& section,
                    const YamlNode& yaml,
                    const std::string& path,
                    Owner owner) {
    if (yaml.kind == YamlNode::Kind::nothing) return;  // All of it is commented out.
    const std::vector<std::string_view> keys = section.child_keys();
    if (yaml.kind != YamlNode::Kind::map) {
      problems_.add(yaml.place,
                    path,
                    "settings stand here, one `key: value` a line: " + list_words(keys, " or "));
      return;
    }
    for (const YamlNode::Member& member : yaml.members) {
      const std::string member_path = path_of_key(path, member.key);
      const SchemaNode* const child = section.child(member.key);
      if (!child) {
        problems_.add(
            member.place, member_path, "there is no such setting" + hint(member.key, keys));
        continue;
      }
      places_.add(member_path, member.value.place);
      read(*child, member.value, member_path, owner);
    }
  }

  static std::string hint(std::string_view key, std::span<const std::string_view> keys) {
    const std::string_view first = key.substr(0, key.find('.'));
    if (first.size() < key.size() && std::ranges::find(keys, first) != keys.end()) {
      return "; keys stand below each other: write " + quote(key.substr(first.size() + 1), 64) +
             " below " + quote(first);
    }
    return " (here: " + list_words(keys, " and ") + ")" + did_you_mean(key, keys);
  }

  void read_map(const SchemaNode& node,
                const YamlNode& yaml,
                const std::string& path,
                Owner owner) {
    const Collection& collection = *node.collection;
    if (yaml.kind == YamlNode::Kind::nothing) return;
    if (yaml.kind != YamlNode::Kind::map) {
      problems_.add(yaml.place,
                    path,
                    "names of your own stand here, each with its settings below, as in " +
                        std::string(collection.example_name) + ":");
      return;
    }
    if (!check_count(collection, yaml.members.size(), yaml, path)) return;
    for (const YamlNode::Member& member : yaml.members) {
      const std::string entry_path = path_of_key(path, member.key);
      if (auto checked = collection.name_rule(member.key); !checked) {
        problems_.add(member.place, path, std::move(checked).error());
        continue;
      }
      places_.add(entry_path, member.place);
      read_entry(node, member.value, member.place, entry_path, collection.add(owner, member.key));
    }
  }

  void read_list(const SchemaNode& node,
                 const YamlNode& yaml,
                 const std::string& path,
                 Owner owner) {
    const Collection& collection = *node.collection;
    if (yaml.kind == YamlNode::Kind::nothing) return;
    if (yaml.kind != YamlNode::Kind::list) {
      problems_.add(yaml.place, path, "a list stands here: each entry begins with - on its line");
      return;
    }
    if (!check_count(collection, yaml.items.size(), yaml, path)) return;
    for (std::size_t i = 0; i < yaml.items.size(); ++i) {
      const std::string entry_path = path_of_item(path, i);
      const YamlNode& item = yaml.items[i];
      places_.add(entry_path, item.place);
      read_entry(node, item, item.place, entry_path, collection.add(owner, {}));
    }
  }

  bool check_count(const Collection& collection,
                   std::size_t count,
                   const YamlNode& yaml,
                   const std::string& path) {
    if (count <= collection.count_max) return true;
    problems_.add(
        yaml.place,
        path,
        std::to_string(count) + " entries; at most " + std::to_string(collection.count_max));
    return false;
  }

  void read_entry(const SchemaNode& node,
                  const YamlNode& yaml,
                  Place place,
                  const std::string& path,
                  Owner entry) {
    read_section(*node.entry, yaml, path, entry);
    for (const SchemaNode& child : node.entry->children) {
      if (!child.setting || !child.setting->text.required) continue;
      if (!has_member(yaml, child.key)) {
        problems_.add(place,
                      path,
                      "needs " + quote(child.key) + ", as in " + std::string(child.key) + ": " +
                          std::string(child.setting->text.example));
      }
    }
  }

  static bool has_member(const YamlNode& yaml, std::string_view key) {
    return std::ranges::find(yaml.members, key, &YamlNode::Member::key) != yaml.members.end();
  }

  std::string_view folder_;
  Places& places_;
  Problems& problems_;
};

}  // namespace

Result<Config> read_config(std::string_view text,
                           const ConfigSource& source,
                           const Surroundings& surroundings) {
  Problems problems;
  Config config;
  if (const auto document = read_yaml(text, problems)) {
    Places places;
    ConfigReader(source.folder, places, problems).read(schema(), *document, {}, &config);
    fill_defaults(config, surroundings);
    check_config(config, places, problems);
  }
  if (!problems.empty()) return fail(Errc::invalid, problems.to_text(source.name));
  return config;
}

Result<Config> load_config(const std::string& file, const Surroundings& surroundings) {
  MERIDIAN_TRY(const std::string text,
               read_bounded_file(file, config_bytes_max, "the configuration"));
  const std::filesystem::path path =
      (std::filesystem::path(surroundings.working_folder) / file).lexically_normal();
  return read_config(text, {.name = file, .folder = path.parent_path().string()}, surroundings);
}

Config default_config(const Surroundings& surroundings) {
  Config config;
  fill_defaults(config, surroundings);
  return config;
}

}  // namespace meridian::config
