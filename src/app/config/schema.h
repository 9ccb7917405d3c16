#pragma once
// The setting table as the tree that a configuration file is: which keys belong where.

#include "app/config/settings.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::config {

// One key of the file, or the root. It has either a setting (a value stands here), or a collection
// (entries stand here, each shaped like `entry`), or children (a section).
struct SchemaNode {
  std::string_view key;
  std::string_view documentation;  // Of a section or collection.
  const Setting* setting = nullptr;
  const Collection* collection = nullptr;
  std::unique_ptr<SchemaNode> entry;  // Of the collection.
  std::vector<SchemaNode> children;   // In the order of the table.

  bool is_list() const noexcept { return collection && collection->path.ends_with("[]"); }

  // Null: there is no such key.
  const SchemaNode* child(std::string_view name) const noexcept;
  std::vector<std::string_view> child_keys() const;
};

// The root of the tree of setting_table(). Any thread.
const SchemaNode& schema();

}  // namespace meridian::config
