// Every answer of a backend belongs to what was asked; what does not ends the backend. An answer
// that may acknowledge a commit is known as such, and the backend's rest is known too.

#include "pool/conversation.h"

#include "pool/settings.h"
#include "wire/postgres/backend_writer.h"

#include <gtest/gtest.h>

#include <string>

namespace meridian {
namespace {

using postgres::BackendType;
using postgres::TransactionStatus;

class ConversationTest : public ::testing::Test {
 protected:
  static StatementStart statement(std::uint32_t ordinal, bool may_write = true) {
    return {.ordinal = ordinal,
            .started_at = Time(std::chrono::seconds(ordinal)),
            .may_write = may_write};
  }
  Conversation::Verdict answer(BackendType type, std::string_view body = {}) {
    auto verdict = talk_.answer(type, body);
    EXPECT_TRUE(verdict) << verdict.error().detail();
    return verdict ? *verdict : Conversation::Verdict{};
  }
  bool is_violation(BackendType type, std::string_view body = {}) {
    const auto verdict = talk_.answer(type, body);
    return !verdict && verdict.error().code() == Errc::invalid;
  }
  Conversation::Verdict complete(const std::string& tag) {
    return answer(BackendType::command_complete, tag + '\0');
  }
  Conversation::Verdict fail_with(const std::string& sqlstate) {
    body_ = "SERROR" + std::string(1, '\0') + "C" + sqlstate + '\0' + "Mno" + '\0' + '\0';
    return answer(BackendType::error_response, body_);
  }
  Conversation::Verdict ready(char status) {
    return answer(BackendType::ready_for_query, std::string(1, status));
  }

