// Operations are found as nats-server finds them, and the answer does not depend on how the bytes
// were split.

#include "wire/nats/parser.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace meridian::nats {
namespace {

std::string describe(const Operation& operation) {
  std::string text(to_string(operation.kind));
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) text += " " + std::string(name) + "=" + std::string(value);
  };
  add("subject", operation.subject);
  add("reply", operation.reply);
  add("queue", operation.queue);
  add("sid", operation.sid);
  add("headers", operation.headers);
  add("payload", operation.payload);
  add("text", operation.text);
  if (operation.max != 0) text += " max=" + std::to_string(operation.max);
  return text;
}

using Lines = std::vector<std::string>;

// Feeds the bytes in pieces of this size.
Lines read(Sender sender, std::string_view bytes, std::size_t piece, ParserLimits limits = {}) {
  Parser parser(sender, limits);
  Lines lines;
  while (!bytes.empty()) {
    const std::string part(bytes.substr(0, piece));
    bytes.remove_prefix(part.size());
    std::string_view input = part;
    for (;;) {
      const auto operation = parser.next(input);
      if (!operation) {
        lines.push_back("fault: " + std::string(to_error_text(operation.error())));
        return lines;
      }
      if (!*operation) break;
      lines.push_back(describe(**operation));
    }
  }
  return lines;
}

Lines read(Sender sender, std::string_view bytes, ParserLimits limits = {}) {
  const Lines whole = read(sender, bytes, bytes.size() + 1, limits);
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece)
    EXPECT_EQ(read(sender, bytes, piece, limits), whole) << "in pieces of " << piece;
  return whole;
}

Lines of_client(std::string_view bytes, ParserLimits limits = {}) {
  return read(Sender::client, bytes, limits);
}

TEST(Parser, MessagesThatBeginAlike) {
  EXPECT_EQ(of_client("PUB a.b r.x 2\r\nhi\r\nPUB a.b r.x 2\r\nho\r\nPUB a.b r.x 3\r\nhey\r\n"
                      "PUB a.b r.x 3 \r\nhoy\r\nPING\r\nPUB a.b r.x 3 \r\nhuy\r\n"
                      "PUB a.b r.x 3 \r\nhuhu\r\n"),
            (Lines{"PUB subject=a.b reply=r.x payload=hi",
                   "PUB subject=a.b reply=r.x payload=ho",
                   "PUB subject=a.b reply=r.x payload=hey",
                   "PUB subject=a.b reply=r.x payload=hoy",
                   "PING",
                   "PUB subject=a.b reply=r.x payload=huy",
                   "fault: Unknown Protocol Operation"}));
  const std::string of_server = "HMSG a.b 17 12 14\r\nNATS/1.0\r\n\r\n";
  EXPECT_EQ(read(Sender::server,
                 of_server + "hi\r\n" + of_server + "ho\r\nMSG a.b 17 2\r\nhe\r\n" + of_server +
                     "ha\r\n" + of_server + "h\r\n"),
            (Lines{"HMSG subject=a.b sid=17 headers=NATS/1.0\r\n\r\n payload=hi",
                   "HMSG subject=a.b sid=17 headers=NATS/1.0\r\n\r\n payload=ho",
                   "MSG subject=a.b sid=17 payload=he",
                   "HMSG subject=a.b sid=17 headers=NATS/1.0\r\n\r\n payload=ha",
                   "fault: Unknown Protocol Operation"}));
}

TEST(Parser, ALineLikeTheLastIsJudgedByThePresentLimit) {
  Parser parser(Sender::client, {});
  const std::string bytes = "PUB a 2\r\nhi\r\n";
  std::string_view input = bytes;
  ASSERT_TRUE(parser.next(input));
  parser.set_payload_size_max(1);
  input = bytes;
  const auto refused = parser.next(input);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), Fault::payload_too_large);
  std::string_view part = "PUB a";
  Parser another(Sender::client, {});
  ASSERT_TRUE(another.next(part));
  another.begin_anew({.payload_size_max = 1});
  EXPECT_EQ(another.pending_size(), 0U);
  input = bytes;
  EXPECT_FALSE(another.next(input));
}

