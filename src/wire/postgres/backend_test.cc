// The server's messages: what the writer makes, the parser reads back; a hostile server gets no
// further than an error.

#include "wire/postgres/backend.h"

#include "wire/postgres/backend_writer.h"
#include "wire/postgres/framing.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

template <class Append>
std::string body_of(Append append) {
  std::string bytes;
  append(bytes);
  const Frame frame = Framer(FramingRules(Sender::backend)).next(bytes);
  EXPECT_EQ(frame.status, Frame::Status::whole);
  EXPECT_EQ(frame.size, bytes.size());
  return bytes.substr(header_bytes);
}

template <class Parse>
void expect_exact(const std::string& body, Parse parse) {
  EXPECT_TRUE(parse(body));
  for (std::size_t size = 0; size < body.size(); ++size)
    EXPECT_FALSE(parse(std::string_view(body).substr(0, size))) << size;
  EXPECT_FALSE(parse(body + "x"));
}

TEST(Backend, ReadsTheMethodsOfAuthentication) {
  const std::string ok = body_of(append_authentication_ok);
  EXPECT_EQ(parse_authentication(ok)->kind, Authentication::Kind::ok);
  expect_exact(ok, parse_authentication);
  const std::string cleartext = body_of(append_authentication_cleartext_password);
  EXPECT_EQ(parse_authentication(cleartext)->kind, Authentication::Kind::cleartext_password);

  const std::string sasl = body_of([](std::string& out) {
    append_authentication_sasl(out,
                               std::array<std::string_view, 2>{"SCRAM-SHA-256-PLUS",  //
                                                               "SCRAM-SHA-256"});
  });
  EXPECT_TRUE(parse_authentication(sasl)->offers("SCRAM-SHA-256"));
  EXPECT_FALSE(parse_authentication(sasl)->offers("SCRAM-SHA-1"));
  EXPECT_FALSE(parse_authentication(sasl)->offers(""));
  expect_exact(sasl, parse_authentication);

  const std::string more =
      body_of([](std::string& out) { append_authentication_sasl_continue(out, "r=x"); });
  EXPECT_EQ(parse_authentication(more)->kind, Authentication::Kind::sasl_continue);
  EXPECT_EQ(parse_authentication(more)->payload, "r=x");
  const std::string final =
      body_of([](std::string& out) { append_authentication_sasl_final(out, "v=x"); });
  EXPECT_EQ(parse_authentication(final)->kind, Authentication::Kind::sasl_final);
  EXPECT_EQ(parse_authentication(final)->payload, "v=x");
}

TEST(Backend, RefusesMethodsThatAreNotSpoken) {
  for (const char method : {'\2', '\6', '\7', '\10', '\11', '\15'}) {
    const std::string body{'\0', '\0', '\0', method};
    const auto parsed = parse_authentication(body);
    ASSERT_FALSE(parsed);
    EXPECT_TRUE(parsed.error().detail().contains("let it ask for scram-sha-256"));
  }
  EXPECT_FALSE(parse_authentication(std::string("\0\0\0\x05") + "123"));
  std::string many("\0\0\0\x0a", 4);
  for (int i = 0; i < 17; ++i)
    many += std::string("X\0", 2);
  EXPECT_FALSE(parse_authentication(many + std::string(1, '\0')));
}

TEST(Backend, ReadsKeysOfBothProtocols) {
  for (const std::size_t size : {4UZ, 32UZ, 256UZ}) {
    const std::string key(size, 'k');
    const std::string body =
        body_of([&](std::string& out) { append_backend_key_data(out, 99, key); });
    EXPECT_EQ(parse_backend_key_data(body)->process_id, 99U);
    EXPECT_EQ(parse_backend_key_data(body)->key, key);
  }
  EXPECT_FALSE(parse_backend_key_data(std::string(7, 'k')));
  EXPECT_FALSE(parse_backend_key_data(std::string(261, 'k')));
}

TEST(Backend, ReadsParameterStatus) {
  const std::string body = body_of(
      [](std::string& out) { append_parameter_status(out, "server_version", "15.14 (Debian)"); });
  EXPECT_EQ(parse_parameter_status(body)->name, "server_version");
  EXPECT_EQ(parse_parameter_status(body)->value, "15.14 (Debian)");
  expect_exact(body, parse_parameter_status);
}