  Conversation talk_;
  std::string body_;  // Verdicts borrow from it.
};

TEST_F(ConversationTest, AWriteOutsideOfABlockAcknowledgesItself) {
  EXPECT_TRUE(talk_.at_rest());
  ASSERT_TRUE(talk_.query(statement(1)));
  EXPECT_FALSE(talk_.at_rest());
  EXPECT_TRUE(talk_.may_have_written());
  EXPECT_EQ(talk_.running_since(), Time(std::chrono::seconds(1)));
  const auto done = complete("UPDATE 3");
  EXPECT_TRUE(done.may_acknowledge);
  ASSERT_TRUE(done.ended);
  EXPECT_EQ(done.ended->ordinal, 1U);
  EXPECT_EQ(done.ended->rows, 3U);
  const auto rest = ready('I');
  EXPECT_TRUE(rest.ready);
  EXPECT_TRUE(rest.may_acknowledge);
  talk_.acknowledged();
  EXPECT_FALSE(talk_.may_have_written());
  EXPECT_TRUE(talk_.at_rest());
}

TEST_F(ConversationTest, AProvenReadAcknowledgesNothing) {
  ASSERT_TRUE(talk_.query(statement(1, false)));
  answer(BackendType::row_description);
  answer(BackendType::data_row);
  EXPECT_FALSE(complete("SELECT 1").may_acknowledge);
  EXPECT_FALSE(ready('I').may_acknowledge);
}

TEST_F(ConversationTest, InABlockOnlyItsEndAcknowledges) {
  ASSERT_TRUE(talk_.query(statement(1, false)));
  complete("BEGIN");
  ready('T');
  ASSERT_TRUE(talk_.query(statement(2)));
  EXPECT_FALSE(complete("INSERT 0 1").may_acknowledge);
  EXPECT_FALSE(ready('T').may_acknowledge);
  EXPECT_TRUE(talk_.may_have_written());
  ASSERT_TRUE(talk_.query(statement(3, false)));
  EXPECT_TRUE(complete("COMMIT").may_acknowledge);
  EXPECT_TRUE(ready('I').may_acknowledge);
}

TEST_F(ConversationTest, ARollbackHasNothingToWaitFor) {
  ASSERT_TRUE(talk_.query(statement(1, false)));
  complete("BEGIN");
  ready('T');
  ASSERT_TRUE(talk_.query(statement(2)));
  complete("INSERT 0 1");
  ready('T');
  ASSERT_TRUE(talk_.query(statement(3, false)));
  EXPECT_FALSE(complete("ROLLBACK").may_acknowledge);
  EXPECT_FALSE(ready('I').may_acknowledge);
}

// "begin; insert; commit; insert; rollback" in one text: the rollback does not take back the
// commit before it.
TEST_F(ConversationTest, ARollbackBehindACommitInOneTextDoes) {
  ASSERT_TRUE(talk_.query(statement(1, false)));
  complete("BEGIN");
  ready('T');
  ASSERT_TRUE(talk_.query(statement(2)));
  complete("INSERT 0 1");
  EXPECT_TRUE(complete("COMMIT").may_acknowledge);
  complete("ROLLBACK");
  EXPECT_TRUE(ready('I').may_acknowledge);
}

TEST_F(ConversationTest, ABatchOfOursIsSwallowedUpToItsSync) {
  talk_.injected_batch();
  ASSERT_TRUE(talk_.bind());
  EXPECT_TRUE(talk_.answering_injected());
  EXPECT_FALSE(answer(BackendType::parse_complete).forward);
  EXPECT_FALSE(answer(BackendType::bind_complete).forward);
  EXPECT_FALSE(complete("SET").forward);
  EXPECT_FALSE(answer(BackendType::close_complete).forward);
  EXPECT_FALSE(answer(BackendType::close_complete).forward);
  const auto rest = ready('I');
  EXPECT_FALSE(rest.forward);
  EXPECT_FALSE(rest.ready);
  EXPECT_TRUE(answer(BackendType::bind_complete).forward);
}

TEST_F(ConversationTest, ACopyInABatchOfOursIsAViolation) {
  talk_.injected_batch();
  EXPECT_TRUE(is_violation(BackendType::copy_in_response));
}

TEST_F(ConversationTest, SettingsThatArePutBackAreNews) {
  for (const bool news : {false, true}) {
    talk_.injected_query(news);
    EXPECT_EQ(answer(BackendType::parameter_status).forward, news);
    EXPECT_FALSE(answer(BackendType::notice_response).forward);
    EXPECT_FALSE(complete("SELECT 1").forward);
    EXPECT_FALSE(ready('I').forward);
  }
}

TEST_F(ConversationTest, AProcedureMayHaveCommittedInside) {
  ASSERT_TRUE(talk_.query(statement(1, false)));
  complete("BEGIN");
  ready('T');
  ASSERT_TRUE(talk_.execute(statement(2)));
  ASSERT_TRUE(talk_.sync());
  EXPECT_TRUE(complete("CALL").may_acknowledge);
}

TEST_F(ConversationTest, ExtendedMessagesAreAnsweredInTheirOrder) {
  ASSERT_TRUE(talk_.parse());
  ASSERT_TRUE(talk_.describe(postgres::Target::statement));
  ASSERT_TRUE(talk_.bind());
  ASSERT_TRUE(talk_.execute(statement(1)));
  ASSERT_TRUE(talk_.close());
  ASSERT_TRUE(talk_.sync());
  EXPECT_EQ(talk_.expected_count(), 7U);
  answer(BackendType::parse_complete);
  answer(BackendType::parameter_description);
  answer(BackendType::no_data);
  answer(BackendType::bind_complete);
  answer(BackendType::data_row);
  EXPECT_EQ(complete("INSERT 0 1").ended->ordinal, 1U);
  answer(BackendType::close_complete);
  EXPECT_TRUE(ready('I').may_acknowledge);
  EXPECT_TRUE(talk_.at_rest());
}

TEST_F(ConversationTest, ABatchWithoutSyncIsNoRest) {
  ASSERT_TRUE(talk_.parse());
  answer(BackendType::parse_complete);
  EXPECT_EQ(talk_.expected_count(), 0U);
  EXPECT_FALSE(talk_.at_rest());
  ASSERT_TRUE(talk_.sync());
  ready('I');
  EXPECT_TRUE(talk_.at_rest());
}

TEST_F(ConversationTest, AfterAnErrorEverythingUpToSyncIsSkipped) {
  ASSERT_TRUE(talk_.parse());
  ASSERT_TRUE(talk_.bind());
  ASSERT_TRUE(talk_.execute(statement(1)));
  ASSERT_TRUE(talk_.sync());
  ASSERT_TRUE(talk_.parse());
  ASSERT_TRUE(talk_.sync());
  fail_with("42601");
  EXPECT_TRUE(ready('I').ready);
  answer(BackendType::parse_complete);
  ready('I');
  EXPECT_TRUE(talk_.at_rest());
}

// What is sent behind an error that the client has not seen is discarded by the server, a simple
// query among it.
TEST_F(ConversationTest, WhatIsSentWhileTheServerSkipsIsNotAnswered) {
  ASSERT_TRUE(talk_.parse());
  fail_with("42601");
  ASSERT_TRUE(talk_.bind());
  ASSERT_TRUE(talk_.query(statement(1)));
  EXPECT_EQ(talk_.expected_count(), 0U);
  ASSERT_TRUE(talk_.sync());
  ready('I');
  EXPECT_TRUE(talk_.at_rest());
}

TEST_F(ConversationTest, AnErrorOfAStatementIsItsEnd) {
  ASSERT_TRUE(talk_.query(statement(1)));
  const auto failed = fail_with("23505");
  ASSERT_TRUE(failed.ended);
  EXPECT_EQ(failed.ended->sqlstate, "23505");
  EXPECT_TRUE(ready('I').may_acknowledge);  // A procedure may have committed before it failed.
}

TEST_F(ConversationTest, CopyInAndTheSyncThatIsTakenForAPartOfIt) {
  ASSERT_TRUE(talk_.execute(statement(1)));
  ASSERT_TRUE(talk_.sync());
  answer(BackendType::copy_in_response);
  EXPECT_TRUE(talk_.copying_in());
  EXPECT_FALSE(talk_.at_rest());
  ASSERT_TRUE(talk_.copy_data());
  ASSERT_TRUE(talk_.copy_end());
  ASSERT_TRUE(talk_.sync());
  EXPECT_EQ(complete("COPY 2").ended->rows, 2U);
  ready('I');
  EXPECT_TRUE(talk_.at_rest());
}

TEST_F(ConversationTest, OursIsSwallowed) {
  talk_.injected_query();
  EXPECT_TRUE(talk_.answering_injected());
  EXPECT_FALSE(answer(BackendType::parameter_status).forward);
  EXPECT_TRUE(answer(BackendType::notification_response).forward);
  EXPECT_FALSE(complete("SET").forward);
  const auto rest = ready('I');
  EXPECT_FALSE(rest.forward);
  EXPECT_FALSE(rest.ready);
  EXPECT_FALSE(rest.may_acknowledge);
}

TEST_F(ConversationTest, AnAnswerToNothingIsAViolation) {
  for (const BackendType type : {BackendType::command_complete,
                                 BackendType::data_row,
                                 BackendType::ready_for_query,
                                 BackendType::parse_complete,
                                 BackendType::authentication,
                                 BackendType::backend_key_data,
                                 BackendType::copy_both_response})
    EXPECT_TRUE(is_violation(type, "I")) << static_cast<char>(type);
  answer(BackendType::notice_response);
  answer(BackendType::error_response);  // The server may end the connection and say why.
}

TEST_F(ConversationTest, AnAnswerToSomethingElseIsAViolation) {
  ASSERT_TRUE(talk_.parse());
  EXPECT_TRUE(is_violation(BackendType::bind_complete));
  EXPECT_TRUE(is_violation(BackendType::ready_for_query, "I"));
  Conversation simple;
  ASSERT_TRUE(simple.query(statement(1)));
  EXPECT_FALSE(simple.answer(BackendType::parse_complete, ""));
  EXPECT_FALSE(simple.answer(BackendType::ready_for_query, "X"));
}

TEST_F(ConversationTest, WhatIsSentAheadIsBounded) {
  for (std::size_t i = 0; i < Conversation::expected_max; ++i)
    ASSERT_TRUE(talk_.parse());
  const auto more = talk_.bind();
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), Errc::exhausted);
}

TEST(ReportedSettingsTest, ComparesWithoutOrderAndIsBounded) {
  ReportedSettings one;
  ReportedSettings other;
  EXPECT_TRUE(one.set("TimeZone", "UTC"));
  EXPECT_TRUE(one.set("DateStyle", "ISO"));
  EXPECT_TRUE(other.set("DateStyle", "ISO"));
  EXPECT_FALSE(one == other);
  EXPECT_TRUE(other.set("TimeZone", "CET"));
  EXPECT_FALSE(one == other);
  EXPECT_TRUE(other.set("TimeZone", "UTC"));
  EXPECT_TRUE(one == other);
  EXPECT_EQ(*one.find("TimeZone"), "UTC");
  EXPECT_EQ(one.find("timezone"), nullptr);
  for (std::size_t i = one.all().size(); i < ReportedSettings::settings_max; ++i)
    EXPECT_TRUE(one.set("s" + std::to_string(i), ""));
  EXPECT_FALSE(one.set("one.more", ""));
  EXPECT_TRUE(one.set("s5", "changed"));
}

}  // namespace
}  // namespace meridian
