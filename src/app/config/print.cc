#include "app/config/print.h"

#include "app/config/schema.h"

#include <cstddef>

namespace meridian::config {
namespace {

constexpr std::size_t indent_step = 2;

class YamlPrinter {
 public:
  // Null: everything is shown.
  explicit YamlPrinter(const Config* defaults) : defaults_(defaults) {}

  std::string take() { return std::move(out_); }

  void print_children(const SchemaNode& section, ConstOwner owner, std::size_t indent) {
    for (const SchemaNode& child : section.children) {
      print(child, owner, indent);
    }
  }

 private:
  void print(const SchemaNode& node, ConstOwner owner, std::size_t indent) {
    if (node.setting) {
      print_setting(*node.setting, node.key, owner, indent);
      return;
    }
    // A heading is taken back when nothing came below it.
    const std::size_t size_before = out_.size();
    line(indent, std::string(node.key) + ":");
    const std::size_t size_with_heading = out_.size();
    if (node.collection) {
      print_entries(node, owner, indent + indent_step);
    } else {
      print_children(node, owner, indent + indent_step);
    }
    if (out_.size() == size_with_heading) out_.resize(size_before);
  }

  void print_setting(const Setting& setting,
                     std::string_view key,
                     ConstOwner owner,
                     std::size_t indent) {
    const std::string value = setting.print(owner);
    if (value.empty() || (defaults_ && value == default_of(setting, owner))) return;
    line(indent, std::string(key) + ": " + value);
  }

  std::string default_of(const Setting& setting, ConstOwner owner) const {
    return std::holds_alternative<const Config*>(owner) ? setting.print(defaults_)
                                                        : setting.default_value;
  }

  void print_entries(const SchemaNode& node, ConstOwner owner, std::size_t indent) {
    node.collection->each(owner, [&](std::string_view name, ConstOwner entry) {
      if (!node.is_list()) {
        line(indent, print_text(name) + ":");
        print_children(*node.entry, entry, indent + indent_step);
        return;
      }
      const std::size_t begin = out_.size();
      print_children(*node.entry, entry, indent + indent_step);
      if (out_.size() > begin) out_[begin + indent] = '-';
    });
  }

  void line(std::size_t indent, const std::string& text) {
    out_.append(indent, ' ');
    out_ += text;
    out_ += '\n';
  }

  const Config* defaults_;
  std::string out_;
};

std::string counted(std::size_t count, std::string_view noun) {
  return std::to_string(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

std::string listening(std::string_view door, const std::vector<Endpoint>& endpoints) {
  std::string text = "  " + std::string(door) + " door: ";
  if (endpoints.empty()) return text + "off\n";
  for (const Endpoint& endpoint : endpoints) {
    text += (&endpoint == &endpoints.front() ? "" : ", ") + endpoint.to_string();
  }
  return text + "\n";
}

}  // namespace

std::string to_yaml(const Config& config) {
  YamlPrinter printer(nullptr);
  printer.print_children(schema(), &config, 0);
  return printer.take();
}

std::string to_yaml(const Config& config, const Config& defaults) {
  YamlPrinter printer(&defaults);
  printer.print_children(schema(), &config, 0);
  return printer.take();
}

std::string check_report(std::string_view file, const Config& config, const Config& defaults) {
  std::string text = std::string(file) + ": the configuration is valid\n";
  text += listening("Postgres", config.listen.postgres);
  text += listening("Redis", config.listen.redis);
  text += listening("NATS", config.listen.nats);
  text += listening("HTTP", config.listen.http);
  text +=
      "  timeline: " + (config.timeline.url.empty() ? "an owned PostgreSQL" : config.timeline.url) +
      "\n";
  text +=
      "  redis: " + (config.redis.url.empty() ? "an owned redis-server" : config.redis.url) + "\n";
  text += "  nats: " + (config.nats.url.empty() ? "an owned nats-server" : config.nats.url) + "\n";
  text += "  " + counted(config.issuers.size(), "issuer") + " besides its own, " +
          counted(config.roles.size(), "role") + ", " + counted(config.views.size(), "view") + "\n";
  const std::string changed = to_yaml(config, defaults);
  return text + (changed.empty() ? "everything is left at its default\n"
                                 : "what is not left at its default:\n\n" + changed);
}

}  // namespace meridian::config
