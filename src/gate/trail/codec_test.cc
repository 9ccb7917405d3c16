// Fields of every kind of record come back as they were written, and bytes that nobody wrote are an
// error and never more than that.

#include "gate/trail/codec.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>
#include <vector>

namespace meridian::trail {
namespace {

template <class Record>
std::vector<std::uint8_t> encode_fields(const Record& record) {
  std::vector<std::uint8_t> bytes(std::size_t{32} << 10);
  FieldWriter writer(bytes.data(), bytes.data() + bytes.size());
  record.fields(writer);
  bytes.resize(static_cast<std::size_t>(writer.position() - bytes.data()));
  return bytes;
}

// Gives every field a value that is not the one it has when it is missing.
class Filler {
 public:
  template <class T>
  void operator()(unsigned number, std::string_view /*name*/, T& member) {
    fill(number, member);
  }

 private:
  void fill(unsigned number, std::uint64_t& member) { member = UINT64_MAX - number; }
  void fill(unsigned number, std::uint32_t& member) { member = UINT32_MAX - number; }
  void fill(unsigned number, std::uint16_t& member) {
    member = static_cast<std::uint16_t>(UINT16_MAX - number);
  }
  void fill(unsigned /*number*/, bool& member) { member = true; }
  void fill(unsigned number, VisitId& member) { member = VisitId(number + 1000); }
  void fill(unsigned number, Duration& member) { member = std::chrono::microseconds(number + 300); }
  void fill(unsigned number, WallTime& member) { member = WallTime(std::chrono::hours(number)); }
  void fill(unsigned number, Fingerprint& member) { member = Fingerprint(number + 7); }
  void fill(unsigned number, Lsn& member) { member = Lsn(number + 8); }
  void fill(unsigned /*number*/, PreviousEnd& member) { member = PreviousEnd::torn; }
  void fill(unsigned /*number*/, Sqlstate& member) { member = Sqlstate::of("42501"); }
  template <std::size_t Size>
  void fill(unsigned number, std::array<std::uint8_t, Size>& member) {
    member.fill(static_cast<std::uint8_t>(number));
  }
  template <std::size_t SizeMax>
  void fill(unsigned number, BoundedText<SizeMax>& member) {
    texts_.push_back(std::make_unique<std::string>(SizeMax + number, 'x'));
    member = *texts_.back();
  }
  template <class T, std::size_t CountMax>
  void fill(unsigned /*number*/, BoundedList<T, CountMax>& member) {
    for (std::size_t i = 0; i < CountMax; ++i) {
      T item;
      item.fields(*this);
      member.push_back(item);
    }
  }

  std::vector<std::unique_ptr<std::string>> texts_;
};

template <class Use>
void for_each_kind(Use use) {
  for (unsigned kind = 1; kind <= record_kind_last; ++kind) {
    EXPECT_TRUE(with_record_of(static_cast<RecordKind>(kind), use)) << kind;
    EXPECT_NE(to_string(static_cast<RecordKind>(kind)), "unknown") << kind;
  }
}

TEST(Codec, EveryFieldOfEveryKindComesBack) {
  for_each_kind([](auto record) {
    Filler filler;
    record.fields(filler);
    const auto bytes = encode_fields(record);
    const auto decoded = decode<decltype(record)>(bytes);
    ASSERT_TRUE(decoded) << decoded.error().detail();
    // Written again, the bytes are the same: no field was lost or changed.
    EXPECT_EQ(encode_fields(*decoded), bytes) << to_string(record.kind);
    EXPECT_NE(encode_fields(decltype(record)()), bytes) << to_string(record.kind);
  });
}

TEST(Codec, TheLargestRecordOfEveryKindFits) {
  for_each_kind([](auto record) {
    Filler filler;
    record.fields(filler);
    EXPECT_LE(encode_fields(record).size() + 48 + 7, 32u * 1024) << to_string(record.kind);
  });
}

TEST(Codec, WhatIsZeroOrEmptyTakesNoRoom) {
  for_each_kind([](auto record) {
    if (record.kind == RecordKind::head) return;  // Its hash and signature are always written.
    EXPECT_TRUE(encode_fields(record).empty()) << to_string(record.kind);
  });
}

TEST(Codec, FieldNumbersAndNamesAreUniqueAndFitTheKeyByte) {
  // The names that an export gives to what every record has.
  const std::set<std::string_view> taken{
      "time", "node", "shard", "segment", "sequence", "kind", "visit", "request"};
  for_each_kind([&](auto record) {
    std::set<unsigned> numbers;
    std::set<std::string_view> names = taken;
    record.fields([&](unsigned number, std::string_view name, const auto& /*member*/) {
      EXPECT_TRUE(numbers.insert(number).second) << to_string(record.kind) << number;
      EXPECT_TRUE(names.insert(name).second) << to_string(record.kind) << name;
      EXPECT_TRUE(number >= 1 && number <= field_number_max);
    });
  });
}

TEST(Codec, EveryPrefixOfARecordIsReadOrRefusedAndNeverMore) {
  for_each_kind([](auto record) {
    Filler filler;
    record.fields(filler);
    const auto bytes = encode_fields(record);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      // A copy of exactly that size, so that reading beyond it is seen.
      const std::vector<std::uint8_t> prefix(bytes.begin(),
                                             bytes.begin() + static_cast<std::ptrdiff_t>(size));
      const auto decoded = decode<decltype(record)>(prefix);
      if (decoded && record.kind != RecordKind::head) {  // Whose hashes are always written.
        EXPECT_LE(encode_fields(*decoded).size(), size);
      }
    }
  });
}

TEST(Codec, FieldsAndWireTypesOfALaterVersionAreSkipped) {
  auto bytes = encode_fields(KeyWrite{.command = "SET", .key = "a"});
  const std::vector<std::uint8_t> later{
      40 << 2 | 0, 0x96, 0x01,                        // A number.
      41 << 2 | 1, 1,    2,    3,   4,   5, 6, 7, 8,  // Eight bytes.
      42 << 2 | 2, 3,    'n',  'e', 'w',              // Bytes.
      43 << 2 | 3, 1,    'c',                         // A cut text.
  };
  bytes.insert(bytes.begin(), later.begin(), later.end());
  bytes.insert(bytes.end(), later.begin(), later.end());
  const auto decoded = decode<KeyWrite>(bytes);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->command.bytes, "SET");
  EXPECT_EQ(decoded->key.bytes, "a");
}

