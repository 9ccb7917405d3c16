// The node itself: its name, where it listens, its certificates, its log, what it lets clients ask.

#include "app/config/rules.h"
#include "app/config/settings.h"

#include <array>
#include <chrono>

namespace meridian::config {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::array<std::pair<std::string_view, LogLevel>, 4> log_levels{{
    {"debug", LogLevel::debug},
    {"info", LogLevel::info},
    {"warning", LogLevel::warning},
    {"error", LogLevel::error},
}};

void add_listen_settings(SettingTable& table) {
  table.section("listen",
                "Where each door listens: one address, a list of them, or `off`. An address is "
                "`host:port` with a literal host, or `unix:/path`. Port 0 lets the system choose; "
                "`meridian up` prints what it chose. Any address that is not on this machine alone "
                "(loopback or a Unix socket) needs `tls`.");
  table.setting<Config>("listen.postgres",
                        [](auto& config) -> auto& { return config.listen.postgres; },
                        EndpointsType{},
                        {.documentation = "The Postgres door: psql, and every PostgreSQL driver.",
                         .example = "127.0.0.1:6432"});
  table.setting<Config>(
      "listen.redis",
      [](auto& config) -> auto& { return config.listen.redis; },
      EndpointsType{},
      {.documentation = "The Redis door: views, and the keys of the Redis behind it.",
       .example = "[127.0.0.1:6380, \"unix:/run/meridian/redis.sock\"]"});
  table.setting<Config>(
      "listen.nats",
      [](auto& config) -> auto& { return config.listen.nats; },
      EndpointsType{},
      {.documentation = "The NATS door: publishing, subscribing, requests, JetStream.",
       .example = "127.0.0.1:4222"});
  table.setting<Config>(
      "listen.nats_websocket",
      [](auto& config) -> auto& { return config.listen.nats_websocket; },
      EndpointsType{},
      {.documentation =
           "The NATS door for browsers: the same protocol in WebSocket's messages; wss "
           "where `tls` has a certificate, and from other machines always.",
       .example = "127.0.0.1:8443"});
  table.setting<Config>(
      "listen.http",
      [](auto& config) -> auto& { return config.listen.http; },
      EndpointsType{},
      {.documentation = "The HTTP door: health, metrics, the own issuer's discovery and keys, and "
                        "the exchange of tokens.",
       .example = "127.0.0.1:8080"});
}

void add_tls_settings(SettingTable& table) {
  table.section("tls",
                "The certificate that every door shows. The files are read again on SIGHUP, so a "
                "renewed certificate needs no restart; connections that stand keep theirs.");
  table.setting<Config>(
      "tls.certificate",
      [](auto& config) -> auto& { return config.tls.certificate; },
      PathType{.what = "PEM file"},
      {.documentation = "The server's certificate, then the chain up to its authority.",
       .example = "server.pem"});
  table.setting<Config>(
      "tls.key",
      [](auto& config) -> auto& { return config.tls.key; },
      PathType{.what = "PEM file"},
      {.documentation = "The certificate's private key, not encrypted, readable by Meridian's user "
                        "alone.",
       .example = "server.key"});
  table.setting<Config>(
      "tls.client_ca",
      [](auto& config) -> auto& { return config.tls.client_ca; },
      PathType{.what = "PEM file"},
      {.documentation =
           "Authorities of clients' certificates. When given, a client may present a "
           "certificate that one of them signed, and `certificate` of a binding can require "
           "one; it still needs a token. The client then shakes hands anew each time.",
       .example = "clients.pem"});
  table.setting<Config>(
      "tls.nats_handshake_first",
      [](auto& config) -> auto& { return config.tls.nats_handshake_first; },
      OptionalType<DurationType>{{.min = milliseconds(1), .max = seconds(2)}},
      {.documentation =
           "At the NATS door, how long INFO waits for a client that begins with TLS "
           "(`tls_first` and the like in clients). Others get INFO that much later and "
           "begin TLS behind it, as ever.",
       .example = "50ms"});
}

void add_limit_settings(SettingTable& table) {
  constexpr std::uint32_t visits_most = 1'000'000;
  table.section("limits",
                "What clients may ask of a node. Over a limit, a client gets its protocol's error; "
                "others do not notice.");
  table.setting<Config>(
      "limits.visits_max",
      [](auto& config) -> auto& { return config.limits.visits_max; },
      CountType{.min = 1, .max = visits_most},
      {.documentation = "Connections to each door at a time.", .example = "20000"});
  table.setting<Config>(
      "limits.visits_per_address",
      [](auto& config) -> auto& { return config.limits.visits_per_address; },
      CountType{.min = 1, .max = visits_most},
      {.documentation = "Connections to each door from one address (IPv6: from one /64) at a time. "
                        "Raise it when clients come through one address translator. Connections "
                        "from this machine do not count.",
       .example = "5000"});
  table.setting<Config>(
      "limits.unauthenticated_per_address",
      [](auto& config) -> auto& { return config.limits.unauthenticated_per_address; },
      CountType{.min = 1, .max = visits_most},
      {.documentation = "Of those, how many may still be logging in.", .example = "200"});
  table.setting<Config>(
      "limits.failed_logins_per_minute",
      [](auto& config) -> auto& { return config.limits.failed_logins_per_minute; },
      CountType{.min = 1, .max = 100'000},
      {.documentation = "Failed logins from one address in a minute. Beyond it, logins from there "
                        "are refused unread until the rate has fallen.",
       .example = "30"});
  table.setting<Config>(
      "limits.login_timeout",
      [](auto& config) -> auto& { return config.limits.login_timeout; },
      DurationType{.min = milliseconds(100), .max = minutes(5)},
      {.documentation = "From accepting a connection to its proven identity, TLS included.",
       .example = "10s"});
  table.setting<Config>(
      "limits.idle_timeout",
      [](auto& config) -> auto& { return config.limits.idle_timeout; },
      OptionalType<DurationType>{{.min = seconds(1), .max = hours(24 * 30)}},
      {.documentation = "How long a client may stay without asking for anything. It does not count "
                        "while a client waits for messages that it subscribed to.",
       .example = "30m"});
  table.setting<Config>(
      "limits.pipelined_max",
      [](auto& config) -> auto& { return config.limits.pipelined_max; },
      CountType{.min = 1, .max = 100'000},
      {.documentation =
           "Requests that one connection may have under way. Beyond it, the door stops "
           "reading until answers have gone out; nothing is refused.",
       .example = "256"});
  table.setting<Config>(
      "limits.request_bytes_max",
      [](auto& config) -> auto& { return config.limits.request_bytes_max; },
      BytesType{.min = 16 * kibibyte, .max = 1 * gibibyte},
      {.documentation = "The largest single request: one Postgres message or one Redis command. "
                        "COPY is not bounded by it as a whole, only each of its messages.",
       .example = "128MiB"});
}

}  // namespace

void add_node_settings(SettingTable& table) {
  table.section("node", "This node among others.");
  table.setting<Config>(
      "node.name",
      [](auto& config) -> auto& { return config.node.name; },
      TextType{.what = "name", .size_max = 63, .rule = check_node_name},
      {.documentation =
           "Names the node in the trail, the metrics and `meridian audit`. Nodes of one "
           "database have different names, and a node keeps its own.",
       .example = "front-1",
       .default_text = "the machine's name"});
  table.setting<Config>("node.loops",
                        [](auto& config) -> auto& { return config.node.loops; },
                        CountType{.min = 1, .max = 64},
                        {.documentation = "Threads that serve clients, one loop each.",
                         .example = "4",
                         .default_text = "the number of cores, at most 64"});

  table.setting<Config>(
      "data",
      [](auto& config) -> auto& { return config.data; },
      PathType{.what = "folder"},
      {.documentation =
           "Where Meridian keeps its keys, the trail, and the data of the servers that "
           "it owns. Made at the first start, for its user alone. The environment's "
           "`MERIDIAN_DATA` comes before this setting.",
       .example = "/var/lib/meridian",
       .default_text = "/var/lib/meridian for root; else ./meridian-data where that exists, else "
                       "~/.local/share/meridian"});

  table.section("log", "The log, on standard error. What clients do is on the trail, not here.");
  table.setting<Config>("log.level",
                        [](auto& config) -> auto& { return config.log.level; },
                        ChoiceType<LogLevel>{log_levels},
                        {.documentation = "The least grave lines that are written.",
                         .example = "warning",
                         .applies = Applies::at_once});

  add_listen_settings(table);
  add_tls_settings(table);
  add_limit_settings(table);
}

}  // namespace meridian::config
