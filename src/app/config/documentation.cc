#include "app/config/documentation.h"

#include "app/config/schema.h"
#include "app/config/settings.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace meridian::config {
namespace {

constexpr std::size_t columns = 100;

constexpr std::string_view page_head = R"(# Configuration

<!-- Written by script/docs from the table in src/app/config/settings_*.cc. Do not edit. -->

One YAML file configures a node. Everything has a default: `meridian up` needs no file, and a file
says only what differs. [meridian.example.yaml](meridian.example.yaml) has every setting in its
place.

- **Which file.** `--config FILE`, else the environment's `MERIDIAN_CONFIG`. The environment's
  `MERIDIAN_DATA` names the data folder and comes before the setting `data`.
- **Is it right?** `meridian config check FILE` lists everything that is wrong with it, each with
  line and column, and what was probably meant. A node does not start on a file with an error, and
  a reload of one changes nothing.
- **Reload.** On SIGHUP the file and the certificates are read again. Settings marked *at once*
  count from then on; the log names those that wait for a restart. Connections that stand stay,
  unless their role or trust is gone.
- **Secrets** are never in the file: settings whose names end in `_file` name the file that holds
  one. `${NAME}` is not filled in.
- **Values.** Durations and sizes have units: `250ms`, `5m`, `1h30m`; `64KiB`, `256MiB`, `1GiB`
  (powers of 1024). Relative file names start at the configuration file's folder. Anchors, aliases
  and tags of YAML, and duplicate keys, are refused.

In the names below, `*` is a name of your own, and `[]` each entry of a list.
)";

constexpr std::string_view example_head =
    R"(# Meridian's configuration: every setting in its place. What is left out has its default.
# docs/configuration.md says how the file is found, checked and reloaded.
)";

constexpr std::string_view starter =
    R"(# Meridian's first configuration, for one developer on this machine. It is yours to edit:
# docs/configuration.md and docs/meridian.example.yaml have every setting.
#
# Nobody has a role without an entry here. This one fits a token of Meridian's own issuer for the
# subject "developer", which whoever may read the data folder can have:
#
#   meridian token --subject developer

roles:
  developer:  # Also a login role in the database.
    bind:
      - issuer: meridian
        subject: developer
    postgres:
      databases: ["*"]
    redis:
      read: ["*"]
      write: ["*"]
      forget: ["*"]
)";

bool says_nothing(std::string_view value) {
  return value.empty() || value == "[]" || value == "{}";
}

std::string default_of(const Setting& setting) {
  if (setting.text.required) return "none; it must be given";
  if (!setting.text.default_text.empty()) return std::string(setting.text.default_text);
  if (says_nothing(setting.default_value)) return "not set";
  return "`" + setting.default_value + "`";
}

// Words in lines of at most `columns`, each line with `margin` in front.
std::string wrapped(std::string_view text, std::string_view margin) {
  std::string lines;
  std::string line;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    if (!line.empty() && margin.size() + line.size() + 1 + word.size() > columns) {
      lines += std::string(margin) + line + '\n';
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
  }
  if (!line.empty()) lines += std::string(margin) + line + '\n';
  return lines;
}

std::string_view last_key(std::string_view path) {
  return path.substr(path.rfind('.') + 1);
}

class PageWriter {
 public:
  std::string take() { return std::move(out_); }

  void add(const Section& section) { head(section.path, section.documentation); }

  void add(const Collection& collection) {
    head(collection.path, collection.documentation);
    out_ += "\nAt most " + std::to_string(collection.count_max) + " entries.\n";
  }

  void add(const Setting& setting) {
    const std::string path(setting.path);
    out_ += (path.contains('.') ? "\n### `" : "\n## `") + path + "`\n\n" +
            wrapped(setting.text.documentation, "") + "\n";
    out_ += "- value: " + setting.type + "\n";
    out_ += "- default: " + default_of(setting) + "\n";
    out_ += "- example: `" + std::string(last_key(path)) + ": " +
            std::string(setting.text.example) + "`\n";
    out_ += "- a change counts: ";
    out_ += setting.text.applies == Applies::at_once ? "at once on SIGHUP\n" : "after a restart\n";
  }

 private:
  void head(std::string_view path, std::string_view documentation) {
    out_ += "\n## `" + std::string(path) + "`\n\n" + wrapped(documentation, "");
  }

  std::string out_{page_head};
};

class ExampleWriter {
 public:
  std::string take() { return std::move(out_); }

  void write_children(const SchemaNode& section, std::size_t indent, bool commented) {
    for (const SchemaNode& child : section.children) {
      write(child, indent, commented);
      if (indent == 0) out_ += '\n';
    }
  }

 private:
  static constexpr std::size_t indent_step = 2;

  void write(const SchemaNode& node, std::size_t indent, bool commented) {
    if (node.setting) {
      write_setting(*node.setting, node.key, indent);
      return;
    }
    comment(indent, node.documentation);
    line(indent, commented, std::string(node.key) + ":");
    if (!node.collection) {
      write_children(node, indent + indent_step, commented);
      return;
    }
    const std::size_t entry_indent = indent + indent_step;
    if (node.is_list()) {
      const std::size_t begin = out_.size();
      write_children(*node.entry, entry_indent + indent_step, true);
      begin_item(begin, entry_indent);
      return;
    }
    line(entry_indent, true, std::string(node.collection->example_name) + ":");
    write_children(*node.entry, entry_indent + indent_step, true);
  }

  // The first setting of a list's entry has the dash: "    #issuer" becomes "  #- issuer".
  void begin_item(std::size_t begin, std::size_t indent) {
    const std::string with_margin = std::string(indent + indent_step, ' ') + "#";
    for (std::size_t at = out_.find(with_margin, begin); at != std::string::npos;
         at = out_.find(with_margin, at + 1)) {
      if (out_[at + with_margin.size()] == ' ') continue;  // Documentation.
      out_.replace(at, with_margin.size(), std::string(indent, ' ') + "#- ");
      return;
    }
  }

  void write_setting(const Setting& setting, std::string_view key, std::size_t indent) {
    comment(indent,
            std::string(setting.text.documentation) + " Default: " + default_of(setting) + ".");
    const bool no_default =
        says_nothing(setting.default_value) || !setting.text.default_text.empty();
    const std::string_view value =
        no_default ? setting.text.example : std::string_view(setting.default_value);
    line(indent, true, std::string(key) + ": " + std::string(value));
  }

  void comment(std::size_t indent, std::string_view text) {
    out_ += wrapped(text, std::string(indent, ' ') + "# ");
  }

  void line(std::size_t indent, bool commented, const std::string& text) {
    out_.append(indent, ' ');
    if (commented) out_ += '#';
    out_ += text + '\n';
  }

  std::string out_{std::string(example_head) + "\n"};
};

}  // namespace

std::string reference_page() {
  PageWriter writer;
  for (const SettingTable::Entry& entry : setting_table().entries()) {
    std::visit([&](const auto& each) { writer.add(each); }, entry);
  }
  return writer.take();
}

std::string example_file() {
  ExampleWriter writer;
  writer.write_children(schema(), 0, false);
  return writer.take();
}

std::string starter_file() {
  return std::string(starter);
}

}  // namespace meridian::config
