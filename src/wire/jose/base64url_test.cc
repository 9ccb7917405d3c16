// Every text is the form of at most one sequence of bytes, and every sequence has exactly one.

#include "wire/jose/base64url.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::jose {
namespace {

TEST(Base64url, AgreesWithTheExamplesOfTheSpecification) {
  // RFC 4648, section 10, without padding.
  const std::pair<std::string, std::string> examples[] = {{"", ""},
                                                          {"f", "Zg"},
                                                          {"fo", "Zm8"},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg"},
                                                          {"fooba", "Zm9vYmE"},
                                                          {"foobar", "Zm9vYmFy"},
                                                          {"\xfb\xff", "-_8"}};
  for (const auto& [bytes, text] : examples) {
    EXPECT_EQ(to_base64url(bytes), text);
    EXPECT_EQ(from_base64url(text), bytes);
  }
}

TEST(Base64url, RoundTripsEverySizeAndByte) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(from_base64url(to_base64url(bytes)), bytes);
    bytes += static_cast<char>(i * 37);
  }
}

TEST(Base64url, RefusesEverythingButTheCanonicalForm) {
  for (const std::string text : {"Zg==",
                                 "Zg=",
                                 "Z",
                                 "Zm9vY",
                                 "Zh",
                                 "Zm9",
                                 "Zm8=",
                                 "Zm 9v",
                                 "Zm9v\n",
                                 " Zm9v",
                                 "Zm+v",
                                 "Zm/v",
                                 "Zm.v",
                                 "Zm9\xc3\xa9"}) {
    EXPECT_FALSE(from_base64url(text)) << text;
  }
  EXPECT_FALSE(from_base64url(std::string("Zm\0v", 4)));
}

TEST(Base64url, OfTheLastCharactersOnlyThoseWithZeroBitsAreAccepted) {
  int accepted = 0;
  for (int c = 0; c < 256; ++c)
    accepted += from_base64url(std::string("A") + static_cast<char>(c)).has_value();
  EXPECT_EQ(accepted, 4);  // Two of six bits are used.
}

}  // namespace
}  // namespace meridian::jose
