// What each role may do, and who has it.

#include "app/config/rules.h"
#include "app/config/settings.h"

#include <array>
#include <chrono>

namespace meridian::config {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::array<std::pair<std::string_view, OnOverdue>, 2> overdue_words{{
    {"warn", OnOverdue::warn},
    {"stop", OnOverdue::stop},
}};

constexpr std::array<std::pair<std::string_view, Expiry>, 2> expiry_words{{
    {"end", Expiry::end},
    {"finish_transaction", Expiry::finish_transaction},
}};

void add_binding_settings(SettingTable& table) {
  table.list_of<RoleConfig, BindingConfig>(
      {.path = "roles.*.bind[]",
       .documentation = "Who has the role. One entry that fits is enough; all that an entry says "
                        "must hold, and it says a subject, claims, or both.",
       .count_max = 256},
      [](auto& role) -> auto& { return role.bind; });
  table.setting<BindingConfig>(
      "roles.*.bind[].issuer",
      [](auto& binding) -> auto& { return binding.issuer; },
      TextType{.what = "issuer's name"},
      {.documentation = "A name under `issuers`, or `meridian` for its own.",
       .example = "k8s",
       .applies = Applies::at_once,
       .required = true});
  table.setting<BindingConfig>(
      "roles.*.bind[].subject",
      [](auto& binding) -> auto& { return binding.subject; },
      TextType{.what = "subject", .rule = check_subject},
      {.documentation = "The token's `sub`, exactly; or with `*` for one whole segment between `/` "
                        "and `:`, as in `system:serviceaccount:shop:*`.",
       .example = "\"system:serviceaccount:shop:checkout\"",
       .applies = Applies::at_once});
  table.setting<BindingConfig>(
      "roles.*.bind[].claims",
      [](auto& binding) -> auto& { return binding.claims; },
      TextMapType{.what = "map of claims"},
      {.documentation = "Claims of the token and the text that each must be; where a claim is a "
                        "list, one of its entries must be that text. A dot leads into a claim "
                        "inside a claim.",
       .example = "{ groups: orders-team }",
       .applies = Applies::at_once});
  table.setting<BindingConfig>(
      "roles.*.bind[].certificate",
      [](auto& binding) -> auto& { return binding.certificate; },
      TextType{.what = "name of a certificate", .rule = check_certificate},
      {.documentation =
           "The client's certificate, which one of `tls.client_ca` has signed, must bear "
           "this name: `dns:`, `uri:` or `email:` and an alternative name, or `cn:` and "
           "the subject's common name; exactly, or with `*` for one whole segment "
           "between `/` and `:`. `any`: a certificate, whatever its names. The token is "
           "needed all the same.",
       .example = "\"uri:spiffe://shop.example/checkout\"",
       .applies = Applies::at_once});
  table.setting<BindingConfig>(
      "roles.*.bind[].review_by",
      [](auto& binding) -> auto& { return binding.review_by; },
      UnsetType<DateType>{},
      {.documentation = "Somebody looks at this trust again by that day (UTC) and moves the date. "
                        "`meridian roles review` lists what is due.",
       .example = "2027-01-31",
       .applies = Applies::at_once});
  table.setting<BindingConfig>(
      "roles.*.bind[].on_overdue",
      [](auto& binding) -> auto& { return binding.on_overdue; },
      ChoiceType<OnOverdue>{overdue_words},
      {.documentation = "What happens when that day has passed. `warn`: the log says so. `stop`: "
                        "the entry no longer admits anybody.",
       .example = "stop",
       .applies = Applies::at_once});
}

void add_backend_settings(SettingTable& table) {
  table.setting<RoleConfig>(
      "roles.*.postgres.backends_max",
      [](auto& role) -> auto& { return role.postgres.backends_max; },
      CountType{.min = 1, .max = 10'000},
      {.documentation = "Connections to PostgreSQL in each database for this role, on all loops "
                        "together. Clients beyond it wait.",
       .example = "50",
       .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.postgres.backends_min",
      [](auto& role) -> auto& { return role.postgres.backends_min; },
      CountType{.min = 0, .max = 10'000},
      {.documentation = "Of those, how many are kept open when nobody needs them.",
       .example = "2",
       .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.postgres.backend_age_max",
      [](auto& role) -> auto& { return role.postgres.backend_age_max; },
      DurationType{.min = seconds(10), .max = days(30)},
      {.documentation = "An older connection is closed when it is given back.",
       .example = "30m",
       .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.postgres.queue_timeout",
      [](auto& role) -> auto& { return role.postgres.queue_timeout; },
      DurationType{.min = milliseconds(1), .max = minutes(10)},
      {.documentation = "How long a client waits for a connection before it is told that the pool "
                        "is full.",
       .example = "1s",
       .applies = Applies::at_once});
}

void add_role_postgres_settings(SettingTable& table) {
  constexpr std::uint32_t visits_most = 1'000'000;
  table.section(
      "roles.*.postgres",
      "At the Postgres door. What the role may do with tables is said in the database, by "
      "GRANT and row-level security.");
  table.setting<RoleConfig>(
      "roles.*.postgres.databases",
      [](auto& role) -> auto& { return role.postgres.databases; },
      TextListType{.item = {.what = "database's name", .rule = check_database},
                   .what = "list of databases"},
      {.documentation = "The databases that the role may enter; `\"*\"` for all. Without it, none.",
       .example = "[shop]",
       .applies = Applies::at_once});
  table.setting<RoleConfig>("roles.*.postgres.visits_max",
                            [](auto& role) -> auto& { return role.postgres.visits_max; },
                            CountType{.min = 1, .max = visits_most},
                            {.documentation = "Clients of this role at a time, on this node.",
                             .example = "200",
                             .applies = Applies::at_once});
  add_backend_settings(table);
  table.setting<RoleConfig>(
      "roles.*.postgres.statement_timeout",
      [](auto& role) -> auto& { return role.postgres.statement_timeout; },
      OptionalType<DurationType>{{.min = milliseconds(1), .max = days(1)}},
      {.documentation = "The longest that a statement may run. A client can ask for less, not for "
                        "more.",
       .example = "30s",
       .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.postgres.read_only",
      [](auto& role) -> auto& { return role.postgres.read_only; },
      FlagType{},
      {.documentation = "Whether all transactions of the role are read-only. A guard rail against "
                        "mistakes; what the role must never write is not granted to it.",
       .example = "true",
       .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.postgres.expiry",
      [](auto& role) -> auto& { return role.postgres.expiry; },
      ChoiceType<Expiry>{expiry_words},
      {.documentation = "What happens to a client whose token expires: its connection ends at once "
                        "(`end`), or when the transaction that it is in has ended "
                        "(`finish_transaction`).",
       .example = "finish_transaction",
       .applies = Applies::at_once});
}

void add_role_redis_settings(SettingTable& table) {
  const TextListType patterns{
      .item = {.what = "key pattern", .size_max = 512, .rule = check_redis_keys},
      .what = "list of key patterns"};
  table.section("roles.*.redis",
                "At the Redis door, for views and other keys alike. Patterns use Redis's own "
                "wildcards: `*`, `?`, `[abc]`.");
  table.setting<RoleConfig>("roles.*.redis.read",
                            [](auto& role) -> auto& { return role.redis.read; },
                            patterns,
                            {.documentation = "Keys that the role may read.",
                             .example = "[\"order:*\", \"session:*\"]",
                             .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.redis.write",
      [](auto& role) -> auto& { return role.redis.write; },
      patterns,
      {.documentation = "Keys that the role may write. Views are written in the database alone.",
       .example = "[\"session:*\"]",
       .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.redis.forget",
      [](auto& role) -> auto& { return role.redis.forget; },
      patterns,
      {.documentation = "Keys of views that the role may drop from the cache, with DEL or UNLINK.",
       .example = "[\"order:*\"]",
       .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.redis.commands",
      [](auto& role) -> auto& { return role.redis.commands; },
      TextListType{.item = {.what = "command", .size_max = 64, .rule = check_redis_command},
                   .what = "list of commands"},
      {.documentation = "Commands that name no key or endanger the server (`flushall`, `keys`, "
                        "`config|get`, ...), which are refused unless they are named here.",
       .example = "[dbsize, config|get]",
       .applies = Applies::at_once});
  table.setting<RoleConfig>("roles.*.redis.visits_max",
                            [](auto& role) -> auto& { return role.redis.visits_max; },
                            CountType{.min = 1, .max = 1'000'000},
                            {.documentation = "Clients of this role at a time, on this node.",
                             .example = "5000",
                             .applies = Applies::at_once});
}

void add_role_nats_settings(SettingTable& table) {
  const TextListType subjects{
      .item = {.what = "subject", .size_max = 512, .rule = check_nats_subject},
      .what = "list of subjects"};
  const TextListType streams{.item = {.what = "stream", .size_max = 256, .rule = check_nats_stream},
                             .what = "list of streams"};
  table.section(
      "roles.*.nats",
      "At the NATS door. Subjects use NATS's own wildcards: `*` one token, `>` the rest. A "
      "wildcard "
      "that stands first never means what belongs to the server or to single clients (`$JS`, "
      "`$KV`, `$SYS`, `_INBOX`): name those. Inboxes of its own, with an id that cannot be "
      "guessed, "
      "every client has.");
  const auto list =
      [&](std::string_view path, auto field, const TextListType& type, SettingText text) {
        text.applies = Applies::at_once;
        table.setting<RoleConfig>(path, field, type, text);
      };
  list("roles.*.nats.publish",
       [](auto& role) -> auto& { return role.nats.publish; },
       subjects,
       {.documentation = "Subjects that the role may publish to.", .example = "[\"orders.>\"]"});
  list("roles.*.nats.publish_deny",
       [](auto& role) -> auto& { return role.nats.publish_deny; },
       subjects,
       {.documentation = "Of those, what it may not.", .example = "[\"orders.audit.>\"]"});
  list(
      "roles.*.nats.subscribe",
      [](auto& role) -> auto& { return role.nats.subscribe; },
      subjects,
      {.documentation = "Subjects that the role may receive. A subscription must lie within one of "
                        "them.",
       .example = "[\"orders.changed.>\"]"});
  list("roles.*.nats.subscribe_deny",
       [](auto& role) -> auto& { return role.nats.subscribe_deny; },
       subjects,
       {.documentation = "Of those, what it may not: messages of such a subject are left out of a "
                         "wider subscription.",
        .example = "[\"orders.changed.secret.>\"]"});
  list("roles.*.nats.queues",
       [](auto& role) -> auto& { return role.nats.queues; },
       {.item = {.what = "queue group", .size_max = 256}, .what = "list of queue groups"},
       {.documentation = "Queue groups that the role may join; without it, any.",
        .example = "[workers]"});
  list("roles.*.nats.consume",
       [](auto& role) -> auto& { return role.nats.consume; },
       streams,
       {.documentation = "Streams of JetStream, by name or `prefix*`, whose messages the role may "
                         "read, with consumers of its own making, and acknowledge.",
        .example = "[ORDERS]"});
  list("roles.*.nats.manage",
       [](auto& role) -> auto& { return role.nats.manage; },
       streams,
       {.documentation = "Streams that the role may make, change, purge and delete. Their subjects "
                         "must be ones that it may publish or subscribe.",
        .example = "[\"KV_*\"]"});
  list(
      "roles.*.nats.headers",
      [](auto& role) -> auto& { return role.nats.headers; },
      {.item = {.what = "header's name", .size_max = 128}, .what = "list of headers"},
      {.documentation = "Headers that tell JetStream what to do (`Nats-Expected-*`, `Nats-Rollup`, "
                        "`Nats-TTL`, ...) and that the role may set, by name or `prefix*`.",
       .example = "[\"Nats-Expected-*\"]"});
  table.setting<RoleConfig>(
      "roles.*.nats.allow_responses",
      [](auto& role) -> auto& { return role.nats.allow_responses; },
      CountType{.min = 0, .max = 1'000'000},
      {.documentation = "How many messages the role may publish to the reply subject of each "
                        "message that it received.",
       .example = "1",
       .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.nats.responses_expiry",
      [](auto& role) -> auto& { return role.nats.responses_expiry; },
      DurationType{.min = milliseconds(1), .max = hours(24)},
      {.documentation = "And for how long.", .example = "30s", .applies = Applies::at_once});
  table.setting<RoleConfig>("roles.*.nats.subscriptions_max",
                            [](auto& role) -> auto& { return role.nats.subscriptions_max; },
                            CountType{.min = 1, .max = 1'000'000},
                            {.documentation = "Subscriptions of one client at a time.",
                             .example = "10000",
                             .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.nats.messages_per_second",
      [](auto& role) -> auto& { return role.nats.messages_per_second; },
      OptionalType<CountType>{{.min = 1, .max = 100'000'000}},
      {.documentation =
           "Messages that one client may publish in a second; after a pause it may send "
           "as many at once. Each one beyond is refused with an error of its own, and "
           "the connection goes on.",
       .example = "1000",
       .applies = Applies::at_once});
  table.setting<RoleConfig>(
      "roles.*.nats.pending_max",
      [](auto& role) -> auto& { return role.nats.pending_max; },
      BytesType{.min = 64 * kibibyte, .max = 1 * gibibyte},
      {.documentation =
           "Refusals that may wait in the door for one client, behind what the server "
           "still has to answer. Beyond it the client is not read on until it is less. "
           "Messages do not wait in the door: it reads them from the server as fast as "
           "the client takes them, and who takes none for 10 s is cut.",
       .example = "4MiB",
       .applies = Applies::at_once});
  table.setting<RoleConfig>("roles.*.nats.visits_max",
                            [](auto& role) -> auto& { return role.nats.visits_max; },
                            CountType{.min = 1, .max = 1'000'000},
                            {.documentation = "Clients of this role at a time, on this node.",
                             .example = "5000",
                             .applies = Applies::at_once});
}

}  // namespace

void add_role_settings(SettingTable& table) {
  table.map_of<Config, RoleConfig>(
      {.path = "roles.*",
       .documentation =
           "What clients may do, by role. The role's name is also the name of its login role in "
           "the "
           "database: a-z, 0-9 and _. Nobody has a role without an entry in its `bind`, and there "
           "is no default role.",
       .example_name = "checkout",
       .count_max = 1'000,
       .name_rule = check_role_name},
      [](auto& config) -> auto& { return config.roles; });
  add_binding_settings(table);
  add_role_postgres_settings(table);
  add_role_redis_settings(table);
  add_role_nats_settings(table);
}

}  // namespace meridian::config
