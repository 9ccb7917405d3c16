// What is kept: views and their cache, and the trail.

#include "app/config/key_pattern.h"
#include "app/config/rules.h"
#include "app/config/settings.h"

#include <chrono>

namespace meridian::config {
namespace {

using std::chrono::days;
using std::chrono::milliseconds;
using std::chrono::minutes;

Parsed<void> check_key_pattern(std::string_view text) {
  auto pattern = KeyPattern::parse(text);
  if (!pattern) return std::unexpected(std::move(pattern).error());
  return {};
}

void add_trail_settings(SettingTable& table) {
  table.section("trail",
                "The audit trail, in the data folder. It survives the death of the process at any "
                "instruction; where it cannot be written, requests are refused.");
  table.setting<Config>(
      "trail.segment",
      [](auto& config) -> auto& { return config.trail.segment; },
      BytesType{.min = 1 * mebibyte, .max = 1 * gibibyte},
      {.documentation =
           "The size of one file. Each loop has one that it writes and one made ready.",
       .example = "16MiB"});
  table.setting<Config>(
      "trail.retention",
      [](auto& config) -> auto& { return config.trail.retention; },
      DurationType{.min = days(1), .max = days(3650)},
      {.documentation = "Whole files that are older are deleted, and the trail says so.",
       .example = "365d"});
  table.setting<Config>(
      "trail.sync_interval",
      [](auto& config) -> auto& { return config.trail.sync_interval; },
      DurationType{.min = milliseconds(10), .max = minutes(1)},
      {.documentation = "How often records are forced to the disk: what a power failure may cost.",
       .example = "200ms"});
}

}  // namespace

void add_view_settings(SettingTable& table) {
  table.map_of<Config, ViewConfig>(
      {.path = "views.*",
       .documentation =
           "Keys of the Redis door that are answered from the database through the coherent cache: "
           "what is read is never older than an acknowledged commit. `meridian views explain` says "
           "for each what makes it change.",
       .example_name = "order",
       .count_max = 500,
       .name_rule = check_own_name},
      [](auto& config) -> auto& { return config.views; });
  table.setting<ViewConfig>(
      "views.*.key",
      [](auto& view) -> auto& { return view.key; },
      TextType{.what = "key with parts, as in order:{id}", .rule = check_key_pattern},
      {.documentation =
           "Literal text, then named parts in braces with literal text between them. A "
           "part stands for one or more characters, none of them `:` nor the character "
           "that follows the part here. No key may belong to two views.",
       .example = "\"order:{id}\"",
       .applies = Applies::at_once,
       .required = true});
  table.setting<ViewConfig>(
      "views.*.query",
      [](auto& view) -> auto& { return view.query; },
      TextType{.what = "SQL query", .size_max = 64 * kibibyte, .lines = true},
      {.documentation = "One SELECT that gives the value. The key's parts stand in it under their "
                        "names, each at least once, and travel as parameters: they are never put "
                        "into the text, so they stand in no quotes.",
       .example = "\"SELECT id, status, total FROM orders WHERE id = {id}\"",
       .applies = Applies::at_once,
       .required = true});
  table.setting<ViewConfig>(
      "views.*.as",
      [](auto& view) -> auto& { return view.as; },
      TextType{.what = "role's name"},
      {.documentation = "The role, one of `roles`, as which the query runs. Who may read the view "
                        "is said by `roles.*.redis.read`.",
       .example = "checkout",
       .applies = Applies::at_once,
       .required = true});
  table.setting<ViewConfig>("views.*.database",
                            [](auto& view) -> auto& { return view.database; },
                            TextType{.what = "database's name", .size_max = 63},
                            {.documentation = "Where the query runs.",
                             .example = "shop",
                             .applies = Applies::at_once,
                             .default_text = "the timeline's database"});

  table.section("cache", "The cache of views, in memory, one for the node.");
  table.setting<Config>("cache.bytes_max",
                        [](auto& config) -> auto& { return config.cache.bytes_max; },
                        BytesType{.min = 1 * mebibyte, .max = 1 * tebibyte},
                        {.documentation = "What all values, keys and their bookkeeping may take.",
                         .example = "1GiB"});
  table.setting<Config>(
      "cache.value_bytes_max",
      [](auto& config) -> auto& { return config.cache.value_bytes_max; },
      BytesType{.min = 1 * kibibyte, .max = 64 * mebibyte},
      {.documentation = "A larger value is answered but not kept.", .example = "256KiB"});
  add_trail_settings(table);
}

}  // namespace meridian::config
