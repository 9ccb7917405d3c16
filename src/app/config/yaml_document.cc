#include "app/config/yaml_document.h"

#include "base/escape.h"

#include <algorithm>
#include <exception>
#include <spanstream>
#include <unordered_set>
#include <utility>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

namespace meridian::config {
namespace {

Place to_place(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {.line = mark.line + 1, .column = mark.column + 1};
}

// Ends the parse from within yaml-cpp's callbacks. Caught in read_yaml.
struct Refusal {
  Place place;
  std::string text;
};

// Builds the tree from yaml-cpp's events.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(Problems& problems) : problems_(problems) {}

  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_count_++ > 0) {
      throw Refusal{to_place(mark), "a second document begins here; a configuration is one"};
    }
  }
  void OnDocumentEnd() override {}

  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    throw Refusal{to_place(mark),
                  "the anchor " + quote("&" + name, 64) +
                      " is refused; write the value out, or put the text in quotes"};
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    throw Refusal{to_place(mark), "aliases are refused; write the value out"};
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    close(open(mark, YamlNode::Kind::nothing));
  }
  void OnScalar(const YAML::Mark& mark,
                const std::string& tag,
                YAML::anchor_t /*anchor*/,
                const std::string& value) override {
    check_tag(mark, tag);
    if (!is_utf8(value)) {  // yaml-cpp's \_ and \N are single bytes of Latin-1.
      throw Refusal{to_place(mark), "an escape in this text makes bytes that are no UTF-8"};
    }
    YamlNode node = open(mark, YamlNode::Kind::scalar);
    node.text = value;
    close(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark,
                       const std::string& tag,
                       YAML::anchor_t /*anchor*/,
                       YAML::EmitterStyle::value /*style*/) override {
    start(mark, tag, YamlNode::Kind::list);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark,
                  const std::string& tag,
                  YAML::anchor_t /*anchor*/,
                  YAML::EmitterStyle::value /*style*/) override {
    start(mark, tag, YamlNode::Kind::map);
  }
  void OnMapEnd() override { end(); }

 private:
  // A list or map whose end has not come yet.
  struct Unfinished {
    YamlNode node;
    std::unordered_set<std::string> keys;  // Of a map.
    std::optional<YamlNode> key;           // Read, its value not yet.
  };

  // yaml-cpp says "?" for a plain scalar and "!" for a quoted one.
  static void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Refusal{to_place(mark), "the tag " + quote(tag, 64) + " is refused; leave it out"};
  }

  YamlNode open(const YAML::Mark& mark, YamlNode::Kind kind) {
    if (++values_count_ > config_values_max) {
      throw Refusal{
          to_place(mark),
          "the configuration has more than " + std::to_string(config_values_max) + " values"};
    }
    YamlNode node;
    node.kind = kind;
    node.place = to_place(mark);
    return node;
  }

  void start(const YAML::Mark& mark, const std::string& tag, YamlNode::Kind kind) {
    check_tag(mark, tag);
    if (unfinished_.size() == config_depth_max) {
      throw Refusal{
          to_place(mark),
          "more than " + std::to_string(config_depth_max) + " maps and lists inside each other"};
    }
    unfinished_.push_back({.node = open(mark, kind), .keys = {}, .key = {}});
  }

  void end() {
    YamlNode node = std::move(unfinished_.back().node);
    unfinished_.pop_back();
    close(std::move(node));
  }

  void close(YamlNode node) {
    if (unfinished_.empty()) {
      root_ = std::move(node);
      return;
    }
    Unfinished& parent = unfinished_.back();
    if (parent.node.kind == YamlNode::Kind::list) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.key) {
      parent.key = std::move(node);
    } else {
      add_member(parent, std::move(node));
    }
  }

  void add_member(Unfinished& map, YamlNode value) {
    const YamlNode key = *std::exchange(map.key, std::nullopt);
    if (key.kind != YamlNode::Kind::scalar || key.text.empty()) {
      problems_.add(key.place, path(), "a key is a word, not a list, a map or nothing");
    } else if (!map.keys.insert(key.text).second) {
      problems_.add(key.place,
                    path_of_key(path(), key.text),
                    "this key is here for the second time; remove one, or merge the two");
    } else {
      if (value.kind == YamlNode::Kind::nothing) value.place = key.place;  // There is none to show.
      map.node.members.push_back({.key = key.text, .place = key.place, .value = std::move(value)});
    }
  }

  // Of the innermost map or list whose end has not come.
  std::string path() const {
    std::string path;
    for (const Unfinished& each : unfinished_) {
      if (&each == &unfinished_.back()) break;
      path = each.node.kind == YamlNode::Kind::list ? path_of_item(path, each.node.items.size())
             : each.key                             ? path_of_key(path, each.key->text)
                                                    : path;
    }
    return path;
  }

  Problems& problems_;
  YamlNode root_;
  std::vector<Unfinished> unfinished_;
  std::size_t documents_count_ = 0;
  std::size_t values_count_ = 0;
};

