#include "app/config/value_types.h"

#include "app/config/spelling.h"
#include "app/config/units.h"
#include "base/escape.h"
#include "base/number.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <filesystem>
#include <netinet/in.h>

namespace meridian::config {
namespace {

std::string_view name_of(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::nothing:
      return "nothing";
    case YamlNode::Kind::scalar:
      return "a value";
    case YamlNode::Kind::list:
      return "a list";
    case YamlNode::Kind::map:
      return "a map";
  }
  return "nothing";
}

std::unexpected<std::string> expected_here(std::string_view what, const YamlNode& found) {
  if (found.kind == YamlNode::Kind::nothing) {
    return std::unexpected("has no value; leave the line out, or give one: " + std::string(what));
  }
  return std::unexpected("is " + std::string(name_of(found.kind)) +
                         "; wanted: " + std::string(what));
}

bool has_control(std::string_view text, bool lines) {
  return std::ranges::any_of(text, [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    if (lines && (c == '\n' || c == '\t')) return false;
    return byte < 0x20 || byte == 0x7F;
  });
}

// A text that YAML reads as itself without quotes, inside and outside of [] and {}.
bool is_plain(std::string_view text) {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '/' || c == '.';
  };
  constexpr std::array<std::string_view, 4> nothing{"null", "Null", "NULL", "~"};
  return !text.empty() && is_word(text.front()) && is_word(text.back()) &&
         std::ranges::find(nothing, text) == nothing.end() &&
         std::ranges::all_of(text, [&](char c) {
           return is_word(c) || c == '-' || c == ':' || c == '@' || c == '+';
         });
}

template <class Value, class Parse>
Parsed<Value> read_unit(const YamlNode& node, std::string_view what, Parse parse) {
  if (node.kind != YamlNode::Kind::scalar) return expected_here(what, node);
  return parse(node.text);
}

template <class Value, class Print>
Parsed<Value> in_range(
    Value value, std::string_view text, const Value& min, const Value& max, Print print) {
  if (value < min) return std::unexpected(quote(text) + " is too little; at least " + print(min));
  if (value > max) return std::unexpected(quote(text) + " is too much; at most " + print(max));
  return value;
}

bool is_literal_address(const std::string& host) {
  in6_addr six{};
  in_addr four{};
  return ::inet_pton(AF_INET, host.c_str(), &four) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &six) == 1;
}

Parsed<Endpoint> read_endpoint(const YamlNode& node) {
  auto text = read_scalar(node);
  if (!text) return std::unexpected(std::move(text).error());
  auto endpoint = Endpoint::parse(*text);
  if (!endpoint) {
    std::string hint;
    if (parse_number<std::uint16_t>(*text)) {
      hint = "; write 127.0.0.1:" + std::string(*text);
    } else if (!text->contains(':')) {
      hint = "; write off for none";
    }
    return std::unexpected(endpoint.error().detail() + hint);
  }
  if (endpoint->is_unix()) {
    constexpr std::size_t path_size_max = 107;  // sun_path of unix(7), and its NUL.
    if (!endpoint->path.starts_with('/')) {
      return std::unexpected(quote(*text) + " is a relative path; a socket's path begins with /");
    }
    if (endpoint->path.size() > path_size_max) {
      return std::unexpected(quote(*text) + " is a path of " +
                             std::to_string(endpoint->path.size()) + " bytes; the system allows " +
                             std::to_string(path_size_max));
    }
  } else if (!is_literal_address(endpoint->host)) {
    return std::unexpected(quote(*text) +
                           " names a host; a door listens on a literal address: 127.0.0.1 for this "
                           "machine alone, 0.0.0.0 for all addresses");
  }
  return *std::move(endpoint);
}

}  // namespace

Parsed<std::string_view> read_scalar(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar) return expected_here("one value", node);
  if (has_control(node.text, false)) {
    return std::unexpected(quote(node.text) + " has a line break or a control character in it");
  }
  return std::string_view(node.text);
}

std::string print_text(std::string_view text) {
  return is_plain(text) ? std::string(text) : to_json_string(text);
}

