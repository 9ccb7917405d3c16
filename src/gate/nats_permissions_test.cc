// What a role may publish, receive and ask of JetStream, and whose inbox is whose.

#include "gate/nats_permissions.h"

#include "gate/inbox_claims.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

NatsConfig shop() {
  NatsConfig config;
  config.publish = {"orders.>", "$KV.carts.>"};
  config.publish_deny = {"orders.secret.*"};
  config.subscribe = {"orders.changed.>", "stock.*"};
  config.subscribe_deny = {"orders.changed.secret.>", "stock.gold"};
  config.consume = {"ORDERS", "KV_carts"};
  config.manage = {"KV_*"};
  config.headers = {"Nats-Expected-*"};
  return config;
}

NatsPermissions compile(const NatsConfig& config) {
  auto made = NatsPermissions::compile("shop", config);
  EXPECT_TRUE(made) << made.error().detail();
  return *std::move(made);
}

bool may_publish(const NatsPermissions& role,
                 std::string_view subject,
                 std::string_view body = {}) {
  return role
      .decide_publish(subject, body, [](std::string_view to) { return to.starts_with("mine."); })
      .allowed;
}

TEST(NatsPermissions, Publish) {
  const NatsPermissions role = compile(shop());
  EXPECT_TRUE(may_publish(role, "orders.created"));
  EXPECT_TRUE(may_publish(role, "orders.secret.a.b"));
  EXPECT_TRUE(may_publish(role, "$KV.carts.7"));
  for (const auto* const no : {"orders",
                               "orders.secret.a",
                               "other",
                               "orders..a",
                               "$KV.other.7",
                               "$SYS.REQ.SERVER.PING",
                               "$JS.API.STREAM.LIST",
                               "_INBOX.x",
                               ""})
    EXPECT_FALSE(may_publish(role, no)) << no;
  const auto denied = role.decide_publish("orders.secret.a", {}, [](auto) { return false; });
  EXPECT_EQ(denied.rule, "role \"shop\", nats publish_deny \"orders.secret.*\"");
}

TEST(NatsPermissions, Subscribe) {
  const NatsPermissions role = compile(shop());
  const auto ask = [&](std::string_view pattern) {
    const auto answer = role.subscribe().decide_pattern(pattern);
    return std::string(answer.decision.allowed ? answer.partly ? "partly" : "yes" : "no");
  };
  EXPECT_EQ(ask("orders.changed.5"), "yes");
  EXPECT_EQ(ask("orders.changed.>"), "partly");
  EXPECT_EQ(ask("orders.changed.*"), "yes");
  EXPECT_EQ(ask("orders.changed.*.*"), "partly");
  EXPECT_EQ(ask("orders.changed.secret.>"), "no");
  EXPECT_EQ(ask("stock.*"), "partly");
  EXPECT_EQ(ask("stock.gold"), "no");
  EXPECT_EQ(ask("stock.>"), "no");
  EXPECT_EQ(ask(">"), "no");
  EXPECT_EQ(ask("orders.changed.>.x"), "no");
  EXPECT_FALSE(role.subscribe().decide("orders.changed.secret.a").allowed);
  EXPECT_TRUE(role.subscribe().decide("orders.changed.a").allowed);
}

TEST(NatsPermissions, AWildcardInFrontIsNotAboutTheServersOwn) {
  NatsConfig config;
  config.publish = {">"};
  config.subscribe = {">"};
  const NatsPermissions role = compile(config);
  EXPECT_TRUE(may_publish(role, "a.b"));
  EXPECT_FALSE(may_publish(role, "$SYS.x"));
  EXPECT_FALSE(may_publish(role, "_INBOX.x"));
  EXPECT_FALSE(may_publish(role, "$JS.API.INFO"));
  const auto all = role.subscribe().decide_pattern(">");
  EXPECT_TRUE(all.decision.allowed && all.partly);
  EXPECT_FALSE(role.subscribe().decide_pattern("$JS.>").decision.allowed);
  EXPECT_FALSE(role.subscribe().decide_pattern("_INBOX.>").decision.allowed);
  EXPECT_FALSE(role.subscribe().decide("$JS.EVENT.x").allowed);
}

TEST(NatsPermissions, ConsumersOfNamedStreams) {
  const NatsPermissions role = compile(shop());
  const auto* const pull = R"({"stream_name":"ORDERS","config":{"durable_name":"d"}})";
  EXPECT_TRUE(may_publish(role, "$JS.API.CONSUMER.CREATE.ORDERS.d", pull));
  EXPECT_TRUE(may_publish(role, "$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.d", pull));
  EXPECT_TRUE(may_publish(
      role, "$JS.API.CONSUMER.CREATE.ORDERS", R"({"config":{"deliver_subject":"mine.1"}})"));
  for (const auto* const body : {"",
                                 "{}",
                                 "[]",
                                 R"({"config":[]})",
                                 R"({"config":{"deliver_subject":"orders.created"}})",
                                 R"({"config":{"deliver_subject":7}})",
                                 R"({"config":{},"config":{"deliver_subject":"x"}})",
                                 R"({"stream_name":"OTHER","config":{}})"})
    EXPECT_FALSE(may_publish(role, "$JS.API.CONSUMER.CREATE.ORDERS", body)) << body;
  EXPECT_FALSE(may_publish(role, "$JS.API.CONSUMER.CREATE.OTHER", R"({"config":{}})"));
  for (const auto* const yes : {"$JS.API.INFO",
                                "$JS.API.CONSUMER.MSG.NEXT.ORDERS.d",
                                "$JS.API.CONSUMER.INFO.ORDERS.d",
                                "$JS.API.STREAM.INFO.ORDERS",
                                "$JS.API.STREAM.MSG.GET.ORDERS",
                                "$JS.API.DIRECT.GET.KV_carts.a.b",
                                "$JS.ACK.ORDERS.d.1.2.3.4.5",
                                "$JS.ACK.dom.acc.ORDERS.d.1.2.3.4.5.tok"})
    EXPECT_TRUE(may_publish(role, yes)) << yes;
  for (const auto* const no : {"$JS.API.CONSUMER.MSG.NEXT.OTHER.d",
                               "$JS.API.STREAM.INFO.OTHER",
                               "$JS.API.DIRECT.GET.OTHER",
                               "$JS.ACK.OTHER.d.1.2.3.4.5",
                               "$JS.ACK.ORDERS.x.OTHER.d.1.2.3.4.5.tok",
                               "$JS.API.STREAM.LIST",
                               "$JS.API.STREAM.SNAPSHOT.ORDERS",
                               "$JS.API.STREAM.DELETE.ORDERS",
                               "$JS.API.STREAM.PURGE.ORDERS",
                               "$JS.API",
                               "$JS.",
                               "$JS.x.API.INFO"})
    EXPECT_FALSE(may_publish(role, no)) << no;
}

