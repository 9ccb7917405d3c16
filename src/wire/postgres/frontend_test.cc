// The client's messages: what the writer makes, the parser reads back; every truncation, every
// trailing byte and every count that does not fit is refused.

#include "wire/postgres/frontend.h"

#include "wire/postgres/framing.h"
#include "wire/postgres/frontend_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

// The body of the one message that `append` writes.
template <class Append>
std::string body_of(Append append) {
  std::string bytes;
  append(bytes);
  const Frame frame = Framer(FramingRules(Sender::frontend)).next(bytes);
  EXPECT_EQ(frame.status, Frame::Status::whole);
  EXPECT_EQ(frame.size, bytes.size());
  return bytes.substr(header_bytes);
}

// `parse` takes the body and nothing shorter or longer.
template <class Parse>
void expect_exact(const std::string& body, Parse parse) {
  EXPECT_TRUE(parse(body));
  for (std::size_t size = 0; size < body.size(); ++size)
    EXPECT_FALSE(parse(std::string_view(body).substr(0, size))) << size;
  EXPECT_FALSE(parse(body + "x"));
  EXPECT_FALSE(parse(body + std::string(1, '\0')));
}

TEST(Frontend, ReadsAQuery) {
  const std::string body = body_of([](std::string& out) { append_query(out, "select 1"); });
  EXPECT_EQ(parse_query(body)->sql, "select 1");
  expect_exact(body, parse_query);
}

// What a server would read up to the NUL and a filter beyond it.
TEST(Frontend, RefusesANulInsideOfAQuery) {
  EXPECT_FALSE(parse_query(std::string_view("select 1\0; drop table t\0", 24)));
}

TEST(Frontend, ReadsAParse) {
  const std::string body = body_of([](std::string& out) {
    append_parse(out, "s", "select $1, $2", std::vector<std::uint32_t>{23, 0xffffffff});
  });
  const Parse parse = *parse_parse(body);
  EXPECT_EQ(parse.statement, "s");
  EXPECT_EQ(parse.sql, "select $1, $2");
  ASSERT_EQ(parse.parameter_types.size(), 2U);
  EXPECT_EQ(parse.parameter_types[0], 23U);
  EXPECT_EQ(parse.parameter_types[1], 0xffffffffU);
  expect_exact(body, parse_parse);
}

TEST(Frontend, ReadsABind) {
  const std::string body = body_of([](std::string& out) {
    append_bind(out, "p", "s", std::vector<Value>{"one", std::nullopt, ""}, 1);
  });
  const Bind bind = *parse_bind(body);
  EXPECT_EQ(bind.portal, "p");
  EXPECT_EQ(bind.statement, "s");
  EXPECT_TRUE(bind.parameter_formats.empty());
  EXPECT_EQ(std::vector<Value>(bind.parameters.begin(), bind.parameters.end()),
            (std::vector<Value>{"one", std::nullopt, ""}));
  ASSERT_EQ(bind.result_formats.size(), 1U);
  EXPECT_EQ(bind.result_formats[0], 1);
  expect_exact(body, parse_bind);
}

std::string bind_body(std::uint16_t formats_count,
                      std::int16_t format,
                      std::uint16_t values_count,
                      std::int32_t value_size) {
  std::string bytes;
  MessageWriter writer(bytes, 'B');
  writer.text("").text("").number(formats_count);
  for (std::uint16_t i = 0; i < formats_count; ++i)
    writer.number(format);
  writer.number(values_count);
  for (std::uint16_t i = 0; i < values_count; ++i)
    writer.number(value_size);
  writer.number(std::uint16_t{0}).finish();
  return bytes.substr(header_bytes);
}

// A negative field length made pgproto3 panic; a count beyond the body must not be believed.
TEST(Frontend, RefusesABindWhoseCountsOrLengthsDoNotFit) {
  EXPECT_TRUE(parse_bind(bind_body(0, 0, 2, -1)));
  EXPECT_TRUE(parse_bind(bind_body(1, 1, 2, -1)));
  EXPECT_TRUE(parse_bind(bind_body(2, 0, 2, 0)));
  EXPECT_FALSE(parse_bind(bind_body(3, 0, 2, -1)));
  EXPECT_FALSE(parse_bind(bind_body(1, 2, 2, -1)));
  EXPECT_FALSE(parse_bind(bind_body(1, -1, 2, -1)));
  EXPECT_FALSE(parse_bind(bind_body(0, 0, 1, -2)));
  EXPECT_FALSE(parse_bind(bind_body(0, 0, 1, 0x7fffffff)));
  std::string body = bind_body(0, 0, 0, 0);
  store_big_endian(body.data() + 4, std::uint16_t{0xffff});
  EXPECT_FALSE(parse_bind(body));
}

// A Bind of 65,535 parameters got stuck in a proxy (odyssey#533).
TEST(Frontend, ReadsABindOfAsManyParametersAsThereCanBe) {
  const std::string body = bind_body(0, 0, 0xffff, -1);
  EXPECT_EQ(parse_bind(body)->parameters.size(), 0xffffU);
}

