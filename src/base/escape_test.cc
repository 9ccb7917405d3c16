// Texts are judged alike wherever in them something stands.

#include "base/escape.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace meridian {
namespace {

bool judged_one_by_one(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = utf8_sequence_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

TEST(Utf8, IsJudgedAlikeAtEachPlace) {
  for (const std::string_view part : {"\xc3\xa4",
                                      "\xe2\x82\xac",
                                      "\xf0\x9f\x90\x98",
                                      "\xc3",
                                      "\xa4",
                                      "\xe2\x82",
                                      "\xff",
                                      "\xed\xa0\x80",
                                      "\x7f"}) {
    for (std::size_t before = 0; before < 20; ++before) {
      for (std::size_t behind = 0; behind < 20; ++behind) {
        const std::string text =
            std::string(before, 'a') + std::string(part) + std::string(behind, 'b');
        EXPECT_EQ(is_utf8(text), judged_one_by_one(text)) << before << " " << behind;
      }
    }
  }
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8(std::string_view("\0", 1)));
  EXPECT_FALSE(is_utf8("12345678\xff"));
}

}  // namespace
}  // namespace meridian
