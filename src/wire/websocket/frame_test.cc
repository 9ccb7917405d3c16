#include "wire/websocket/frame.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace meridian::websocket {
namespace {

std::string masked(int first, std::string_view payload) {
  const std::string mask("\x37\xfa\x21\x3d", 4);
  std::string frame(1, static_cast<char>(first));
  const std::string header(make_header(Opcode::binary, payload.size()).view());
  frame += static_cast<char>(header[1] | '\x80');
  frame += header.substr(2);
  frame += mask;
  for (std::size_t i = 0; i < payload.size(); ++i)
    frame += static_cast<char>(payload[i] ^ mask[i % 4]);
  return frame;
}

// What comes out, with the answers in brackets; empty after an error.
std::optional<std::string> read(std::string bytes, std::size_t piece) {
  Decoder decoder;
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    std::string part = bytes.substr(at, piece);
    const auto size = decoder.unwrap(part);
    if (!size) return std::nullopt;
    out += part.substr(0, *size);
    if (decoder.has_answer()) out += "[" + decoder.take_answer() + "]";
    if (decoder.closed()) break;
  }
  return out;
}

TEST(WebSocketFrame, PayloadsComeOutHoweverTheyWereSplit) {
  const std::string bytes = masked(0x82, "PING\r\n") + masked(0x02, "PU") + masked(0x89, "hi") +
                            masked(0x80, "B a 0\r\n\r\n") + masked(0x81, std::string(70'000, 'x'));
  const std::string pong("\x8a\x02hi", 4);
  const auto whole = read(bytes, bytes.size());
  ASSERT_TRUE(whole);
  EXPECT_EQ(*whole, "PING\r\nPUB a 0\r\n\r\n" + std::string(70'000, 'x') + "[" + pong + "]");
  for (const std::size_t piece : {1uz, 2uz, 3uz, 5uz, 1000uz}) {
    const auto split = read(bytes, piece);
    ASSERT_TRUE(split);
    std::string without = *split;
    const std::size_t answer = without.find('[');
    EXPECT_EQ(without.substr(answer, 6), "[" + pong + "]");
    without.erase(answer, 6);
    EXPECT_EQ(without, whole->substr(0, whole->size() - 6));
  }
}

TEST(WebSocketFrame, AGoodbyeIsAnsweredWithItsCode) {
  EXPECT_EQ(read(masked(0x88, "\x03\xe8why") + masked(0x82, "after"), 1'000),
            "[" + std::string("\x88\x02\x03\xe8", 4) + "]");
  EXPECT_EQ(read(masked(0x88, ""), 1'000), "[" + std::string("\x88\x00", 2) + "]");
}

TEST(WebSocketFrame, WhatNoClientMaySendIsRefused) {
  for (const std::string& bytes : {
           std::string("\x82\x02hi"),  // Not masked.
           masked(0xc2, "x"),          // Compressed, which nobody agreed on.
           masked(0x83, "x"),          // Reserved opcodes.
           masked(0x8b, "x"),
           masked(0x80, "x"),                                  // A continuation of nothing.
           masked(0x02, "x") + masked(0x82, "y"),              // A message inside of another.
           masked(0x09, "x"),                                  // A ping in parts,
           masked(0x89, std::string(126, 'x')),                // and too long.
           std::string("\x82\xff\x80\0\0\0\0\0\0\0mask", 14),  // A negative size.
       }) {
    EXPECT_FALSE(read(bytes, bytes.size()));
    EXPECT_FALSE(read(bytes, 1));
  }
}

TEST(WebSocketFrame, HeadersSayTheirSizes) {
  EXPECT_EQ(make_header(Opcode::binary, 125).view(), "\x82\x7d");
  EXPECT_EQ(make_header(Opcode::binary, 126).view(), std::string_view("\x82\x7e\x00\x7e", 4));
  EXPECT_EQ(make_header(Opcode::binary, 65'536).view(),
            std::string_view("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10));
}

// The example of RFC 6455, section 1.3.
TEST(WebSocketHandshake, TheKeyIsAnsweredAsTheSpecificationSays) {
  EXPECT_EQ(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_TRUE(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
  EXPECT_FALSE(is_key("dGhlIHNhbXBsZSBub25jZQ="));
  EXPECT_FALSE(is_key("dGhlIHNhbXBs\r\nIG5vbmNl=="));
}

}  // namespace
}  // namespace meridian::websocket