TEST(Codec, AWriteAloneIsWhatItWasBeforeWritesGathered) {
  const std::vector<std::uint8_t> bytes{1 << 2 | 2, 3, 'S', 'E', 'T', 2 << 2 | 2, 1, 'a'};
  EXPECT_EQ(encode_fields(KeyWrite{.command = "SET", .key = "a"}), bytes);
  const auto decoded = decode<KeyWrite>(bytes);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->command.bytes, "SET");
  EXPECT_EQ(decoded->key.bytes, "a");
  EXPECT_TRUE(decoded->further.empty());
}

TEST(Codec, ATextBeyondItsBoundIsCutAndSaysSo) {
  const std::string long_key(513, 'k');
  const auto cut_bytes = encode_fields(KeyWrite{.command = "SET", .key = long_key});
  const auto cut = decode<KeyWrite>(cut_bytes);
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->key.bytes, std::string(512, 'k'));
  EXPECT_TRUE(cut->key.cut);
  const auto whole_bytes =
      encode_fields(KeyWrite{.command = "SET", .key = std::string_view(long_key).substr(1)});
  const auto whole = decode<KeyWrite>(whole_bytes);
  ASSERT_TRUE(whole);
  EXPECT_FALSE(whole->key.cut);
}

TEST(Codec, BytesOfAPeerAreKeptAsTheyAre) {
  const std::string key("\0\xff\n\"\x80", 5);
  const auto bytes = encode_fields(KeyWrite{.command = "SET", .key = key});
  const auto decoded = decode<KeyWrite>(bytes);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->key.bytes, key);
}

TEST(Codec, AListBeyondItsBoundIsCutAndSaysSo) {
  KeyReads reads;
  for (std::size_t i = 0; i < decltype(reads.keys)::count_max; ++i) {
    EXPECT_TRUE(reads.keys.push_back({.key = "k", .reads_count = 1}));
  }
  EXPECT_FALSE(reads.keys.push_back({.key = "more", .reads_count = 1}));
  EXPECT_TRUE(reads.keys.cut());
  // A later version may have a higher bound.
  auto bytes = encode_fields(reads);
  bytes.insert(bytes.end(), bytes.begin(), bytes.end());
  const auto decoded = decode<KeyReads>(bytes);
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(decoded->keys.full());
  EXPECT_TRUE(decoded->keys.cut());
}

TEST(Codec, WrongTypesAndSizesAreRefused) {
  const std::vector<std::vector<std::uint8_t>> bad{
      {1 << 2 | 0, 5},                             // A number for a text.
      {1 << 2 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f},  // 4 GiB of text.
      {1 << 2 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},        // 2^64 - 1.
      {1 << 2 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},        // 65 bits.
      {1 << 2 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},  // 11 groups.
      {1 << 2 | 2, 2, 'a'},      // One byte short.
      {1 << 2 | 2},              // No size.
      {40 << 2 | 1, 1, 2, 3},    // Eight bytes, three there.
      {0 << 2 | 1},              // Number zero.
      {0, 0, 0, 1},              // Padding that is not zero.
      {0, 0, 0, 0, 0, 0, 0, 0},  // Too much of it.
  };
  for (const auto& bytes : bad) {
    EXPECT_FALSE(decode<KeyWrite>(bytes)) << bytes.size();
  }
  EXPECT_TRUE(decode<KeyWrite>(std::vector<std::uint8_t>{0, 0, 0, 0, 0, 0, 0}));
  // 16 and 32 bits that have more, a duration that has no nanoseconds, a digest of 31 bytes.
  EXPECT_FALSE(decode<VisitOpened>(std::vector<std::uint8_t>{3 << 2 | 0, 0x80, 0x80, 0x04}));
  EXPECT_FALSE(
      decode<Statement>(std::vector<std::uint8_t>{2 << 2 | 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}));
  EXPECT_FALSE(decode<VisitEnded>(
      std::vector<std::uint8_t>{8 << 2 | 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}));
  std::vector<std::uint8_t> digest(2 + 31, 1);
  digest[0] = 5 << 2 | 2;
  digest[1] = 31;
  EXPECT_FALSE(decode<Head>(digest));
}

TEST(Codec, TimesThatNoClockGaveBecomeTheNearestSensibleOnes) {
  EXPECT_EQ(to_rfc3339(to_wall_time(UINT64_MAX)), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(to_rfc3339(to_wall_time(INT64_MAX)), "2199-12-31T23:59:59.999999Z");
}

TEST(Codec, SqlstatesHaveFiveCharacters) {
  EXPECT_EQ(Sqlstate::of("42501").text(), "42501");
  EXPECT_EQ(Sqlstate::of("").text(), "XX000");
  EXPECT_EQ(Sqlstate::of("425011").text(), "XX000");
  EXPECT_TRUE(Sqlstate().success());
}

}  // namespace
}  // namespace meridian::trail