TEST(Parser, WhatAClientSays) {
  EXPECT_EQ(
      of_client("CONNECT {\"verbose\":false}\r\nPING\r\nPONG\r\n"
                "SUB a.* 1\r\nsub\ta.b  q\t 2 \r\nUNSUB 1\r\nunsub 2 10\r\n"
                "PUB a.b 5\r\nhello\r\nPUB a.b r.x 0\r\n\r\n"
                "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nhpub a r 12 12\r\nNATS/1.0\r\n\r\n\r\n"),
      (Lines{"CONNECT text={\"verbose\":false}",
             "PING",
             "PONG",
             "SUB subject=a.* sid=1",
             "SUB subject=a.b queue=q sid=2",
             "UNSUB sid=1",
             "UNSUB sid=2 max=10",
             "PUB subject=a.b payload=hello",
             "PUB subject=a.b reply=r.x",
             "HPUB subject=a headers=NATS/1.0\r\n\r\n payload=hi",
             "HPUB subject=a reply=r headers=NATS/1.0\r\n\r\n"}));
}

TEST(Parser, WhatAServerSays) {
  EXPECT_EQ(read(Sender::server,
                 "INFO {\"version\":\"2.9.10\"} \r\n+OK\r\n-ERR 'Invalid Subject'\r\nPING\r\n"
                 "MSG a.b 7 3\r\nabc\r\nMSG a.b 7 r 0\r\n\r\n"
                 "HMSG a 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"),
            (Lines{"INFO text={\"version\":\"2.9.10\"}",
                   "+OK",
                   "-ERR text=Invalid Subject",
                   "PING",
                   "MSG subject=a.b sid=7 payload=abc",
                   "MSG subject=a.b reply=r sid=7",
                   "HMSG subject=a sid=7 headers=NATS/1.0 503\r\n\r\n"}));
}

TEST(Parser, WhatAClientSaysLikeAServer) {
  EXPECT_EQ(of_client("+OK\r\n+okay\r\nINFO {}\r\nCONNECT{}\r\nPING\r\n"),
            (Lines{"+OK", "+OK", "INFO text={}", "CONNECT text={}", "PING"}));
  EXPECT_EQ(of_client("PING\r\n-ERR 'x'\r\nPING\r\n"), (Lines{"PING", "fault: "}));
  EXPECT_EQ(of_client("CONNECT\r\n"), Lines{"CONNECT"});
}

TEST(Parser, PayloadsMayHoldAnything) {
  const std::string payload("PUB x 1\r\n\0y\r\n", 13);
  EXPECT_EQ(of_client("PUB a 13\r\n" + payload + "\r\nPING\r\n"),
            (Lines{"PUB subject=a payload=" + payload, "PING"}));
}

TEST(Parser, Faults) {
  const std::string unknown = "fault: Unknown Protocol Operation";
  EXPECT_EQ(of_client("GET / HTTP/1.1\r\n"), Lines{unknown});
  EXPECT_EQ(of_client("PING\r\nXX\r\n"), (Lines{"PING", unknown}));
  EXPECT_EQ(of_client("PUB\r\n"), Lines{unknown});
  EXPECT_EQ(of_client("PUBa 1\r\n"), Lines{unknown});
  EXPECT_EQ(of_client("MSG a 1 0\r\n\r\n"), Lines{unknown});
  EXPECT_EQ(of_client("\r\n"), Lines{unknown});
  // The payload is not as long as was said.
  EXPECT_EQ(of_client("PUB a 3\r\nhello\r\n"), Lines{unknown});
  EXPECT_EQ(of_client("PUB a 6\r\nhello\r\nPING\r\n"), Lines{unknown});
  const std::string silent = "fault: ";
  for (const auto* const bad : {"PUB a\r\n",
                                "PUB a b c 1\r\n",
                                "PUB a -1\r\n",
                                "PUB a 1x\r\n",
                                "PUB a 1234567890\r\n",
                                "HPUB a 5 4\r\n",
                                "HPUB a 5\r\n",
                                "SUB a\r\n",
                                "SUB a b c d\r\n",
                                "SUB a\rb 1\r\n",
                                "UNSUB \r\n",
                                "UNSUB 1 2 3\r\n"})
    EXPECT_EQ(of_client(bad), Lines{silent}) << bad;
}

