// What is published out of the database.

#include "app/config/rules.h"
#include "app/config/settings.h"

#include <chrono>

namespace meridian::config {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

void add_publish_settings(SettingTable& table) {
  table.map_of<Config, PublishConfig>(
      {.path = "publish.*",
       .documentation =
           "Rows that become messages of NATS in the order of their commits, each exactly once: "
           "changes of a table, or what `meridian.publish(subject, payload)` was given. All of "
           "them "
           "go into one stream, `outbox.stream`, and no client may publish these subjects itself. "
           "docs/messages.md says what holds.",
       .example_name = "order_changes",
       .count_max = 200,
       .name_rule = check_own_name},
      [](auto& config) -> auto& { return config.publish; });
  table.setting<PublishConfig>(
      "publish.*.table",
      [](auto& rule) -> auto& { return rule.table; },
      TextType{.what = "table's name", .size_max = 127, .rule = check_table_name},
      {.documentation = "Every committed insert, update and delete of its rows is a message. "
                        "Meridian installs triggers on it, and removes them with the rule.",
       .example = "orders",
       .applies = Applies::at_once,
       .default_text = "none: only what `meridian.publish()` is given"});
  table.setting<PublishConfig>(
      "publish.*.subject",
      [](auto& rule) -> auto& { return rule.subject; },
      TextType{.what = "subject", .size_max = 256, .rule = check_publish_subject},
      {.documentation =
           "The message's subject, with columns of the table in braces. Without a table: the "
           "subjects that `meridian.publish()` takes, with NATS's wildcards.",
       .example = "\"orders.changed.{id}\"",
       .applies = Applies::at_once,
       .required = true});
  table.setting<PublishConfig>(
      "publish.*.columns",
      [](auto& rule) -> auto& { return rule.columns; },
      TextListType{.item = {.what = "column", .size_max = 63}, .what = "list of columns"},
      {.documentation =
           "Which columns the message shows. Whoever may subscribe sees them, whatever "
           "the database would let him read.",
       .example = "[id, status]",
       .applies = Applies::at_once,
       .default_text = "all of them"});

  table.section("outbox", "The outbox: how rows under `publish` become messages.");
  table.setting<Config>(
      "outbox.stream",
      [](auto& config) -> auto& { return config.outbox.stream; },
      TextType{.what = "stream's name", .size_max = 64, .rule = check_stream_name},
      {.documentation = "The stream that takes the messages. It is made if it is absent; nobody "
                        "else may write into it.",
       .example = "OUTBOX"});
  table.setting<Config>(
      "outbox.keep",
      [](auto& config) -> auto& { return config.outbox.keep; },
      DurationType{.min = seconds(1), .max = days(30)},
      {.documentation =
           "How long published rows stay in the database at least, so that they can be "
           "published again if NATS loses them. They go by whole partitions of half an "
           "hour each.",
       .example = "12h"});
  table.setting<Config>(
      "outbox.max_age",
      [](auto& config) -> auto& { return config.outbox.max_age; },
      DurationType{.min = minutes(1), .max = days(3650)},
      {.documentation = "How long the stream keeps messages, when Meridian makes it.",
       .example = "30d"});
  table.setting<Config>(
      "outbox.duplicate_window",
      [](auto& config) -> auto& { return config.outbox.duplicate_window; },
      DurationType{.min = milliseconds(100), .max = hours(24)},
      {.documentation = "The stream's own window for duplicates, when Meridian makes it. Order and "
                        "count do not depend on it.",
       .example = "2m"});
  table.setting<Config>(
      "outbox.replicas",
      [](auto& config) -> auto& { return config.outbox.replicas; },
      CountType{.min = 1, .max = 5},
      {.documentation =
           "How many servers of a NATS cluster keep the stream, when Meridian makes it.",
       .example = "3"});
  table.setting<Config>(
      "outbox.in_flight_max",
      [](auto& config) -> auto& { return config.outbox.in_flight_max; },
      CountType{.min = 1, .max = 8'192},
      {.documentation = "Messages that are sent and not acknowledged yet, at most.",
       .example = "1024"});
  table.setting<Config>(
      "outbox.alarm_rows",
      [](auto& config) -> auto& { return config.outbox.alarm_rows; },
      CountType{.min = 1, .max = 1'000'000'000},
      {.documentation =
           "When more rows wait than this, the log and `meridian_outbox_alarm` say so.",
       .example = "10000"});
  table.setting<Config>(
      "outbox.alarm_age",
      [](auto& config) -> auto& { return config.outbox.alarm_age; },
      DurationType{.min = milliseconds(100), .max = days(30)},
      {.documentation = "When a row has waited for longer than this, likewise.", .example = "10s"});
}

}  // namespace meridian::config