TEST(Frontend, ReadsTheHeadOfABindAsSoonAsItIsThere) {
  const std::string body = body_of([](std::string& out) {
    append_bind(out, "portal", "statement", std::vector<Value>{"value"});
  });
  const std::size_t names = std::string_view("portal.statement.").size();
  for (std::size_t size = 0; size < names; ++size)
    EXPECT_FALSE(parse_bind_head(std::string_view(body).substr(0, size))->has_value());
  for (std::size_t size = names; size <= body.size(); ++size) {
    const BindHead head = **parse_bind_head(std::string_view(body).substr(0, size));
    EXPECT_EQ(head.portal, "portal");
    EXPECT_EQ(head.statement, "statement");
    EXPECT_EQ(head.size, names);
  }
  EXPECT_FALSE(parse_bind_head(std::string(names_bytes_max, 'x')));
}

TEST(Frontend, RenamesABindWithoutTouchingTheRest) {
  const std::string body =
      body_of([](std::string& out) { append_bind(out, "p", "client's", std::vector<Value>{"1"}); });
  const BindHead head = **parse_bind_head(body);
  const std::string_view rest = std::string_view(body).substr(head.size);
  const std::string renamed = body_of([&](std::string& out) {
    append_bind_head(out, head.portal, "server_name_1", rest.size());
    out += rest;
  });
  const Bind bind = *parse_bind(renamed);
  EXPECT_EQ(bind.statement, "server_name_1");
  EXPECT_EQ(*bind.parameters.begin(), Value("1"));
}

TEST(Frontend, ReadsDescribeAndClose) {
  const std::string describe =
      body_of([](std::string& out) { append_describe(out, Target::portal, "p"); });
  EXPECT_EQ(parse_describe(describe)->target, Target::portal);
  EXPECT_EQ(parse_describe(describe)->name, "p");
  expect_exact(describe, parse_describe);
  const std::string close =
      body_of([](std::string& out) { append_close(out, Target::statement, "s"); });
  EXPECT_EQ(parse_close(close)->target, Target::statement);
  expect_exact(close, parse_close);
  EXPECT_FALSE(parse_describe(std::string_view("Xs\0", 3)));
  EXPECT_FALSE(parse_close(std::string_view("\0s\0", 3)));
}

TEST(Frontend, ReadsAnExecute) {
  const std::string body = body_of([](std::string& out) { append_execute(out, "p", 100); });
  EXPECT_EQ(parse_execute(body)->portal, "p");
  EXPECT_EQ(parse_execute(body)->rows_max, 100);
  expect_exact(body, parse_execute);
}

TEST(Frontend, ReadsACopyFail) {
  const std::string body = body_of([](std::string& out) { append_copy_fail(out, "no more"); });
  EXPECT_EQ(parse_copy_fail(body)->reason, "no more");
  expect_exact(body, parse_copy_fail);
}

TEST(Frontend, ReadsAPasswordOfSixteenKilobytes) {
  const std::string token(16 * 1024, 'x');
  const std::string body = body_of([&](std::string& out) { append_password(out, token); });
  EXPECT_EQ(parse_password(body)->password, token);
  EXPECT_FALSE(parse_password(body + "x"));
}

TEST(Frontend, ReadsASaslInitialResponse) {
  const std::string body = body_of(
      [](std::string& out) { append_sasl_initial_response(out, "SCRAM-SHA-256", "n,,n=,r=abc"); });
  EXPECT_EQ(parse_sasl_initial_response(body)->mechanism, "SCRAM-SHA-256");
  EXPECT_EQ(parse_sasl_initial_response(body)->response, "n,,n=,r=abc");
  expect_exact(body, parse_sasl_initial_response);
  const std::string none = body_of(
      [](std::string& out) { append_sasl_initial_response(out, "OAUTHBEARER", std::nullopt); });
  EXPECT_FALSE(parse_sasl_initial_response(none)->response.has_value());
}

// CVE-2026-6664: an integer overflow in the length of a SASL response.
TEST(Frontend, RefusesSaslResponsesWhoseLengthDoesNotFit) {
  for (const std::int32_t size : {-2, -0x7fffffff - 1, 4, 0x7fffffff}) {
    std::string body = std::string("SCRAM-SHA-256") + '\0' + "\0\0\0\0abc";
    body = std::string("SCRAM-SHA-256") + '\0' + std::string(4, '\0') + "abc";
    store_big_endian(body.data() + 14, size);
    EXPECT_FALSE(parse_sasl_initial_response(body)) << size;
  }
}

TEST(Frontend, ReadsAFunctionCall) {
  std::string bytes;
  MessageWriter(bytes, 'F')
      .number(std::uint32_t{1318})
      .number(std::uint16_t{1})
      .number(std::int16_t{0})
      .number(std::uint16_t{2})
      .counted("abc")
      .number(std::int32_t{-1})
      .number(std::int16_t{1})
      .finish();
  const std::string body = bytes.substr(header_bytes);
  const FunctionCall call = *parse_function_call(body);
  EXPECT_EQ(call.function, 1318U);
  EXPECT_EQ(call.arguments.size(), 2U);
  EXPECT_EQ(*call.arguments.begin(), Value("abc"));
  EXPECT_EQ(call.result_format, 1);
  expect_exact(body, parse_function_call);
}

TEST(Frontend, NamesTheMessageAndTheReason) {
  EXPECT_EQ(parse_query("select 1").error().detail(), "Query: a text in it has no end");
  EXPECT_EQ(parse_query(std::string_view("a\0b", 3)).error().detail(),
            "Query: 1 bytes follow its last field");
  EXPECT_EQ(parse_execute(std::string_view("p\0\0", 3)).error().detail(),
            "Execute: it ends inside a number");
}

}  // namespace
}  // namespace meridian::postgres