TEST(Parser, Bounds) {
  const ParserLimits limits{.line_size_max = 20, .long_line_size_max = 40, .payload_size_max = 8};
  const std::string too_long = "fault: maximum control line exceeded";
  // Arguments are counted, without what stands before them.
  EXPECT_EQ(of_client("SUB   " + std::string(18, 'a') + " 1\r\n", limits),
            Lines{"SUB subject=" + std::string(18, 'a') + " sid=1"});
  EXPECT_EQ(of_client("SUB " + std::string(19, 'a') + " 1\r\n", limits), Lines{too_long});
  EXPECT_EQ(of_client("SUB " + std::string(40, ' ') + "a 1\r\n", limits), Lines{too_long});
  EXPECT_EQ(of_client("PING" + std::string(20, ' ') + "\r\nPING" + std::string(21, 'x'), limits),
            (Lines{"PING", too_long}));
  EXPECT_EQ(of_client("SUB " + std::string(100, 'a'), limits), Lines{too_long});
  EXPECT_EQ(of_client("CONNECT " + std::string(40, 'x') + "\r\n", limits),
            Lines{"CONNECT text=" + std::string(40, 'x')});
  EXPECT_EQ(of_client("CONNECT " + std::string(41, 'x') + "\r\n", limits), Lines{too_long});
  EXPECT_EQ(of_client("PUB a 8\r\n12345678\r\n", limits), Lines{"PUB subject=a payload=12345678"});
  EXPECT_EQ(of_client("PUB a 9\r\n123456789\r\n", limits),
            Lines{"fault: Maximum Payload Violation"});
  EXPECT_EQ(of_client("HPUB a 4 9\r\n", limits), Lines{"fault: Maximum Payload Violation"});
}

TEST(Parser, HeadersThatTheSenderHasNot) {
  for (const std::size_t piece : {1uz, 5uz, 100uz}) {
    Parser parser(Sender::client, {});
    parser.set_headers(false);
    std::string bytes = "PING\r\nHPUB a 12 14\r\n";
    std::optional<Fault> fault;
    while (!bytes.empty() && !fault) {
      const std::string part = bytes.substr(0, piece);
      bytes.erase(0, part.size());
      std::string_view input = part;
      for (;;) {
        const auto operation = parser.next(input);
        if (!operation) fault = operation.error();
        if (!operation || !*operation) break;
      }
    }
    // At once: what would follow is not waited for.
    EXPECT_EQ(fault, Fault::bad_arguments);
  }
}

TEST(Parser, TheSubjectOfWhatEndsWrongly) {
  for (const std::size_t piece : {1uz, 7uz, 100uz}) {
    Parser parser(Sender::client, {});
    std::string bytes = "PUB a..b 2\r\nhello\r\n";
    bool faulted = false;
    while (!bytes.empty() && !faulted) {
      const std::string part = bytes.substr(0, piece);
      bytes.erase(0, part.size());
      std::string_view input = part;
      faulted = !parser.next(input);
    }
    EXPECT_TRUE(faulted);
    EXPECT_EQ(parser.broken_subject(), "a..b");
  }
}

TEST(Parser, WhatIsWrittenIsRead) {
  std::string bytes;
  append_publish(bytes, "a.b", "", "", "x");
  append_publish(bytes, "a.b", "r", "NATS/1.0\r\n\r\n", "x");
  append_subscribe(bytes, "a.>", "q", "5");
  append_subscribe(bytes, "a.>", "", "6");
  append_unsubscribe(bytes, "5", 0);
  append_unsubscribe(bytes, "5", 3);
  EXPECT_EQ(of_client(bytes),
            (Lines{"PUB subject=a.b payload=x",
                   "HPUB subject=a.b reply=r headers=NATS/1.0\r\n\r\n payload=x",
                   "SUB subject=a.> queue=q sid=5",
                   "SUB subject=a.> sid=6",
                   "UNSUB sid=5",
                   "UNSUB sid=5 max=3"}));
  bytes.clear();
  append_message(bytes, "a", "1", "", "", "x");
  append_message(bytes, "a", "1", "r", "NATS/1.0\r\n\r\n", "");
  append_error(bytes, "Invalid Subject");
  EXPECT_EQ(read(Sender::server, bytes),
            (Lines{"MSG subject=a sid=1 payload=x",
                   "HMSG subject=a reply=r sid=1 headers=NATS/1.0\r\n\r\n",
                   "-ERR text=Invalid Subject"}));
}

}  // namespace
}  // namespace meridian::nats
