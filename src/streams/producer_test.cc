// Only what a door writes counts as an identity.

#include "streams/producer.h"

#include "streams/message_fields.h"

#include <gtest/gtest.h>

namespace meridian {
namespace {

std::string headers(std::string_view lines) {
  return "NATS/1.0\r\n" + std::string(lines) + "\r\n";
}

Result<Producer> producer_of(std::string_view block) {
  return parse_producer({.headers = block}, nullptr);
}

TEST(Producer, IsReadFromTheStamp) {
  const auto producer = producer_of(
      headers("X: y\r\nmeridian-identity: iss=k8s;sub=a%3Bb:c%25;role=checkout;req=0193\r\n"));
  ASSERT_TRUE(producer);
  EXPECT_EQ(producer->issuer, "k8s");
  EXPECT_EQ(producer->subject, "a;b:c%");
  EXPECT_EQ(producer->role, "checkout");
  EXPECT_EQ(producer->request, "0193");
}

TEST(Producer, IsNobodyOtherwise) {
  const std::string good = "Meridian-Identity: iss=k8s;sub=a;role=r;req=1\r\n";
  EXPECT_TRUE(producer_of(headers(good)));
  EXPECT_FALSE(producer_of(""));
  EXPECT_FALSE(producer_of(headers("")));
  EXPECT_FALSE(producer_of(headers(good + good)));
  EXPECT_FALSE(producer_of("NATS/1.0\r\n" + good));  // No empty line.
  EXPECT_FALSE(producer_of(headers("Meridian-Identity: iss=k8s;sub=a\r\n")));
  EXPECT_FALSE(producer_of(headers("Meridian-Identity: iss=k8s;sub=a;role=r;sub=b\r\n")));
  EXPECT_FALSE(producer_of(headers("Meridian-Identity: iss=k8s;sub=%4;role=r\r\n")));
  EXPECT_FALSE(producer_of(headers("Meridian-Identity: iss=k8s;sub=%zz;role=r\r\n")));
  EXPECT_FALSE(producer_of(headers("Meridian-Identity: iss=k8s;sub=a;role=r;admin=1\r\n")));
  EXPECT_FALSE(producer_of(headers("Meridian_Identity: iss=k8s;sub=a;role=r\r\n")));
}

TEST(Producer, IsNobodyWithoutTheMacOfThisMessage) {
  const StampMac mac(Secret(std::string(32, 'k')));
  const StampMac another(Secret(std::string(32, 'l')));
  const std::string identity = "iss=k8s;sub=a;role=r;req=1";
  const auto sealed = [&](const StampMac& by) {
    return headers("Meridian-Identity: " + identity + ";mac=" +
                   by.of({.subject = "orders.created",
                          .message_id = "r:7",
                          .payload = "hi",
                          .identity = identity}) +
                   "\r\n");
  };
  const auto subject_of = [&](StampedMessage message, const StampMac* key) {
    const auto producer = parse_producer(message, key);
    return producer ? producer->subject : std::string();
  };
  const std::string good = sealed(mac);
  const StampedMessage message{
      .headers = good, .subject = "orders.created", .message_id = "r:7", .payload = "hi"};
  EXPECT_EQ(subject_of(message, &mac), "a");
  EXPECT_EQ(subject_of(message, nullptr), "a");  // Who has no key cannot know.
  EXPECT_EQ(subject_of(message, &another), "");
  for (const auto change :
       {&StampedMessage::subject, &StampedMessage::message_id, &StampedMessage::payload}) {
    StampedMessage changed = message;
    changed.*change = "x";
    EXPECT_EQ(subject_of(changed, &mac), "");
  }
  std::string text = good;
  text.replace(text.find("sub=a"), 5, "sub=b");
  StampedMessage forged = message;
  forged.headers = text;
  EXPECT_EQ(subject_of(forged, &mac), "");
  const std::string bare = headers("Meridian-Identity: " + identity + "\r\n");
  const std::string empty = headers("Meridian-Identity: " + identity + ";mac=\r\n");
  for (const std::string& without : {bare, empty}) {
    forged.headers = without;
    EXPECT_EQ(subject_of(forged, &mac), "");
  }
}

TEST(MessageFields, AreOfThePayloadOrOfTheMessage) {
  const auto source = [](std::string_view text) {
    const auto field = parse_message_field(text);
    return field ? static_cast<int>(field->source) : -1;
  };
  EXPECT_EQ(source("total"), static_cast<int>(FieldSource::payload_field));
  EXPECT_EQ(source("a.b[0].c?"), static_cast<int>(FieldSource::payload_field));
  EXPECT_EQ(source("meridian.subject"), static_cast<int>(FieldSource::producer_subject));
  EXPECT_EQ(source("meridian.header.X-Trace"), static_cast<int>(FieldSource::header));
  EXPECT_EQ(source("meridian.token[2]"), static_cast<int>(FieldSource::message_token));
  EXPECT_TRUE(parse_message_field("note?")->may_miss);
  for (const char* const text : {"meridian.sub",
                                 "meridian.token[x]",
                                 "meridian.token[64]",
                                 "?",
                                 "meridian.header.",
                                 "a..b",
                                 ""})
    EXPECT_FALSE(parse_message_field(text)) << text;
}

}  // namespace
}  // namespace meridian
