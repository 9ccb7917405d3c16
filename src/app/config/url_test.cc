// A URL is cut into its parts exactly, a password in it is seen wherever it stands, and what is no
// URL is refused without being repeated.

#include "app/config/url.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian::config {
namespace {

TEST(Url, PartsAreFound) {
  const auto url = parse_url("Postgres://meridian@db.internal:5433/shop?sslmode=require");
  ASSERT_TRUE(url) << url.error();
  EXPECT_EQ(url->scheme, "postgres");
  EXPECT_EQ(url->user, "meridian");
  EXPECT_FALSE(url->has_password);
  EXPECT_EQ(url->host, "db.internal");
  EXPECT_EQ(url->port, 5433);
  EXPECT_EQ(url->path, "/shop");
  EXPECT_EQ(url->query, "sslmode=require");
  EXPECT_FALSE(url->has_fragment);
}

TEST(Url, WhatIsLeftOutIsEmpty) {
  const auto url = parse_url("https://example.com");
  ASSERT_TRUE(url) << url.error();
  EXPECT_EQ(url->user, "");
  EXPECT_EQ(url->port, std::nullopt);
  EXPECT_EQ(url->path, "");
  EXPECT_EQ(url->query, std::nullopt);
}

TEST(Url, AddressesOfSixStandInBrackets) {
  const auto url = parse_url("redis://[2001:db8::1]:6379");
  ASSERT_TRUE(url) << url.error();
  EXPECT_EQ(url->host, "2001:db8::1");
  EXPECT_EQ(url->port, 6379);
  EXPECT_EQ(parse_url("redis://[::1]")->host, "::1");
}

TEST(Url, PasswordsAreSeen) {
  for (const std::string_view text : {"redis://:secret@host",
                                      "redis://user:secret@host",
                                      "redis://user:@host",
                                      "redis://user:se@cret@host",
                                      "redis://user:secret@[::1]:1"}) {
    const auto url = parse_url(text);
    ASSERT_TRUE(url) << text;
    EXPECT_TRUE(url->has_password) << text;
  }
  EXPECT_FALSE(parse_url("redis://host/a:b@c")->has_password) << "that is the path";
  EXPECT_FALSE(parse_url("redis://host?a:b@c")->has_password) << "that is the query";
}

TEST(Url, WhatIsNoUrlIsRefusedAndNotRepeated) {
  const std::string secret = "hunter2";
  for (const std::string text : {"",
                                 "hunter2",
                                 "://hunter2",
                                 "http:hunter2",
                                 "ht tp://hunter2",
                                 "http://",
                                 "http:///hunter2",
                                 "http://hunter2:0",
                                 "http://hunter2:65536",
                                 "http://hunter2:",
                                 "http://hunter2:x",
                                 "http://hunter2:1:2",
                                 "http://[hunter2",
                                 "http://[hunter2]x",
                                 "http://[hunter2]:",
                                 "http://hunter2,b",
                                 "http://hunter2/%",
                                 "http://hunter2/%4",
                                 "http://hunter2/%4g",
                                 "http://hunter2/a b",
                                 "http://hunter2/\"",
                                 "http://hunter2/${X}",
                                 "http://hunter2/\x7f",
                                 "http://hunter2/\xc3\xa9",
                                 "h_p://hunter2"}) {
    const auto url = parse_url(text);
    ASSERT_FALSE(url) << text;
    EXPECT_FALSE(url.error().contains(secret)) << url.error();
  }
  EXPECT_FALSE(parse_url("http://" + std::string(2'048, 'a')));
  EXPECT_FALSE(parse_url(std::string_view("http://a\0b", 10)));
}

}  // namespace
}  // namespace meridian::config
