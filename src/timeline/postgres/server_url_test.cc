// A server's address is taken out of every form of connection string that libpq takes.

#include "timeline/postgres/server_url.h"

#include <gtest/gtest.h>

namespace meridian {
namespace {

TEST(ServerUrlTest, AllFormsOfAConnectionString) {
  const auto url =
      parse_server_url("postgresql://meridian@db.example.com:6543/shop?sslmode=verify-full");
  ASSERT_TRUE(url) << url.error().detail();
  EXPECT_EQ(url->host, "db.example.com");
  EXPECT_EQ(url->port, 6'543);
  EXPECT_EQ(url->user, "meridian");
  EXPECT_EQ(url->database, "shop");
  EXPECT_EQ(url->sslmode, "verify-full");
  const auto words = parse_server_url("host=/run/postgresql dbname=shop");
  ASSERT_TRUE(words);
  EXPECT_EQ(words->host, "/run/postgresql");
  EXPECT_EQ(words->port, 5'432);
  EXPECT_TRUE(words->sslmode.empty());
  EXPECT_EQ(parse_server_url("postgres://[::1]/shop")->host, "::1");
  EXPECT_EQ(parse_server_url("postgres://%2Frun%2Fpostgresql/shop")->host, "/run/postgresql");
}

TEST(ServerUrlTest, WhatNamesNoServerIsRefused) {
  for (const char* const text : {"",
                                 "postgresql:///shop",
                                 "host=",
                                 "host=a port=0",
                                 "host=a port=99999",
                                 "host=a port=x",
                                 "no such thing",
                                 "host=a nonsense=1",
                                 "postgresql://[::1/shop"}) {
    const auto address = parse_server_url(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code(), Errc::invalid);
    EXPECT_FALSE(address.error().detail().empty());
  }
}

}  // namespace
}  // namespace meridian
