#include "app/config/changes.h"

#include "app/config/schema.h"

#include <cstddef>
#include <map>
#include <string_view>
#include <utility>

namespace meridian::config {
namespace {

constexpr std::string_view whole_entry = "(entry)";

struct Line {
  std::string path;
  std::string value;
  Applies applies = Applies::at_once;
};

// Whether an entry of a collection may come and go without a restart: when all that is in it may
// change without one.
Applies applies_of(const SchemaNode& node) {
  if (node.setting) return node.setting->text.applies;
  const SchemaNode& section = node.entry ? *node.entry : node;
  for (const SchemaNode& child : section.children) {
    if (applies_of(child) == Applies::after_restart) return Applies::after_restart;
  }
  return Applies::at_once;
}

// One line for each setting that has a value, and one for each entry, in front of its settings.
void flatten(const SchemaNode& section,
             ConstOwner owner,
             const std::string& path,
             std::vector<Line>& lines) {
  for (const SchemaNode& node : section.children) {
    const std::string node_path = path_of_key(path, node.key);
    if (node.setting) {
      std::string value = node.setting->print(owner);
      if (value.empty()) continue;
      lines.push_back({node_path, std::move(value), node.setting->text.applies});
    } else if (node.collection) {
      std::size_t index = 0;
      node.collection->each(owner, [&](std::string_view name, ConstOwner entry) {
        const std::string entry_path =
            node.is_list() ? path_of_item(node_path, index++) : path_of_key(node_path, name);
        lines.push_back({entry_path, std::string(whole_entry), applies_of(node)});
        flatten(*node.entry, entry, entry_path, lines);
      });
    } else {
      flatten(node, owner, node_path, lines);
    }
  }
}

std::vector<Line> flatten(const Config& config) {
  std::vector<Line> lines;
  flatten(schema(), &config, {}, lines);
  return lines;
}

using ByPath = std::map<std::string_view, const Line*>;

ByPath by_path(const std::vector<Line>& lines) {
  ByPath found;
  for (const Line& line : lines) {
    found.emplace(line.path, &line);
  }
  return found;
}

// Whether `path` lies in the entry of which `changes` has said last that it came or went.
bool inside_last_entry(const std::vector<Change>& changes, std::string_view path) {
  if (changes.empty()) return false;
  const Change& last = changes.back();
  if (last.before != whole_entry && last.after != whole_entry) return false;
  return path.size() > last.path.size() && path.starts_with(last.path) &&
         (path[last.path.size()] == '.' || path[last.path.size()] == '[');
}

}  // namespace

std::vector<Change> changes_between(const Config& before, const Config& after) {
  const std::vector<Line> before_lines = flatten(before);
  const std::vector<Line> after_lines = flatten(after);
  const ByPath known_before = by_path(before_lines);
  const ByPath known_after = by_path(after_lines);
  std::vector<Change> changes;
  for (const Line& line : before_lines) {
    if (known_after.contains(line.path) || inside_last_entry(changes, line.path)) continue;
    changes.push_back({line.path, line.value, {}, line.applies});
  }
  for (const Line& line : after_lines) {
    const auto old = known_before.find(line.path);
    if (old == known_before.end()) {
      if (inside_last_entry(changes, line.path)) continue;
      changes.push_back({line.path, {}, line.value, line.applies});
    } else if (old->second->value != line.value) {
      changes.push_back({line.path, old->second->value, line.value, line.applies});
    }
  }
  return changes;
}

std::string to_text(const Change& change) {
  const auto shown = [](const std::string& value) { return value.empty() ? "(not set)" : value; };
  return change.path + ": " + shown(change.before) + " -> " + shown(change.after) +
         (change.applies == Applies::at_once ? " (at once)" : " (after a restart)");
}

}  // namespace meridian::config
