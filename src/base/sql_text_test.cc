#include "base/sql_text.h"

#include <gtest/gtest.h>

namespace meridian {
namespace {

TEST(SqlText, DoublesTheQuotesOfAnIdentifier) {
  EXPECT_EQ(quote_identifier("orders"), "\"orders\"");
  EXPECT_EQ(quote_identifier("a\"b"), "\"a\"\"b\"");
}

TEST(SqlText, MakesALiteralThatNoSettingChanges) {
  EXPECT_EQ(quote_literal("it's"), "'it''s'");
  EXPECT_EQ(quote_literal("a\\b"), " E'a\\\\b'");
}

}  // namespace
}  // namespace meridian
