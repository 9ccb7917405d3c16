#include "app/config/schema.h"

#include "base/assert.h"

#include <algorithm>
#include <cstddef>

namespace meridian::config {
namespace {

SchemaNode& child_of(SchemaNode& parent, std::string_view key) {
  for (SchemaNode& each : parent.children) {
    if (each.key == key) return each;
  }
  SchemaNode& made = parent.children.emplace_back();
  made.key = key;
  return made;
}

SchemaNode& entry_of(SchemaNode& parent) {
  if (!parent.entry) parent.entry = std::make_unique<SchemaNode>();
  return *parent.entry;
}

// The node of a path, made with those above it where they are not there.
SchemaNode& node_at(SchemaNode& root, std::string_view path) {
  SchemaNode* node = &root;
  while (!path.empty()) {
    const std::size_t dot = std::min(path.find('.'), path.size());
    std::string_view step = path.substr(0, dot);
    path.remove_prefix(std::min(dot + 1, path.size()));
    const bool list = step.ends_with("[]");
    if (list) step.remove_suffix(2);
    if (step != "*") node = &child_of(*node, step);
    if (step == "*" || list) node = &entry_of(*node);
  }
  return *node;
}

void add(SchemaNode& root, const Collection& collection) {
  // "roles.*" has its place at "roles", and "roles.*.bind[]" at "roles.*.bind".
  SchemaNode& node = node_at(root, collection.path.substr(0, collection.path.size() - 2));
  node.collection = &collection;
  node.documentation = collection.documentation;
  entry_of(node);
}

void add(SchemaNode& root, const Setting& setting) {
  SchemaNode& node = node_at(root, setting.path);
  MERIDIAN_ASSERT(!node.setting && !node.collection && node.children.empty());
  node.setting = &setting;
}

void add(SchemaNode& root, const Section& section) {
  node_at(root, section.path).documentation = section.documentation;
}

}  // namespace

const SchemaNode* SchemaNode::child(std::string_view name) const noexcept {
  const auto found = std::ranges::find(children, name, &SchemaNode::key);
  return found == children.end() ? nullptr : &*found;
}

std::vector<std::string_view> SchemaNode::child_keys() const {
  std::vector<std::string_view> keys;
  keys.reserve(children.size());
  for (const SchemaNode& each : children) {
    keys.push_back(each.key);
  }
  return keys;
}

const SchemaNode& schema() {
  static const SchemaNode root = [] {
    SchemaNode made;
    for (const SettingTable::Entry& entry : setting_table().entries()) {
      std::visit([&](const auto& each) { add(made, each); }, entry);
    }
    return made;
  }();
  return root;
}

}  // namespace meridian::config