TEST(Backend, ReadsTheThreeStatesOfReadyForQuery) {
  for (const auto status :
       {TransactionStatus::idle, TransactionStatus::in_transaction, TransactionStatus::failed}) {
    const std::string body =
        body_of([&](std::string& out) { append_ready_for_query(out, status); });
    EXPECT_EQ(*parse_ready_for_query(body), status);
    expect_exact(body, parse_ready_for_query);
  }
  EXPECT_FALSE(parse_ready_for_query("X"));
}

TEST(Backend, ReadsCommandAndRowsFromATag) {
  const auto parsed = [](std::string tag) {
    tag += '\0';
    const auto complete = parse_command_complete(tag);
    return std::pair(std::string(complete->command), complete->rows);
  };
  using Rows = std::optional<std::uint64_t>;
  EXPECT_EQ(parsed("INSERT 0 5"), std::pair(std::string("INSERT"), Rows(5)));
  EXPECT_EQ(parsed("SELECT 100000"), std::pair(std::string("SELECT"), Rows(100'000)));
  EXPECT_EQ(parsed("CREATE TABLE"), std::pair(std::string("CREATE TABLE"), Rows()));
  EXPECT_EQ(parsed("BEGIN"), std::pair(std::string("BEGIN"), Rows()));
  EXPECT_EQ(parsed(""), std::pair(std::string(), Rows()));
  EXPECT_EQ(parsed("UPDATE 99999999999999999999"),
            std::pair(std::string("UPDATE 99999999999999999999"), Rows()));
  const std::string body =
      body_of([](std::string& out) { append_command_complete(out, "DELETE 3"); });
  expect_exact(body, parse_command_complete);
}

TEST(Backend, ReadsTheFieldsOfAnError) {
  const std::string body = body_of([](std::string& out) {
    append_error(out,
                 {.severity = Severity::fatal,
                  .sqlstate = "28000",
                  .message = "no role for this identity",
                  .detail = "request 42",
                  .hint = "bind the subject to a role"});
  });
  const Report report = *parse_report(body);
  EXPECT_EQ(report.severity, "FATAL");
  EXPECT_EQ(report.sqlstate, "28000");
  EXPECT_EQ(report.message, "no role for this identity");
  EXPECT_EQ(report.detail, "request 42");
  EXPECT_EQ(report.hint, "bind the subject to a role");
  EXPECT_EQ(report.table, "");
  expect_exact(body, parse_report);
}

// CVE-2026-6666: an ErrorResponse without SQLSTATE.
TEST(Backend, ToleratesAnErrorWithoutSqlstateOrWithoutAnything) {
  const Report report = *parse_report(std::string_view("SERREUR\0Moops\0\0", 15));
  EXPECT_EQ(report.severity, "ERREUR");
  EXPECT_EQ(report.sqlstate, "");
  EXPECT_EQ(report.message, "oops");
  EXPECT_EQ(parse_report(std::string_view("\0", 1))->message, "");
}

TEST(Backend, SkipsFieldsThatItDoesNotKnowButBoundsTheirNumber) {
  EXPECT_EQ(parse_report(std::string_view("?x\0Ffile.c\0Mm\0\0", 15))->message, "m");
  std::string many;
  for (std::size_t i = 0; i < report_fields_max; ++i)
    many += std::string("?x\0", 3);
  EXPECT_TRUE(parse_report(many + '\0'));
  EXPECT_FALSE(parse_report(many + std::string("?x\0", 3) + '\0'));
}

TEST(Backend, WritesANulInAMessageAsAQuestionMark) {
  const std::string body = body_of([](std::string& out) {
    append_notice(out,
                  {.severity = Severity::notice,
                   .sqlstate = "00000",
                   .message = std::string_view("a\0Ccheat\0", 9)});
  });
  EXPECT_EQ(parse_report(body)->message, "a?Ccheat?");
  EXPECT_EQ(parse_report(body)->sqlstate, "00000");
}

TEST(Backend, ReadsARowDescription) {
  const std::vector<ColumnDescription> columns = {{.name = "id",
                                                   .table = 16384,
                                                   .attribute = 1,
                                                   .type = 23,
                                                   .type_size = 4,
                                                   .type_modifier = -1,
                                                   .format = 0},
                                                  {.name = "",
                                                   .table = 0,
                                                   .attribute = 0,
                                                   .type = 25,
                                                   .type_size = -1,
                                                   .type_modifier = -1,
                                                   .format = 1}};
  const std::string body = body_of([&](std::string& out) { append_row_description(out, columns); });
  const auto parsed = parse_row_description(body);
  ASSERT_EQ(parsed->size(), 2U);
  EXPECT_EQ((*parsed)[0].name, "id");
  EXPECT_EQ((*parsed)[0].table, 16384U);
  EXPECT_EQ((*parsed)[0].type, 23U);
  EXPECT_EQ((*parsed)[0].type_modifier, -1);
  EXPECT_EQ((*parsed)[1].type_size, -1);
  EXPECT_EQ((*parsed)[1].format, 1);
  expect_exact(body, parse_row_description);
}

TEST(Backend, ReadsARow) {
  const std::vector<Value> row = {"1", std::nullopt, "", std::string_view("\0\0", 2)};
  const std::string body = body_of([&](std::string& out) { append_data_row(out, row); });
  const Values values = *parse_data_row(body);
  EXPECT_EQ(std::vector<Value>(values.begin(), values.end()), row);
  expect_exact(body, parse_data_row);
  EXPECT_TRUE(parse_data_row(std::string_view("\0\0", 2))->empty());
}

TEST(Backend, RefusesARowWhoseLengthsDoNotFit) {
  for (const std::int32_t size : {-2, -0x7fffffff - 1, 1, 0x7fffffff}) {
    std::string body("\0\1\0\0\0\0", 6);
    store_big_endian(body.data() + 2, size);
    EXPECT_FALSE(parse_data_row(body)) << size;
  }
  EXPECT_FALSE(parse_data_row("\xff\xff"));
}

// Counts that a body cannot hold must not be allocated for.
TEST(Backend, RefusesCountsBeyondTheBody) {
  EXPECT_FALSE(parse_row_description("\xff\xff"));
  EXPECT_FALSE(parse_parameter_description("\xff\xff"));
  EXPECT_FALSE(parse_copy_response(std::string_view("\0\xff\xff", 3)));
  EXPECT_FALSE(parse_negotiate_protocol_version(std::string_view("\0\3\0\0\xff\xff\xff\xff", 8)));
}

TEST(Backend, ReadsCopyResponses) {
  const std::string_view body("\1\0\2\0\1\0\1", 7);
  EXPECT_TRUE(parse_copy_response(body)->binary);
  EXPECT_EQ(parse_copy_response(body)->column_formats.size(), 2U);
  EXPECT_FALSE(parse_copy_response(std::string_view("\2\0\0", 3)));
  EXPECT_FALSE(parse_copy_response(body.substr(0, 6)));
}

TEST(Backend, ReadsANotification) {
  const std::string body =
      body_of([](std::string& out) { append_notification_response(out, 7, "channel", "payload"); });
  EXPECT_EQ(parse_notification_response(body)->process_id, 7U);
  EXPECT_EQ(parse_notification_response(body)->channel, "channel");
  EXPECT_EQ(parse_notification_response(body)->payload, "payload");
  expect_exact(body, parse_notification_response);
}

TEST(Backend, WritesTheVersionOfANegotiationAsAWholeNumber) {
  const std::string body = body_of([](std::string& out) {
    append_negotiate_protocol_version(
        out, {.version = version_3_2, .unrecognised = {"_pq_.a", "_pq_.b"}, .needed = true});
  });
  const auto parsed = parse_negotiate_protocol_version(body);
  EXPECT_EQ(parsed->version, 196'610U);
  EXPECT_EQ(parsed->unrecognised, (std::vector<std::string_view>{"_pq_.a", "_pq_.b"}));
  expect_exact(body, parse_negotiate_protocol_version);
}

TEST(Backend, ReadsParameterTypes) {
  const std::string_view body("\0\2\0\0\0\x17\0\0\0\x19", 10);
  const auto types = *parse_parameter_description(body);
  ASSERT_EQ(types.size(), 2U);
  EXPECT_EQ(types[0], 23U);
  EXPECT_EQ(types[1], 25U);
}

TEST(Backend, WritesMessagesWithoutABody) {
  std::string bytes;
  append_empty(bytes, BackendType::parse_complete);
  append_empty(bytes, BackendType::no_data);
  EXPECT_EQ(bytes, std::string("1\0\0\0\4n\0\0\0\4", 10));
}

}  // namespace
}  // namespace meridian::postgres
