#pragma once
// The kinds of values that settings have: how each is read, printed and described to people.
//
// A type is a small struct with
//   using Value                                   what the setting's field holds;
//   Parsed<Value> read(node, folder) const        half a sentence on what is wrong, and what is
//   right; std::string print(value) const                YAML on one line that reads back as the
//   same value;
//                                                 empty: the setting was not given;
//   std::string describe() const                  "duration, 1ms to 10s".
// `folder` is the absolute one that relative file names start from.

#include "app/config/problems.h"
#include "app/config/yaml_document.h"
#include "base/time.h"
#include "runtime/socket.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace meridian::config {

// The text of a scalar on one line; says what was found instead.
Parsed<std::string_view> read_scalar(const YamlNode& node);

// As YAML: plain where that reads back as the same text, else in double quotes.
std::string print_text(std::string_view text);

// What a text must be besides not empty. Says what is wrong, without the text.
using TextRule = Parsed<void> (*)(std::string_view text);

struct TextType {
  using Value = std::string;

  std::string_view what = "text";
  std::size_t size_max = 256;  // Bytes.
  TextRule rule = nullptr;
  bool lines = false;  // Several lines are fine.

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(const Value& value) const { return value.empty() ? "" : print_text(value); }
  std::string describe() const { return std::string(what); }
};

struct TextListType {
  using Value = std::vector<std::string>;

  TextType item;
  std::string_view what = "list of texts";
  std::size_t count_max = 256;

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(const Value& value) const;
  std::string describe() const { return std::string(what); }
};

// Names the user's own keys, such as claims, with a text each.
struct TextMapType {
  using Value = std::map<std::string, std::string>;

  std::string_view what = "map of texts";
  TextRule key_rule = nullptr;
  std::size_t count_max = 64;

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(const Value& value) const;
  std::string describe() const { return std::string(what); }
};

struct CountType {
  using Value = std::uint32_t;

  std::uint32_t min = 0;
  std::uint32_t max = 0;

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(Value value) const { return std::to_string(value); }
  std::string describe() const;
};

struct BytesType {
  using Value = std::uint64_t;

  std::uint64_t min = 0;
  std::uint64_t max = 0;

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(Value value) const;
  std::string describe() const;
};

struct DurationType {
  using Value = Duration;

  Duration min{};
  Duration max{};

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(Value value) const;
  std::string describe() const;
};

struct FlagType {
  using Value = bool;

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(Value value) const { return value ? "true" : "false"; }
  std::string describe() const { return "true or false"; }
};

struct DateType {
  using Value = std::chrono::sys_days;

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(Value value) const;
  std::string describe() const { return "date as in 2027-01-31"; }
};

// A file or folder; a relative name starts at the configuration file's folder. That it exists is
// not looked at here.
struct PathType {
  using Value = std::string;

  std::string_view what = "file";

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(const Value& value) const { return value.empty() ? "" : print_text(value); }
  std::string describe() const { return std::string(what); }
};

// One address, a list of them, or `off`, which is an empty list. Addresses are literal.
struct EndpointsType {
  using Value = std::vector<Endpoint>;

  static constexpr std::size_t count_max = 16;

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const;
  std::string print(const Value& value) const;
  std::string describe() const { return "host:port, unix:/path, a list of those, or off"; }
};

// A value, or a word that says that there is none.
template <class Type>
struct OptionalType {
  using Value = std::optional<typename Type::Value>;

  Type type;
  std::string_view none = "none";

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const {
    if (node.kind == YamlNode::Kind::scalar && node.text == none) return Value();
    auto value = type.read(node, folder);
    if (!value) return std::unexpected(value.error() + "; or write " + std::string(none));
    return Value(*std::move(value));
  }
  std::string print(const Value& value) const {
    return value ? type.print(*value) : std::string(none);
  }
  std::string describe() const { return type.describe() + ", or " + std::string(none); }
};

// A value that may be left out and then is decided elsewhere; there is no word for that.
template <class Type>
struct UnsetType {
  using Value = std::optional<typename Type::Value>;

  Type type;

  Parsed<Value> read(const YamlNode& node, std::string_view folder) const {
    auto value = type.read(node, folder);
    if (!value) return std::unexpected(std::move(value).error());
    return Value(*std::move(value));
  }
  std::string print(const Value& value) const { return value ? type.print(*value) : ""; }
  std::string describe() const { return type.describe(); }
};

// "door, database or off"; and what to say about a word that is none of them.
std::string list_choices(std::span<const std::string_view> names);
std::string no_choice(std::string_view text, std::span<const std::string_view> names);

// One of a few words. `words` lives as long as the program.
template <class Enum>
struct ChoiceType {
  using Value = Enum;
  using Word = std::pair<std::string_view, Enum>;

  std::span<const Word> words;

  Parsed<Value> read(const YamlNode& node, std::string_view /*folder*/) const {
    auto text = read_scalar(node);
    if (!text) return std::unexpected(std::move(text).error() + "; wanted: " + describe());
    for (const auto& [word, value] : words) {
      if (word == *text) return value;
    }
    return std::unexpected(no_choice(*text, names()));
  }
  std::string print(Value value) const {
    for (const auto& [word, each] : words) {
      if (each == value) return std::string(word);
    }
    return {};
  }
  std::string describe() const { return list_choices(names()); }

 private:
  std::vector<std::string_view> names() const {
    std::vector<std::string_view> names;
    for (const auto& [word, value] : words) {
      names.push_back(word);
    }
    return names;
  }
};

}  // namespace meridian::config
