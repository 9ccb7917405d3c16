// What JetStream says is read as it means it, and what is no answer is refused.

#include "streams/jetstream_api.h"

#include <gtest/gtest.h>

namespace meridian {
namespace {

TEST(AckSubject, IsReadInBothForms) {
  const auto old_form = parse_ack_subject("$JS.ACK.ORDERS.rule.2.17.19.1763700000123456789.5");
  ASSERT_TRUE(old_form);
  EXPECT_EQ(old_form->stream, "ORDERS");
  EXPECT_EQ(old_form->consumer, "rule");
  EXPECT_EQ(old_form->attempts, 2U);
  EXPECT_EQ(old_form->sequence, 17U);
  EXPECT_EQ(old_form->delivery, 19U);
  EXPECT_EQ(old_form->time, 1'763'700'000'123'456'789);
  EXPECT_EQ(old_form->pending, 5U);
  const auto new_form = parse_ack_subject("$JS.ACK.hub.hash.ORDERS.rule.1.2.3.4.0.chance");
  ASSERT_TRUE(new_form);
  EXPECT_EQ(new_form->stream, "ORDERS");
  EXPECT_EQ(new_form->sequence, 2U);
  EXPECT_FALSE(parse_ack_subject("$JS.ACK.ORDERS.rule.2.17.19.x.5"));
  EXPECT_FALSE(parse_ack_subject("$JS.ACK.ORDERS.rule.2.17"));
  EXPECT_FALSE(parse_ack_subject("orders.created"));
  EXPECT_FALSE(parse_ack_subject(""));
  EXPECT_FALSE(parse_ack_subject("$JS.ACK.a.b.1.2.3.4.5.6.7.8.9.10.11"));
}

TEST(JetStreamHeaders, AreFoundWhateverTheirCase) {
  const std::string block = make_headers({{"Nats-Msg-Id", "a b"}, {"X", "1"}});
  EXPECT_EQ(block, "NATS/1.0\r\nNats-Msg-Id: a b\r\nX: 1\r\n\r\n");
  EXPECT_EQ(find_header(block, "nats-msg-id"), "a b");
  EXPECT_EQ(find_header(block, "x"), "1");
  EXPECT_FALSE(find_header(block, "Nats"));
  EXPECT_FALSE(find_header("", "x"));
  EXPECT_FALSE(find_header("NATS/1.0", "x"));
  EXPECT_EQ(status_of("NATS/1.0 503\r\n\r\n"), 503);
  EXPECT_EQ(status_of("NATS/1.0 408 Request Timeout\r\n\r\n"), 408);
  EXPECT_EQ(status_of(block), 0);
}

TEST(JetStreamAnswers, TellWhatACallerActsOn) {
  const auto error = [](std::string_view body) {
    return std::string(
        to_string(parse_pub_ack("{\"error\":" + std::string(body) + "}").error().code()));
  };
  EXPECT_EQ(error(R"({"code":400,"err_code":10071,"description":"wrong last sequence: 3"})"),
            "conflict");
  EXPECT_EQ(error(R"({"code":404,"err_code":10059,"description":"stream not found"})"),
            "not_found");
  EXPECT_EQ(error(R"({"code":503,"err_code":10008,"description":"unavailable"})"), "unavailable");
  EXPECT_EQ(error(R"({"code":400,"err_code":10025,"description":"bad request"})"), "invalid");
  const auto ack = parse_pub_ack(R"({"stream":"S","seq":7,"duplicate":true})");
  ASSERT_TRUE(ack);
  EXPECT_EQ(ack->sequence, 7U);
  EXPECT_TRUE(ack->duplicate);
  EXPECT_FALSE(parse_pub_ack(R"({"answer":42})"));
  EXPECT_FALSE(parse_pub_ack("+OK"));
}

TEST(JetStreamAnswers, GiveStoredMessages) {
  const auto message = parse_stored_message(
      R"({"message":{"subject":"s","seq":3,"hdrs":"TkFUUy8xLjANCkE6IGINCg0K","data":"AP9h"}})",
      1'000);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->headers, "NATS/1.0\r\nA: b\r\n\r\n");
  EXPECT_EQ(message->payload,
            std::string("\0\xff"
                        "a",
                        3));
  EXPECT_FALSE(parse_stored_message(R"({"message":{"data":"*"}})", 1'000));
  EXPECT_FALSE(parse_stored_message(R"({"message":{"data":"AAAA"}})", 10));
}

TEST(JetStreamRequests, AreJson) {
  EXPECT_EQ(to_json("S", ConsumerConfig{.durable = "d", .start_sequence = 5}),
            R"({"stream_name":"S","config":{"durable_name":"d",)"
            R"("deliver_policy":"by_start_sequence","opt_start_seq":5,"ack_policy":"explicit",)"
            R"("replay_policy":"instant","ack_wait":30000000000,"max_deliver":-1,)"
            R"("max_ack_pending":1000}})");
}

}  // namespace
}  // namespace meridian
