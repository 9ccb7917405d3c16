// Only what a door writes counts as an identity.

#include "streams/producer.h"

#include "streams/message_fields.h"

#include <gtest/gtest.h>

namespace meridian {
namespace {

std::string headers(std::string_view lines) {
  return "NATS/1.0\r\n" + std::string(lines) + "\r\n";
}

TEST(Producer, IsReadFromTheStamp) {
  const auto producer = parse_producer(
      headers("X: y\r\nmeridian-identity: iss=k8s;sub=a%3Bb:c%25;role=checkout;req=0193\r\n"));
  ASSERT_TRUE(producer);
  EXPECT_EQ(producer->issuer, "k8s");
  EXPECT_EQ(producer->subject, "a;b:c%");
  EXPECT_EQ(producer->role, "checkout");
  EXPECT_EQ(producer->request, "0193");
}

TEST(Producer, IsNobodyOtherwise) {
  const std::string good = "Meridian-Identity: iss=k8s;sub=a;role=r;req=1\r\n";
  EXPECT_TRUE(parse_producer(headers(good)));
  EXPECT_FALSE(parse_producer(""));
  EXPECT_FALSE(parse_producer(headers("")));
  EXPECT_FALSE(parse_producer(headers(good + good)));
  EXPECT_FALSE(parse_producer("NATS/1.0\r\n" + good));  // No empty line.
  EXPECT_FALSE(parse_producer(headers("Meridian-Identity: iss=k8s;sub=a\r\n")));
  EXPECT_FALSE(parse_producer(headers("Meridian-Identity: iss=k8s;sub=a;role=r;sub=b\r\n")));
  EXPECT_FALSE(parse_producer(headers("Meridian-Identity: iss=k8s;sub=%4;role=r\r\n")));
  EXPECT_FALSE(parse_producer(headers("Meridian-Identity: iss=k8s;sub=%zz;role=r\r\n")));
  EXPECT_FALSE(parse_producer(headers("Meridian-Identity: iss=k8s;sub=a;role=r;admin=1\r\n")));
  EXPECT_FALSE(parse_producer(headers("Meridian_Identity: iss=k8s;sub=a;role=r\r\n")));
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
