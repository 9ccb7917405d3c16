#pragma once
// Every setting there is, in one table: its path in the file, its type, its documentation, and the
// field of Config that it fills.
//
// The table is the one source: reading, unknown keys, printing, the differences between two
// configurations and docs/configuration.md all come from it. To add a setting, add its field with
// its default to config.h and its entry to one of settings_*.cc; nothing else.
//
// A path is made of keys, `*` (any name of the user's own, as in roles.*) and `[]` (each entry of a
// list, as in bind[]).

#include "app/config/config.h"
#include "app/config/problems.h"
#include "app/config/value_types.h"
#include "app/config/yaml_document.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace meridian::config {

// The struct that a setting is a field of: the whole configuration, or one entry of a collection.
using Owner = std::variant<Config*,
                           IssuerConfig*,
                           ExchangeBindingConfig*,
                           RoleConfig*,
                           BindingConfig*,
                           ViewConfig*,
                           PublishConfig*,
                           IngestConfig*>;
using ConstOwner = std::variant<const Config*,
                                const IssuerConfig*,
                                const ExchangeBindingConfig*,
                                const RoleConfig*,
                                const BindingConfig*,
                                const ViewConfig*,
                                const PublishConfig*,
                                const IngestConfig*>;

// When a changed value counts after SIGHUP.
enum class Applies : std::uint8_t { at_once, after_restart };

struct SettingText {
  std::string_view documentation;  // Sentences. Says what the value does and when to change it.
  std::string_view example;        // YAML on one line.
  Applies applies = Applies::after_restart;
  bool required = false;            // In each entry of its collection.
  std::string_view default_text{};  // For people, where the default is found out at the start.
};

struct Setting {
  std::string_view path;
  SettingText text;
  std::string type;
  std::string default_value;  // YAML; empty: not set.
  std::function<Parsed<void>(Owner, const YamlNode&, std::string_view folder)> read;
  std::function<std::string(ConstOwner)> print;  // As the type's print().
};

// A map of named entries ("roles.*") or a list of them ("roles.*.bind[]").
struct Collection {
  using Visit = std::function<void(std::string_view name, ConstOwner entry)>;

  std::string_view path;
  std::string_view documentation;
  std::string_view example_name{};  // Of a map's entry.
  std::size_t count_max = 0;
  TextRule name_rule = nullptr;                              // Of a map's names.
  std::function<Owner(Owner, std::string_view name)> add{};  // The name is empty for a list.
  std::function<void(ConstOwner, const Visit&)> each{};
};

// A heading: the keys of a map that is always there, such as `listen`.
struct Section {
  std::string_view path;
  std::string_view documentation;
};

class SettingTable {
 public:
  using Entry = std::variant<Section, Collection, Setting>;

  void section(std::string_view path, std::string_view documentation) {
    entries_.push_back(Section{.path = path, .documentation = documentation});
  }

  // `field` gives the field of an Owner, const or not.
  template <class OwnerStruct, class Field, class Type>
  void setting(std::string_view path, Field field, Type type, SettingText text) {
    entries_.push_back(Setting{
        .path = path,
        .text = text,
        .type = type.describe(),
        .default_value = type.print(field(default_of<OwnerStruct>())),
        .read = [field, type](
                    Owner owner, const YamlNode& node, std::string_view folder) -> Parsed<void> {
          auto value = type.read(node, folder);
          if (!value) return std::unexpected(std::move(value).error());
          field(*std::get<OwnerStruct*>(owner)) = *std::move(value);
          return {};
        },
        .print =
            [field, type](ConstOwner owner) {
              return type.print(field(*std::get<const OwnerStruct*>(owner)));
            }});
  }

  // `entries` gives the map of an Owner.
  template <class OwnerStruct, class EntryStruct, class Entries>
  void map_of(Collection collection, Entries entries) {
    collection.add = [entries](Owner owner, std::string_view name) -> Owner {
      return &entries(*std::get<OwnerStruct*>(owner))[std::string(name)];
    };
    collection.each = [entries](ConstOwner owner, const Collection::Visit& visit) {
      for (const auto& [name, entry] : entries(*std::get<const OwnerStruct*>(owner))) {
        visit(name, static_cast<const EntryStruct*>(&entry));
      }
    };
    entries_.push_back(std::move(collection));
  }

  // `entries` gives the vector of an Owner. An entry stays where it is until the next is added.
  template <class OwnerStruct, class EntryStruct, class Entries>
  void list_of(Collection collection, Entries entries) {
    collection.add = [entries](Owner owner, std::string_view /*name*/) -> Owner {
      return &entries(*std::get<OwnerStruct*>(owner)).emplace_back();
    };
    collection.each = [entries](ConstOwner owner, const Collection::Visit& visit) {
      for (const auto& entry : entries(*std::get<const OwnerStruct*>(owner))) {
        visit({}, static_cast<const EntryStruct*>(&entry));
      }
    };
    entries_.push_back(std::move(collection));
  }

  // In the order of the documentation.
  const std::vector<Entry>& entries() const noexcept { return entries_; }

 private:
  template <class OwnerStruct>
  static const OwnerStruct& default_of() {
    static const OwnerStruct defaults{};
    return defaults;
  }

  std::vector<Entry> entries_;
};

// Any thread.
const SettingTable& setting_table();

// The parts of the table, each in a file of its own.
void add_node_settings(SettingTable& table);
void add_timeline_settings(SettingTable& table);
void add_identity_settings(SettingTable& table);
void add_role_settings(SettingTable& table);
void add_view_settings(SettingTable& table);
void add_publish_settings(SettingTable& table);
void add_ingest_settings(SettingTable& table);

}  // namespace meridian::config
