#include "wire/nats/nkey.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::nats {
namespace {

// The pair of NATS's own documentation (Authentication, NKeys).
constexpr std::string_view documented_seed =
    "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
constexpr std::string_view documented_key =
    "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

TEST(Nkey, TheDocumentedSeedHasTheDocumentedKey) {
  const auto key = Nkey::from_seed(Secret(std::string(documented_seed)));
  ASSERT_TRUE(key) << key.error().detail();
  EXPECT_EQ(key->public_key(), documented_key);
}

// RFC 8032, section 7.1, test 2: the seed 4ccd089b... and the message 72.
TEST(Nkey, SignsAsEd25519Does) {
  const auto key =
      Nkey::from_seed(Secret("SUAEZTIITMUP7FW2TW3MGRXMCFHA6W4KGGPTLK5GETNIZ5XNJ64KN63OVI"));
  if (!key) GTEST_FAIL() << key.error().detail();
  EXPECT_EQ(
      key->sign("\x72"),
      "kqAJqfDUyrhyDoILX2QlQKKye1QWUD-Ps3YiI-vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA");
}

TEST(Nkey, WhatIsNoSeedIsRefusedUnseen) {
  std::string changed(documented_seed);
  changed[10] = changed[10] == 'A' ? 'B' : 'A';
  for (const std::string& text : {std::string(),
                                  std::string("SUAC"),
                                  std::string(documented_key),
                                  changed,
                                  std::string(documented_seed) + "A",
                                  std::string(58, '1')}) {
    const auto key = Nkey::from_seed(Secret(text));
    ASSERT_FALSE(key);
    EXPECT_TRUE(text.empty() || !key.error().detail().contains(text));
  }
}

}  // namespace
}  // namespace meridian::nats
