#include "wire/nats/quote.h"

#include <gtest/gtest.h>

namespace meridian::nats {
namespace {

// What nats-server 2.9 was seen to say.
TEST(Quoted, AsTheServer) {
  EXPECT_EQ(quoted("orders.a"), R"("orders.a")");
  EXPECT_EQ(quoted(""), R"("")");
  EXPECT_EQ(quoted("a\"b\\c'd"), R"("a\"b\\c'd")");
  EXPECT_EQ(quoted("\x01\a\b\t\n\v\f\r\x1b\x7f"), R"("\x01\a\b\t\n\v\f\r\x1b\x7f")");
  EXPECT_EQ(quoted(std::string_view("\0x", 2)), R"("\x00x")");
  EXPECT_EQ(quoted("\u00e9\u20ac\U0001f600"), "\"\u00e9\u20ac\U0001f600\"");
  EXPECT_EQ(quoted("\xc2\x85\u00a0\u200b\ufeff\ue000"), R"("\u0085\u00a0\u200b\ufeff\ue000")");
  EXPECT_EQ(quoted("\U000f0000"), R"("\U000f0000")");
  EXPECT_EQ(quoted("\xff\xe2\x82"), R"("\xff\xe2\x82")");
  EXPECT_EQ(quoted("\xed\xa0\x80"), R"("\xed\xa0\x80")");
}

}  // namespace
}  // namespace meridian::nats