Parsed<std::string> TextType::read(const YamlNode& node, std::string_view /*folder*/) const {
  if (node.kind != YamlNode::Kind::scalar) return expected_here(what, node);
  if (node.text.empty()) {
    return std::unexpected("is empty; leave it out, or give one: " + std::string(what));
  }
  if (node.text.size() > size_max) {
    return std::unexpected("has " + std::to_string(node.text.size()) + " bytes; at most " +
                           std::to_string(size_max));
  }
  if (has_control(node.text, lines)) {
    return std::unexpected(quote(node.text) + " has a line break or a control character in it");
  }
  if (rule) {
    if (auto checked = rule(node.text); !checked) {
      return std::unexpected(std::move(checked).error());
    }
  }
  return node.text;
}

Parsed<std::vector<std::string>> TextListType::read(const YamlNode& node,
                                                    std::string_view folder) const {
  if (node.kind == YamlNode::Kind::scalar) {
    return std::unexpected("is one value; a list stands in brackets: [" + print_text(node.text) +
                           "]");
  }
  if (node.kind != YamlNode::Kind::list) return expected_here(what, node);
  if (node.items.size() > count_max) {
    return std::unexpected("has " + std::to_string(node.items.size()) + " entries; at most " +
                           std::to_string(count_max));
  }
  Value texts;
  for (const YamlNode& each : node.items) {
    auto text = item.read(each, folder);
    if (!text) {
      return std::unexpected("entry " + std::to_string(texts.size() + 1) + " " +
                             std::move(text).error());
    }
    texts.push_back(*std::move(text));
  }
  return texts;
}

std::string TextListType::print(const Value& value) const {
  std::string text = "[";
  for (const std::string& each : value) {
    text += (text.size() > 1 ? ", " : "") + print_text(each);
  }
  return text + "]";
}

