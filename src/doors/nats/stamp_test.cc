// Whatever a client writes into its headers, the one Meridian-Identity that leaves is ours.

#include "doors/nats/stamp.h"

#include "wire/nats/headers.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

class StampTest : public testing::Test {
 protected:
  static NatsStamp stamp_of(std::string subject) {
    auto stamp = NatsStamp::make(principal_of(std::move(subject)), request, {});
    EXPECT_TRUE(stamp) << stamp.error().detail();
    return *std::move(stamp);
  }

  static Principal principal_of(std::string subject) {
    NatsConfig config;
    config.headers = {"Nats-TTL"};
    auto role = std::make_shared<Role>();
    role->name = "checkout";
    role->nats = *NatsPermissions::compile("checkout", config);
    Principal principal;
    principal.issuer = "k8s";
    principal.subject = std::move(subject);
    principal.role_name = "checkout";
    principal.role = std::move(role);
    return principal;
  }

  static std::string rewritten(std::string_view lines) {
    std::string out;
    const auto done = stamp_of("shop").rewrite(
        {.subject = "a", .headers = "NATS/1.0\r\n" + std::string(lines) + "\r\n", .payload = "x"},
        out);
    if (!done) EXPECT_EQ(out, "");
    return done ? out : "refused: " + done.error().detail();
  }

  static constexpr RequestId request{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
  static constexpr std::string_view ours =
      "NATS/1.0\r\nMeridian-Identity: "
      "iss=k8s;sub=shop;role=checkout;req=0102030405060708090a0b0c0d0e0f10\r\n";
};

TEST_F(StampTest, Plain) {
  EXPECT_EQ(stamp_of("shop").plain(), std::string(ours) + "\r\n");
  EXPECT_EQ(rewritten(""), std::string(ours) + "\r\n");
}

TEST_F(StampTest, ValuesCannotBeTakenForFields) {
  const std::string plain(stamp_of("a;role=admin\r\nX: y%").plain());
  EXPECT_TRUE(plain.contains("sub=a%3Brole%3Dadmin%0D%0AX:%20y%25;role=checkout;")) << plain;
  EXPECT_FALSE(NatsStamp::make(principal_of(std::string(1'000, 'a')), request, {}));
}

TEST_F(StampTest, ForgedOnesAreTakenAway) {
  for (const auto* const forged : {"Meridian-Identity: x\r\n",
                                   "meridian-identity:x\r\n",
                                   "MERIDIAN-ANYTHING : x\r\n",
                                   " Meridian-Identity: x\r\n",
                                   "\tMeridian-Identity: x\r\n",
                                   "Meridian-Identity\r\n",
                                   "Meridian_Identity: x\r\n",
                                   "Meridian: x\r\n",
                                   "Meridian-Identity: x\r\n folded\r\n\tagain: y\r\n"})
    EXPECT_EQ(rewritten("A: b\r\n" + std::string(forged)), std::string(ours) + "A: b\r\n\r\n")
        << forged;
  EXPECT_EQ(rewritten("Meridians: x\r\n"), std::string(ours) + "Meridians: x\r\n\r\n");
}

TEST_F(StampTest, IdsAreTheRolesOwn) {
  EXPECT_EQ(rewritten("nats-msg-id: 7\r\n"), std::string(ours) + "Nats-Msg-Id: checkout:7\r\n\r\n");
}

TEST_F(StampTest, ControlHeadersAreByPermission) {
  EXPECT_EQ(rewritten("Nats-TTL: 1s\r\n"), std::string(ours) + "Nats-TTL: 1s\r\n\r\n");
  EXPECT_TRUE(rewritten("nats-rollup: all\r\n").starts_with("refused: "));
  EXPECT_TRUE(rewritten("A: b\r\n Nats-Rollup: all\r\n").starts_with("refused: "));
}

TEST_F(StampTest, AMessagesOwnRequestId) {
  const std::string trace = "0af7651916cd43dd8448eb211c80319c";
  EXPECT_TRUE(rewritten("traceparent: 00-" + trace + "-b7ad6b7169203331-01\r\n")
                  .contains(";req=" + trace + "\r\n"));
  EXPECT_TRUE(rewritten("traceparent: x\r\n").starts_with(ours));
  // It is told, so that the trail can name it.
  const auto told = [](const std::string& headers) {
    std::string out;
    return stamp_of("shop").rewrite({.subject = "a", .headers = headers, .payload = {}}, out);
  };
  EXPECT_EQ(told("NATS/1.0\r\ntraceparent: 00-" + trace + "-b7ad6b7169203331-01\r\n\r\n").value(),
            *RequestId::parse(trace));
  EXPECT_TRUE(told("NATS/1.0\r\n\r\n").value().nil());
}

TEST_F(StampTest, WhatReadersMightMisunderstandIsRefused) {
  for (const auto* const bad : {"A: b\nMeridian-Identity: x\r\n", "A: b\rC: d\r\n", "\r\nA: b\r\n"})
    EXPECT_TRUE(rewritten(bad).starts_with("refused: ")) << bad;
}

TEST_F(StampTest, WithAKeyThereIsAMacBehindTheRequest) {
  const Secret key(std::string(32, 'k'));
  const auto stamp = NatsStamp::make(principal_of("shop"), request, key);
  ASSERT_TRUE(stamp && stamp->has_mac());
  for (const std::string& headers :
       {std::string(), std::string("NATS/1.0\r\nnats-msg-id: 7\r\n\r\n")}) {
    std::string out;
    ASSERT_TRUE(stamp->rewrite({.subject = "a.b", .headers = headers, .payload = "hi"}, out));
    std::string_view value;
    ASSERT_TRUE(nats::each_header(out, [&](const nats::HeaderLine& line) {
      if (line.name == "Meridian-Identity") value = line.value;
    }));
    const auto stamped = StampMac::split(value);
    EXPECT_EQ(stamped.identity,
              "iss=k8s;sub=shop;role=checkout;req=0102030405060708090a0b0c0d0e0f10");
    EXPECT_TRUE(StampMac(key).verify({.subject = "a.b",
                                      .message_id = headers.empty() ? "" : "checkout:7",
                                      .payload = "hi",
                                      .identity = stamped.identity},
                                     stamped.mac));
  }
}

// JetStream takes the first, and others may take the last.
TEST_F(StampTest, TwoIdsAreRefused) {
  EXPECT_EQ(rewritten("Nats-Msg-Id: a\r\nnats-msg-id: b\r\n"), "refused: a second Nats-Msg-Id");
  EXPECT_EQ(rewritten("Nats-Msg-Id:\r\n"), std::string(ours) + "\r\n");
}

}  // namespace
}  // namespace meridian