TEST(NatsPermissions, StreamsAreDefinedWithinTheRolesOwnSubjects) {
  const NatsPermissions role = compile(shop());
  const auto create = [&](std::string_view body) {
    return may_publish(role, "$JS.API.STREAM.CREATE.KV_carts", body);
  };
  EXPECT_TRUE(create(R"({"name":"KV_carts","subjects":["$KV.carts.>"]})"));
  EXPECT_TRUE(create(R"({"name":"KV_carts","mirror":{"name":"ORDERS"}})"));
  for (const auto* const body :
       {R"({"name":"KV_carts","subjects":["$KV.other.>"]})",
        R"({"name":"KV_carts","subjects":[">"]})",
        R"({"name":"KV_carts","subjects":["orders.>"]})",
        R"({"name":"KV_carts"})",
        R"({"name":"KV_x","subjects":["$KV.carts.>"]})",
        R"({"name":"KV_carts","mirror":{"name":"OTHER"}})",
        R"({"name":"KV_carts","sources":[{"name":"ORDERS"},{"name":"X"}]})",
        R"({"name":"KV_carts","subjects":["$KV.carts.>"],)"
        R"("republish":{"src":">","dest":"other.>"}})"})
    EXPECT_FALSE(create(body)) << body;
  EXPECT_TRUE(may_publish(role, "$JS.API.STREAM.PURGE.KV_carts"));
  EXPECT_TRUE(may_publish(role, "$JS.API.STREAM.NAMES", R"({"subject":"stock.silver"})"));
  EXPECT_FALSE(may_publish(role, "$JS.API.STREAM.NAMES", R"({"subject":"other"})"));
  EXPECT_FALSE(may_publish(role, "$JS.API.STREAM.NAMES", "{}"));
}

TEST(NatsPermissions, HeadersAndQueues) {
  const NatsPermissions role = compile(shop());
  EXPECT_TRUE(NatsPermissions::is_control_header("nats-rollup"));
  EXPECT_FALSE(NatsPermissions::is_control_header("Nats-Msg-Id"));
  EXPECT_TRUE(role.decide_header("nats-expected-Last-Sequence").allowed);
  EXPECT_FALSE(role.decide_header("Nats-Rollup").allowed);
  EXPECT_TRUE(role.decide_queue("any").allowed);
  NatsConfig config = shop();
  config.queues = {"workers"};
  const NatsPermissions narrow = compile(config);
  EXPECT_TRUE(narrow.decide_queue("workers").allowed);
  EXPECT_FALSE(narrow.decide_queue("others").allowed);
}

TEST(NatsPermissions, WhatDoesNotCompile) {
  for (const auto* const bad : {"", "a..b", "a.>.b", "a b", "$JS.API.>"}) {
    NatsConfig config;
    config.publish = {bad};
    EXPECT_FALSE(NatsPermissions::compile("r", config)) << bad;
  }
  NatsConfig config;
  config.consume = {"A.B"};
  EXPECT_FALSE(NatsPermissions::compile("r", config));
}

TEST(InboxClaims, BelongToTheirPrincipal) {
  const std::string id(22, 'x');
  const std::string inbox = "_INBOX." + id;
  EXPECT_EQ(InboxClaims::inbox_of(inbox + ".*"), inbox);
  EXPECT_EQ(InboxClaims::inbox_of(inbox), inbox);
  for (const auto* const none : {"_INBOX.>", "_INBOX.*.x", "_INBOX.short", "_INBOX", "a.b", ""})
    EXPECT_EQ(InboxClaims::inbox_of(none), "") << none;
  InboxClaims claims;
  {
    InboxClaims::Holder first(claims, "alice");
    InboxClaims::Holder again(claims, "alice");
    InboxClaims::Holder other(claims, "mallory");
    EXPECT_TRUE(first.owns(inbox + ".*"));
    EXPECT_TRUE(first.owns(inbox + ".7"));
    EXPECT_FALSE(other.owns(inbox + ".*"));
    EXPECT_TRUE(first.holds(inbox + ".7"));
    EXPECT_FALSE(again.holds(inbox));
    EXPECT_FALSE(again.holds("orders"));
    EXPECT_TRUE(again.owns(inbox));
  }
  InboxClaims::Holder later(claims, "mallory");
  EXPECT_TRUE(later.owns(inbox));
}

}  // namespace
}  // namespace meridian