Parsed<std::map<std::string, std::string>> TextMapType::read(const YamlNode& node,
                                                             std::string_view folder) const {
  if (node.kind != YamlNode::Kind::map) return expected_here(what, node);
  if (node.members.size() > count_max) {
    return std::unexpected("has " + std::to_string(node.members.size()) + " entries; at most " +
                           std::to_string(count_max));
  }
  constexpr TextType value_type{.what = "text", .size_max = 1'024};
  constexpr std::size_t key_size_max = 256;
  Value texts;
  for (const YamlNode::Member& member : node.members) {
    const std::string name = quote(member.key, 64);
    if (member.key.size() > key_size_max || has_control(member.key, false)) {
      return std::unexpected("the key " + name + " is too long or has a control character in it");
    }
    if (key_rule) {
      if (auto checked = key_rule(member.key); !checked) {
        return std::unexpected("the key " + std::move(checked).error());
      }
    }
    auto text = value_type.read(member.value, folder);
    if (!text) return std::unexpected("the value of " + name + " " + std::move(text).error());
    texts.emplace(member.key, *std::move(text));
  }
  return texts;
}

std::string TextMapType::print(const Value& value) const {
  std::string text = "{";
  for (const auto& [key, each] : value) {
    text += (text.size() > 1 ? ", " : "") + print_text(key) + ": " + print_text(each);
  }
  return text + "}";
}

Parsed<std::uint32_t> CountType::read(const YamlNode& node, std::string_view /*folder*/) const {
  if (node.kind != YamlNode::Kind::scalar) return expected_here(describe(), node);
  const std::string& text = node.text;
  const bool digits_only = std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  if (!digits_only || text.empty() || (text.size() > 1 && text.front() == '0')) {
    return std::unexpected(quote(text) +
                           " is not a whole number written in digits alone; wanted: " + describe());
  }
  const auto value = parse_number<std::uint64_t>(text);
  const std::uint64_t number = value.value_or(std::uint64_t{max} + 1);
  const auto print = [](std::uint64_t each) { return std::to_string(each); };
  const auto checked =
      in_range<std::uint64_t>(number, text, std::uint64_t{min}, std::uint64_t{max}, print);
  if (!checked) return std::unexpected(checked.error());
  return static_cast<std::uint32_t>(*checked);
}

std::string CountType::describe() const {
  return "whole number, " + std::to_string(min) + " to " + std::to_string(max);
}

Parsed<std::uint64_t> BytesType::read(const YamlNode& node, std::string_view /*folder*/) const {
  auto bytes = read_unit<Value>(node, describe(), parse_bytes);
  if (!bytes) return bytes;
  return in_range<Value>(*bytes, node.text, min, max, print_bytes);
}

std::string BytesType::print(Value value) const {
  return print_bytes(value);
}

std::string BytesType::describe() const {
  return "size, " + print_bytes(min) + " to " + print_bytes(max);
}

Parsed<Duration> DurationType::read(const YamlNode& node, std::string_view /*folder*/) const {
  auto duration = read_unit<Value>(node, describe(), parse_duration);
  if (!duration) return duration;
  return in_range<Value>(*duration, node.text, min, max, print_duration);
}

std::string DurationType::print(Value value) const {
  return print_duration(value);
}

std::string DurationType::describe() const {
  return "duration, " + print_duration(min) + " to " + print_duration(max);
}

Parsed<bool> FlagType::read(const YamlNode& node, std::string_view /*folder*/) const {
  if (node.kind != YamlNode::Kind::scalar) return expected_here(describe(), node);
  if (node.text == "true") return true;
  if (node.text == "false") return false;
  return std::unexpected(quote(node.text) + " is neither true nor false");
}

Parsed<std::chrono::sys_days> DateType::read(const YamlNode& node,
                                             std::string_view /*folder*/) const {
  return read_unit<Value>(node, describe(), parse_date);
}

std::string DateType::print(Value value) const {
  return print_date(value);
}

Parsed<std::string> PathType::read(const YamlNode& node, std::string_view folder) const {
  constexpr std::size_t path_size_max = 4'095;  // PATH_MAX of Linux, without its NUL.
  const TextType text_type{.what = what, .size_max = path_size_max};
  auto text = text_type.read(node, folder);
  if (!text) return text;
  if (text->contains("${")) {
    return std::unexpected(quote(*text) + " names a variable; those are not filled in here");
  }
  if (text->starts_with('~')) {
    return std::unexpected(quote(*text) +
                           " begins with ~, which only a shell knows; write the path out");
  }
  std::string path = (std::filesystem::path(folder) / *text).lexically_normal().string();
  if (path.size() > path_size_max) {
    return std::unexpected(quote(*text) + " is a path of more than " +
                           std::to_string(path_size_max) + " bytes");
  }
  return path;
}

Parsed<std::vector<Endpoint>> EndpointsType::read(const YamlNode& node,
                                                  std::string_view /*folder*/) const {
  if (node.kind == YamlNode::Kind::scalar && node.text == "off") return Value();
  if (node.kind == YamlNode::Kind::scalar) {
    auto endpoint = read_endpoint(node);
    if (!endpoint) return std::unexpected(std::move(endpoint).error());
    return Value{*std::move(endpoint)};
  }
  if (node.kind != YamlNode::Kind::list) return expected_here(describe(), node);
  if (node.items.size() > count_max) {
    return std::unexpected("has " + std::to_string(node.items.size()) + " addresses; at most " +
                           std::to_string(count_max));
  }
  if (node.items.empty()) return std::unexpected("is an empty list; write off");
  Value endpoints;
  for (const YamlNode& item : node.items) {
    auto endpoint = read_endpoint(item);
    if (!endpoint) {
      return std::unexpected("entry " + std::to_string(endpoints.size() + 1) + ": " +
                             std::move(endpoint).error());
    }
    endpoints.push_back(*std::move(endpoint));
  }
  return endpoints;
}

std::string EndpointsType::print(const Value& value) const {
  if (value.empty()) return "off";
  if (value.size() == 1) return print_text(value.front().to_string());
  std::string text = "[";
  for (const Endpoint& endpoint : value) {
    text += (text.size() > 1 ? ", " : "") + print_text(endpoint.to_string());
  }
  return text + "]";
}

std::string list_choices(std::span<const std::string_view> names) {
  return list_words(names, " or ");
}

std::string no_choice(std::string_view text, std::span<const std::string_view> names) {
  return quote(text) + " is not known here; it is " + list_choices(names) +
         did_you_mean(text, names);
}

}  // namespace meridian::config