// The line of the text that a mark lies in, up to the mark.
std::string_view line_before(std::string_view text, const YAML::Mark& mark) {
  const auto position = std::min(text.size(), static_cast<std::size_t>(std::max(mark.pos, 0)));
  const std::string_view before = text.substr(0, position);
  return before.substr(before.rfind('\n') + 1);
}

// yaml-cpp names the rule of its grammar; this says what people usually did.
std::string_view hint_for(const YAML::Exception& exception, std::string_view text) {
  const std::string_view message = exception.msg;
  const std::string_view line = line_before(text, exception.mark);
  if (line.substr(0, line.find_first_not_of(" \t")).contains('\t') ||
      message == YAML::ErrorMsg::TAB_IN_INDENTATION) {
    return "; indent with spaces, not with tabs";
  }
  const bool after_key = line.contains(':');
  const std::string_view indented = "; this line is not indented like those that it belongs to";
  if (message == YAML::ErrorMsg::MAP_VALUE) {
    return after_key ? "; a text with \": \" in it stands in quotes" : indented;
  }
  if (message == YAML::ErrorMsg::END_OF_MAP || message == YAML::ErrorMsg::END_OF_SEQ) {
    return after_key ? "; a value is followed by the end of its line" : indented;
  }
  if (message == YAML::ErrorMsg::END_OF_MAP_FLOW) return "; a { has no }, or a comma is missing";
  if (message == YAML::ErrorMsg::END_OF_SEQ_FLOW) return "; a [ has no ], or a comma is missing";
  if (message == YAML::ErrorMsg::EOF_IN_SCALAR) return "; a quote has no end";
  if (message == YAML::ErrorMsg::ALIAS_NOT_FOUND || message == YAML::ErrorMsg::UNKNOWN_ANCHOR ||
      message == YAML::ErrorMsg::ANCHOR_NOT_FOUND || message == YAML::ErrorMsg::UNKNOWN_TOKEN) {
    return "; a text that begins with a sign such as * or & stands in quotes";
  }
  return {};
}

// What yaml-cpp would take, or misread, in silence.
bool check_bytes(std::string_view text, Problems& problems) {
  if (text.size() > config_bytes_max) {
    problems.add({},
                 {},
                 "the file has " + std::to_string(text.size()) + " bytes; at most " +
                     std::to_string(config_bytes_max));
    return false;
  }
  Place place{.line = 1, .column = 1};
  while (!text.empty()) {
    const std::size_t size = utf8_sequence_size(text);
    const auto byte = static_cast<unsigned char>(text.front());
    const bool control =
        (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t') || byte == 0x7F;
    if (size == 0 || control) {
      problems.add(
          place,
          {},
          size == 0 ? "the file is not UTF-8 here"
                    : "the file has the control character " + quote(text.substr(0, 1)) + " here");
      return false;
    }
    if (byte == '\n') {
      place = {.line = place.line + 1, .column = 1};
    } else {
      ++place.column;
    }
    text.remove_prefix(size);
  }
  return true;
}

}  // namespace

std::optional<YamlNode> read_yaml(std::string_view text, Problems& problems) {
  if (!check_bytes(text, problems)) return std::nullopt;
  TreeBuilder builder(problems);
  // yaml-cpp takes a quote without an end where the text ends with a line break. It does not end
  // with one when a comment comes last.
  const std::string ended = std::string(text) + "\n#";
  try {
    std::ispanstream stream(std::span<const char>(ended.data(), ended.size()));
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.take_root();
  } catch (const Refusal& refusal) {
    problems.add(refusal.place, {}, refusal.text);
  } catch (const YAML::Exception& exception) {
    problems.add(
        to_place(exception.mark),
        {},
        "this is not YAML: " + escape(exception.msg) + std::string(hint_for(exception, text)));
  } catch (const std::exception& exception) {
    problems.add({}, {}, std::string("the YAML parser failed: ") + escape(exception.what()));
  }
  return std::nullopt;
}

}  // namespace meridian::config
