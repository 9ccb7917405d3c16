#pragma once
// A YAML document as a tree in which everything knows its place in the file.
//
// The subset that a configuration needs: maps with text for keys, lists, and scalars as written.
// Refused: anchors, aliases and tags (they hide what is said, and let a small file grow without
// bound), duplicate keys, several documents, and what exceeds the bounds below. The parser is
// yaml-cpp; its exceptions end here.

#include "app/config/problems.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::config {

inline constexpr std::size_t config_bytes_max = 1 << 20;
inline constexpr std::size_t config_depth_max = 16;
inline constexpr std::size_t config_values_max = 50'000;

struct YamlNode {
  enum class Kind : std::uint8_t { nothing, scalar, list, map };
  struct Member;

  Kind kind = Kind::nothing;  // nothing: left empty, or ~, or null.
  Place place;
  std::string text;             // Of a scalar, without its quotes.
  std::vector<YamlNode> items;  // Of a list.
  std::vector<Member> members;  // Of a map, in the order of the file, keys unique.
};

struct YamlNode::Member {
  std::string key;
  Place place;  // Of the key.
  YamlNode value;
};

// Adds to `problems` and answers nothing when the text cannot be read at all. A duplicate key is a
// problem but reading goes on. An empty document is a node of kind `nothing`.
std::optional<YamlNode> read_yaml(std::string_view text, Problems& problems);

}  // namespace meridian::config
