// INFO and CONNECT come back as they were written, and the door's CONNECT is read as a client means
// it.

#include "wire/nats/handshake.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::nats {
namespace {

std::string_view json_of(std::string_view line, std::string_view verb) {
  line.remove_prefix(verb.size() + 1);
  return line.substr(0, line.rfind('}') + 1);
}

TEST(Handshake, Info) {
  ServerInfo info;
  info.server_id = "N1";
  info.version = "2.9.10";
  info.host = "door";
  info.port = 4222;
  info.headers = true;
  info.jetstream = true;
  info.max_payload = 4096;
  info.client_id = 7;
  info.client_ip = "10.0.0.1";
  info.lame_duck = true;
  std::string line;
  append_info(line, info);
  EXPECT_TRUE(line.starts_with("INFO {"));
  EXPECT_TRUE(line.ends_with("} \r\n"));
  const auto read = parse_info(json_of(line, "INFO"));
  ASSERT_TRUE(read) << read.error().detail();
  EXPECT_EQ(read->server_id, "N1");
  EXPECT_EQ(read->version, "2.9.10");
  EXPECT_EQ(read->port, 4222);
  EXPECT_EQ(read->max_payload, 4096);
  EXPECT_EQ(read->client_id, 7U);
  EXPECT_TRUE(read->headers && read->jetstream && read->lame_duck);
  EXPECT_FALSE(read->auth_required || read->tls_required || read->tls_available);
}

TEST(Handshake, AddressesOfOthersAreNotPassedOn) {
  const auto read = parse_info(R"({"host":"10.1.1.1","port":4222,"connect_urls":["10.1.1.2:4222"],)"
                               R"("ws_connect_urls":["x"]})");
  ASSERT_TRUE(read);
  std::string line;
  append_info(line, *read);
  EXPECT_FALSE(line.contains("connect_urls"));
  EXPECT_FALSE(line.contains("10.1.1.2"));
}

TEST(Handshake, Connect) {
  const auto defaults = parse_connect("{}", 1000);
  ASSERT_TRUE(defaults);
  EXPECT_TRUE(defaults->verbose && defaults->pedantic && defaults->echo);
  EXPECT_FALSE(defaults->headers || defaults->no_responders);
  const auto read = parse_connect(
      R"({"verbose":false,"pedantic":false,"echo":false,"headers":true,"no_responders":true,)"
      R"("protocol":1,"name":"n","lang":"c","version":"3","user":"u","pass":"p","auth_token":"t",)"
      R"("jwt":"j","sig":null,"nkey":"k","tls_required":false})",
      1000);
  ASSERT_TRUE(read) << read.error().detail();
  EXPECT_FALSE(read->verbose || read->pedantic || read->echo);
  EXPECT_TRUE(read->headers && read->no_responders);
  EXPECT_EQ(read->auth_token.reveal(), "t");
  EXPECT_EQ(read->password.reveal(), "p");
  EXPECT_EQ(read->jwt.reveal(), "j");
  std::string line;
  append_connect(line, *read);
  const auto again = parse_connect(json_of(line, "CONNECT"), 1000);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->name, "n");
  EXPECT_EQ(again->user, "u");
  EXPECT_EQ(again->protocol, 1);
  EXPECT_FALSE(again->echo);
}

TEST(Handshake, ConnectAsTheServerReadsIt) {
  ConnectOptions given;
  given.verbose = false;
  given.name = "n";
  for (const auto* const nothing :
       {"null", "{}", R"({"verbose":null,"protocol":null,"name":null})", R"({"other":[{}]})"}) {
    const auto read = parse_connect(nothing, 1000, given);
    ASSERT_TRUE(read) << nothing;
    EXPECT_FALSE(read->verbose) << nothing;
    EXPECT_EQ(read->name, "n") << nothing;
  }
  const auto read = parse_connect(R"({"Verbose":true,"PASS":"p"})", 1000, given);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->verbose);
  EXPECT_EQ(read->password.reveal(), "p");
}

TEST(Handshake, ConnectRefused) {
  for (const auto* const bad : {"",
                                "[]",
                                "{",
                                R"({"verbose":"no"})",
                                R"({"user":1})",
                                R"({"protocol":"1"})",
                                R"({"protocol":1.5})",
                                R"({"user":"a","user":"b"})",
                                R"({"pass":"a","Pass":"b"})"})
    EXPECT_FALSE(parse_connect(bad, 1000)) << bad;
  EXPECT_FALSE(parse_connect(R"({"user":"0123456789"})", 10));
}

}  // namespace
}  // namespace meridian::nats
