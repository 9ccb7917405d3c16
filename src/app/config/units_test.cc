// Durations, sizes and dates: what people write is read exactly, what is ambiguous is refused, and
// what is printed reads back as the same value.

#include "app/config/units.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace meridian::config {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(Units, DurationsAreRead) {
  EXPECT_EQ(parse_duration("250ms"), Duration(milliseconds(250)));
  EXPECT_EQ(parse_duration("5m"), Duration(minutes(5)));
  EXPECT_EQ(parse_duration("1h30m"), Duration(minutes(90)));
  EXPECT_EQ(parse_duration("1h 30m"), Duration(minutes(90)));
  EXPECT_EQ(parse_duration("7 d"), Duration(days(7)));
  EXPECT_EQ(
      parse_duration("1d2h3m4s5ms6us"),
      Duration(days(1) + hours(2) + minutes(3) + seconds(4) + milliseconds(5) + microseconds(6)));
  EXPECT_EQ(parse_duration("0s"), Duration(0));
  EXPECT_EQ(parse_duration("36500d"), Duration(days(36'500)));
}

TEST(Units, WhatIsNoDurationIsRefused) {
  for (const std::string_view text : {"",
                                      " ",
                                      "5",
                                      "0",
                                      "m",
                                      "5 ",
                                      "-5m",
                                      "+5m",
                                      "5M",
                                      "5min",
                                      "1.5h",
                                      ".5h",
                                      "5m5",
                                      "5m5m",
                                      "5m1h",
                                      "1h  30m",
                                      " 5m",
                                      "5m ",
                                      "1h30m ",
                                      "five",
                                      "0x5m",
                                      "5ns",
                                      "5m,",
                                      "36501d",
                                      "18446744073709551616us",
                                      "18446744073709551615d"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Units, AMissingUnitIsNamed) {
  EXPECT_EQ(parse_duration("250").error(), "\"250\" has no unit; write for example 250s or 250ms");
  EXPECT_EQ(parse_bytes("64").error(), "\"64\" has no unit; write for example 64MiB or 64B");
}

TEST(Units, DurationsReadBack) {
  for (const Duration duration : {Duration(0),
                                  Duration(microseconds(1)),
                                  Duration(microseconds(1'500)),
                                  Duration(seconds(1)),
                                  Duration(minutes(90)),
                                  Duration(hours(25)),
                                  Duration(days(36'500) - microseconds(1))}) {
    EXPECT_EQ(parse_duration(print_duration(duration)), duration) << print_duration(duration);
  }
  EXPECT_EQ(print_duration(minutes(90)), "1h30m");
  EXPECT_EQ(print_duration(Duration(0)), "0s");
}

TEST(Units, SizesAreRead) {
  EXPECT_EQ(parse_bytes("0B"), 0U);
  EXPECT_EQ(parse_bytes("1KiB"), 1024U);
  EXPECT_EQ(parse_bytes("64 MiB"), 64U << 20U);
  EXPECT_EQ(parse_bytes("16777215TiB"), std::uint64_t{16'777'215} << 40U);
}

TEST(Units, WhatIsNoSizeIsRefused) {
  for (const std::string_view text : {"",
                                      "64",
                                      "MiB",
                                      "64MB",
                                      "64mib",
                                      "64M",
                                      "64kB",
                                      "64KB",
                                      "1.5GiB",
                                      "-1B",
                                      "64MiB ",
                                      " 64MiB",
                                      "64  MiB",
                                      "1MiB1KiB",
                                      "16777216TiB",
                                      "18446744073709551616B",
                                      "0x10B"}) {
    EXPECT_FALSE(parse_bytes(text)) << text;
  }
}

TEST(Units, SizesReadBack) {
  for (const std::uint64_t bytes : {std::uint64_t{0},
                                    std::uint64_t{1},
                                    std::uint64_t{1023},
                                    std::uint64_t{1024},
                                    std::uint64_t{1025},
                                    std::uint64_t{3} << 30U,
                                    std::numeric_limits<std::uint64_t>::max()}) {
    EXPECT_EQ(parse_bytes(print_bytes(bytes)), bytes) << print_bytes(bytes);
  }
  EXPECT_EQ(print_bytes(std::uint64_t{256} << 20U), "256MiB");
}

TEST(Units, DatesAreRead) {
  using std::chrono::sys_days;
  using std::chrono::year;
  EXPECT_EQ(parse_date("2027-01-31"), sys_days(year(2027) / 1 / 31));
  EXPECT_EQ(parse_date("2028-02-29"), sys_days(year(2028) / 2 / 29));
  EXPECT_EQ(print_date(sys_days(year(2028) / 2 / 29)), "2028-02-29");
  EXPECT_EQ(parse_date(print_date(sys_days(year(1) / 1 / 1))), sys_days(year(1) / 1 / 1));
  for (const std::string_view text : {"",
                                      "2027-02-29",
                                      "2027-13-01",
                                      "2027-00-01",
                                      "2027-01-00",
                                      "2027-01-32",
                                      "2027-1-31",
                                      "27-01-31",
                                      "2027/01/31",
                                      "2027-01-31T00:00:00Z",
                                      "+027-01-31",
                                      "2027--1-31",
                                      "2027-01-3x"}) {
    EXPECT_FALSE(parse_date(text)) << text;
  }
}

}  // namespace
}  // namespace meridian::config
