// Header blocks are read as written, and what two readers would understand differently is refused.

#include "wire/nats/headers.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::nats {
namespace {

std::string read(std::string_view block) {
  std::string text;
  const auto done = each_header(block, [&](const HeaderLine& line) {
    text += "[" + std::string(line.name) + "|" + std::string(line.value) + "]";
    if (line.folded) text += "f";
  });
  return done ? text : "refused: " + done.error().detail();
}

TEST(Headers, Lines) {
  EXPECT_EQ(read("NATS/1.0\r\n\r\n"), "");
  EXPECT_EQ(read("NATS/1.0 503\r\n\r\n"), "");
  EXPECT_EQ(read("NATS/1.0\r\nA: b\r\nC:d: e \r\n\r\n"), "[A|b][C|d: e]");
  EXPECT_EQ(read("NATS/1.0\r\nA : b\r\n C: d\r\nE\r\n\r\n"), "[A|b][C|d]f[E|]");
}

TEST(Headers, Refused) {
  for (const std::string& block : {std::string("NATS/1.0\r\nA: b\r\n"),
                                   std::string("NATS/1.0\r\nA: b\nC: d\r\n\r\n"),
                                   std::string("NATS/1.0\r\nA: b\rC: d\r\n\r\n"),
                                   std::string("NATS/1.0\r\nA: b\0\r\n\r\n", 19),
                                   std::string("NATS/1.0\r\n\r\nA: b\r\n\r\n"),
                                   std::string("NATS/1.0\r"),
                                   std::string("NATS/1.0x\r\n\r\n"),
                                   std::string("nats/1.0\r\n\r\n"),
                                   std::string("A: b\r\n\r\n"),
                                   std::string()})
    EXPECT_TRUE(read(block).starts_with("refused: ")) << block;
}

TEST(Headers, Names) {
  EXPECT_TRUE(equal_names("Nats-Msg-Id", "nats-msg-id"));
  EXPECT_FALSE(equal_names("Nats-Msg-Id", "Nats-Msg-Ids"));
  EXPECT_TRUE(name_begins_with("MERIDIAN-x", "meridian-"));
  EXPECT_FALSE(name_begins_with("meridia", "meridian-"));
}

}  // namespace
}  // namespace meridian::nats
