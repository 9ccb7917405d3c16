#include "gate/stamp_mac.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

const StampMac::Parts parts{.subject = "orders.created",
                            .message_id = "checkout:1",
                            .payload = "{}",
                            .identity = "iss=k8s;sub=a;role=checkout;req=01"};

TEST(StampMac, IsThatOfItsPartsAlone) {
  const StampMac mac(Secret(std::string(32, 'k')));
  const std::string good = mac.of(parts);
  EXPECT_EQ(good.size(), 43);
  EXPECT_EQ(good, mac.of(parts));
  EXPECT_TRUE(mac.verify(parts, good));
  EXPECT_FALSE(mac.verify(parts, {}));
  EXPECT_FALSE(mac.verify(parts, good + "A"));
  EXPECT_FALSE(StampMac(Secret(std::string(32, 'l'))).verify(parts, good));
  for (const auto member : {&StampMac::Parts::subject,
                            &StampMac::Parts::message_id,
                            &StampMac::Parts::payload,
                            &StampMac::Parts::identity}) {
    StampMac::Parts changed = parts;
    changed.*member = "x";
    EXPECT_FALSE(mac.verify(changed, good));
  }
  // Bytes do not move from one part to the next.
  StampMac::Parts moved = parts;
  moved.subject = "orders.createdc";
  moved.message_id = "heckout:1";
  EXPECT_FALSE(mac.verify(moved, good));
}

// Computed with another implementation (Python's hmac and hashlib) by what the header says.
TEST(StampMac, IsWhatTheHeaderOfItsFileSays) {
  const StampMac mac(Secret(std::string(32, 'k')));
  EXPECT_EQ(mac.of(parts), "IWmTfBArUsxJI7mQYSt0j6LBjGxKRDAhbPgAxS4-ON0");
}

TEST(StampMac, AStampIsSplitAtItsMac) {
  const auto stamped = StampMac::split("iss=a;sub=b;req=1;mac=xyz");
  EXPECT_EQ(stamped.identity, "iss=a;sub=b;req=1");
  EXPECT_EQ(stamped.mac, "xyz");
  EXPECT_EQ(StampMac::split("iss=a;sub=b").mac, "");
}

}  // namespace
}  // namespace meridian
