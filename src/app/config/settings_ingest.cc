// Messages that become rows.

#include "app/config/rules.h"
#include "app/config/settings.h"

#include <array>
#include <chrono>
#include <string_view>
#include <utility>

namespace meridian::config {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::array<std::pair<std::string_view, PayloadFormat>, 2> formats{
    {{"json", PayloadFormat::json}, {"protobuf", PayloadFormat::protobuf}}};

void add_format_settings(SettingTable& table) {
  table.setting<IngestConfig>(
      "ingest.*.format",
      [](auto& rule) -> auto& { return rule.format; },
      ChoiceType<PayloadFormat>{formats},
      {.documentation = "What payloads are: JSON, or messages of Protobuf by a descriptor.",
       .example = "protobuf",
       .applies = Applies::at_once,
       .default_text = "protobuf where there is a descriptor_set, else json"});
  table.setting<IngestConfig>(
      "ingest.*.descriptor_set",
      [](auto& rule) -> auto& { return rule.descriptor_set; },
      PathType{.what = "file with a FileDescriptorSet"},
      {.documentation = "For `format: protobuf`: the message's type and all that it refers to, as "
                        "`protoc --include_imports --descriptor_set_out=orders.pb orders.proto` "
                        "writes it.",
       .example = "orders.pb",
       .applies = Applies::at_once});
  table.setting<IngestConfig>(
      "ingest.*.message",
      [](auto& rule) -> auto& { return rule.message; },
      TextType{.what = "full name of a message"},
      {.documentation = "For `format: protobuf`: of which type the payloads are.",
       .example = "shop.OrderCreated",
       .applies = Applies::at_once});
}

void add_require_settings(SettingTable& table) {
  table.section("ingest.*.require",
                "Whose messages are taken: the producer's identity as a NATS door has verified it. "
                "What does not fit goes to the dead letters.");
  table.setting<IngestConfig>(
      "ingest.*.require.identity",
      [](auto& rule) -> auto& { return rule.require.identity; },
      FlagType{},
      {.documentation = "Whether a message without a verified identity is refused. Switch it off "
                        "only for subjects that nobody publishes through a door.",
       .example = "false",
       .applies = Applies::at_once});
  const auto list =
      [&](std::string_view path, auto field, std::string_view what, SettingText text) {
        table.setting<IngestConfig>(
            path, field, TextListType{.item = {.what = "name"}, .what = what}, text);
      };
  list("ingest.*.require.roles",
       [](auto& rule) -> auto& { return rule.require.roles; },
       "list of roles",
       {.documentation = "Roles that the producer may have; without it, any.",
        .example = "[checkout]",
        .applies = Applies::at_once});
  list("ingest.*.require.issuers",
       [](auto& rule) -> auto& { return rule.require.issuers; },
       "list of issuers",
       {.documentation = "Issuers that may have vouched for it; without it, any.",
        .example = "[k8s]",
        .applies = Applies::at_once});
  list("ingest.*.require.subjects",
       [](auto& rule) -> auto& { return rule.require.subjects; },
       "list of subjects",
       {.documentation = "Subjects that it may be, exactly; without it, any.",
        .example = "[\"system:serviceaccount:shop:checkout\"]",
        .applies = Applies::at_once});
}

void add_bounds(SettingTable& table) {
  table.setting<IngestConfig>(
      "ingest.*.workers",
      [](auto& rule) -> auto& { return rule.workers; },
      CountType{.min = 1, .max = 64},
      {.documentation = "Sessions with the database that commit batches of this rule. With 1, rows "
                        "are committed in the stream's order.",
       .example = "4",
       .applies = Applies::at_once});
  table.setting<IngestConfig>(
      "ingest.*.batch",
      [](auto& rule) -> auto& { return rule.batch; },
      CountType{.min = 1, .max = 5'000},
      {.documentation = "Messages in one transaction at most. Fewer are never waited for.",
       .example = "1000",
       .applies = Applies::at_once});
  table.setting<IngestConfig>(
      "ingest.*.batch_bytes",
      [](auto& rule) -> auto& { return rule.batch_bytes; },
      BytesType{.min = 64 * kibibyte, .max = 256 * mebibyte},
      {.documentation =
           "The same in bytes; one message may be more. A rule holds at most about four "
           "times workers times that.",
       .example = "1MiB",
       .applies = Applies::at_once});
  table.setting<IngestConfig>(
      "ingest.*.statement_timeout",
      [](auto& rule) -> auto& { return rule.statement_timeout; },
      DurationType{.min = milliseconds(100), .max = hours(1)},
      {.documentation = "The longest that a statement of this rule may run.",
       .example = "10s",
       .applies = Applies::at_once});
  table.setting<IngestConfig>(
      "ingest.*.ack_wait",
      [](auto& rule) -> auto& { return rule.ack_wait; },
      DurationType{.min = seconds(1), .max = hours(1)},
      {.documentation = "After which time without a sign of life the stream delivers a message "
                        "again. Signs are sent three times as often.",
       .example = "1m",
       .applies = Applies::at_once});
  table.setting<IngestConfig>(
      "ingest.*.retention",
      [](auto& rule) -> auto& { return rule.retention; },
      DurationType{.min = minutes(1), .max = days(3650)},
      {.documentation = "How long a stream that is made for this rule keeps messages, for replay.",
       .example = "30d",
       .applies = Applies::at_once});
  table.setting<IngestConfig>(
      "ingest.*.replicas",
      [](auto& rule) -> auto& { return rule.replicas; },
      CountType{.min = 1, .max = 5},
      {.documentation = "On how many servers of a NATS cluster a stream that is made for this rule "
                        "is kept.",
       .example = "3",
       .applies = Applies::at_once});
  table.setting<IngestConfig>(
      "ingest.*.dead_letters_max",
      [](auto& rule) -> auto& { return rule.dead_letters_max; },
      CountType{.min = 1, .max = 100'000'000},
      {.documentation = "With so many dead letters the rule stops until some are retried or "
                        "discarded; nothing is dropped.",
       .example = "10000",
       .applies = Applies::at_once});
}

}  // namespace

void add_ingest_settings(SettingTable& table) {
  table.map_of<Config, IngestConfig>(
      {.path = "ingest.*",
       .documentation = "Rules that make rows of messages: each message of the subject takes "
                        "effect once, in the "
                        "transaction that also remembers it. docs/messages.md tells more.",
       .example_name = "orders",
       .count_max = 100,
       .name_rule = check_own_name},
      [](auto& config) -> auto& { return config.ingest; });
  table.setting<IngestConfig>("ingest.*.subject",
                              [](auto& rule) -> auto& { return rule.subject; },
                              TextType{.what = "subject", .rule = check_nats_subject},
                              {.documentation = "Which messages; with NATS's own wildcards.",
                               .example = "orders.created",
                               .applies = Applies::at_once,
                               .required = true});
  table.setting<IngestConfig>(
      "ingest.*.stream",
      [](auto& rule) -> auto& { return rule.stream; },
      TextType{.what = "stream's name", .rule = check_own_name},
      {.documentation = "The JetStream stream that keeps them. It is made where there is none.",
       .example = "ORDERS",
       .applies = Applies::at_once,
       .default_text = "the stream that takes the subject, or else a new one, `ingest_` and the "
                       "rule's name"});
  table.setting<IngestConfig>(
      "ingest.*.role",
      [](auto& rule) -> auto& { return rule.role; },
      TextType{.what = "role's name"},
      {.documentation = "The role, one of `roles`, as which the statements run.",
       .example = "checkout",
       .applies = Applies::at_once,
       .required = true});
  table.setting<IngestConfig>(
      "ingest.*.sql",
      [](auto& rule) -> auto& { return rule.sql; },
      TextType{.what = "SQL statement", .size_max = 64 * kibibyte, .lines = true},
      {.documentation =
           "What is done for each message. Fields of its payload stand in braces, `{total}`, "
           "`{address.city}`, `{lines[0].sku}`, with a `?` at the end where they may be missing; "
           "what is known about it, as `{meridian.subject}`, begins with `meridian.`. They travel "
           "as parameters and stand in no quotes. An INSERT of one row of VALUES is fastest.",
       .example = "\"INSERT INTO orders (id, placed_by) VALUES ({id}, {meridian.subject})\"",
       .applies = Applies::at_once,
       .required = true});
  table.setting<IngestConfig>(
      "ingest.*.rollback",
      [](auto& rule) -> auto& { return rule.rollback; },
      TextType{.what = "SQL statement", .size_max = 64 * kibibyte, .lines = true},
      {.documentation = "What undoes the effect of one message, for `meridian ingest rollback`.",
       .example = "\"DELETE FROM orders WHERE id = {id}\"",
       .applies = Applies::at_once});
  table.setting<IngestConfig>(
      "ingest.*.key",
      [](auto& rule) -> auto& { return rule.key; },
      TextType{.what = "field in braces"},
      {.documentation =
           "Messages that are equal in this field are committed in the stream's order.",
       .example = "\"{customer}\"",
       .applies = Applies::at_once});
  add_format_settings(table);
  add_require_settings(table);
  add_bounds(table);
  table.section("streams", "What all ingest rules share.");
  table.setting<Config>(
      "streams.ids_kept",
      [](auto& config) -> auto& { return config.streams.ids_kept; },
      DurationType{.min = minutes(1), .max = days(90)},
      {.documentation =
           "How long at least the producers' message ids (Nats-Msg-Id) are remembered: "
           "a message that comes again later is a new one. Time in which a node runs; "
           "jumps of a clock do not count.",
       .example = "7d"});
  table.setting<Config>(
      "streams.ledger_kept",
      [](auto& config) -> auto& { return config.streams.ledger_kept; },
      DurationType{.min = days(1), .max = days(3650)},
      {.documentation =
           "How long the ledger of committed batches is kept, by days; what a rule needs to "
           "go on stays. A rollback reaches no further back.",
       .example = "90d"});
}

}  // namespace meridian::config
