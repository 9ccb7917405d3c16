// Every record can be shown on a terminal, as JSON and as OpenTelemetry logs, whatever peers sent.

#include "gate/trail/export.h"

#include "gate/trail/trail_fixture_test.h"

#include <nlohmann/json.hpp>

namespace meridian::trail {
namespace {

using nlohmann::json;

class ExportTest : public TrailTest {
 protected:
  json only_line(RecordKind kind) {
    json found;
    each_entry({.kinds = {kind}},
               [&](const Entry& entry) { found = json::parse(to_json_line(entry)); });
    return found;
  }
};

TEST_F(ExportTest, AJsonLineHasTheFieldsOfItsKind) {
  auto trail = open();
  record_a_visit(trail->writer(1), VisitId(7), request_id(1));
  trail->abandon();
  EXPECT_EQ(only_line(RecordKind::admitted), json::parse(R"({
    "time": "2026-01-01T00:00:00.000000Z", "node": "n1", "shard": 1, "segment": 1, "sequence": 3,
    "kind": "admitted", "visit": 7, "issuer": "https://issuer.example.com",
    "subject": "shop:checkout", "role": "checkout", "token_id": "t-1", "binding": "checkout[0]",
    "expiry": "2027-01-15T08:00:00.000000Z"})"));
  EXPECT_EQ(only_line(RecordKind::statement), json::parse(R"({
    "time": "2026-01-01T00:00:00.000000Z", "node": "n1", "shard": 1, "segment": 1, "sequence": 5,
    "kind": "statement", "visit": 7, "request": "01000000-0000-0000-0000-000000000001",
    "fingerprint": "000000000000feed", "ordinal": 1, "text_size": 70, "proven_read_only": false,
    "extended_protocol": true, "copy": false})"));
  EXPECT_EQ(only_line(RecordKind::statement_outcomes)["outcomes"], json::parse(R"([
    {"visit": 7, "ordinal": 1, "duration_us": 1250, "rows_count": 1, "sqlstate": "00000"}])"));
}

TEST_F(ExportTest, TextLinesAreAlignedAndLeaveOutWhatSaysNothing) {
  auto trail = open();
  record_a_visit(trail->writer(1), VisitId(7), request_id(1));
  ASSERT_TRUE(trail->writer(0).append(
      {}, Security{.event = "byte without an owner", .detail = "\x1b[2J\n"}));
  trail->abandon();
  std::string text;
  each_entry({.kinds = {RecordKind::visit_opened, RecordKind::statement, RecordKind::security}},
             [&](const Entry& entry) { text += to_text_line(entry) + "\n"; });
  EXPECT_EQ(text,
            "2026-01-01T00:00:00.000000Z  n1/0                -  security            "
            "event=\"byte without an owner\" detail=\"\\x1b[2J\\n\"\n"
            "2026-01-01T00:00:00.000000Z  n1/1                7  visit_opened        "
            "door=postgres address=192.0.2.1 port=40000 transport=tls\n"
            "2026-01-01T00:00:00.000000Z  n1/1                7  statement           "
            "fingerprint=000000000000feed ordinal=1 text_size=70 extended_protocol=yes "
            "request=01000000-0000-0000-0000-000000000001\n");
}

TEST_F(ExportTest, WritesThatGatheredAreOneLine) {
  auto trail = open();
  TrailWriter& writer = trail->writer(1);
  const RecordContext context{.visit = VisitId(7), .request = request_id(1)};
  for (const std::string_view key : {"a", "b c"}) {
    ASSERT_TRUE(writer.add_write(context, "set", key));
  }
  ASSERT_TRUE(writer.add_write({.visit = VisitId(8), .request = {}}, "del", "a"));
  writer.flush_writes();
  trail->abandon();
  std::vector<json> lines;
  std::string text;
  each_entry({.kinds = {RecordKind::key_write}}, [&](const Entry& entry) {
    lines.push_back(json::parse(to_json_line(entry)));
    text += to_text_line(entry) + "\n";
  });
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], json::parse(R"({
    "time": "2026-01-01T00:00:00.000000Z", "node": "n1", "shard": 1, "segment": 1, "sequence": 2,
    "kind": "key_write", "visit": 7, "request": "01000000-0000-0000-0000-000000000001",
    "command": "set", "key": "a", "further": [{"command": "set", "key": "b c"}]})"));
  EXPECT_EQ(lines[1]["key"], "a");
  EXPECT_EQ(lines[1]["further"], json::array());
  EXPECT_EQ(text,
            "2026-01-01T00:00:00.000000Z  n1/1                7  key_write           "
            "command=set key=a further=[command=set key=\"b c\"] "
            "request=01000000-0000-0000-0000-000000000001\n"
            "2026-01-01T00:00:00.000000Z  n1/1                8  key_write           "
            "command=del key=a\n");
}

TEST_F(ExportTest, BytesOfPeersMakeNoBrokenJson) {
  auto trail = open();
  const std::string key("\0\xff\"\\\n\x1b\xc3\x28", 8);
  const std::string long_key(600, 'k');
  KeyReads reads{.view = key, .reads_count = 1};
  reads.keys.push_back({.key = long_key, .reads_count = 1});
  ASSERT_TRUE(trail->writer(0).append({}, reads));
  trail->abandon();
  const json line = only_line(RecordKind::key_reads);
  EXPECT_EQ(line["keys"][0]["key"], std::string(512, 'k'));
  EXPECT_EQ(line["keys"][0]["key_cut"], true);
  EXPECT_FALSE(line.contains("view_cut"));
}

TEST_F(ExportTest, KindsOfALaterVersionAreShownAsWhatIsKnown) {
  std::vector<std::uint8_t> bytes(hash_size + record_header_size + 8 + hash_size);
  bytes[hash_size] = record_header_size + 8;
  bytes[hash_size + 4] = 200;
  RecordView record;
  record.header = parse_record_header(bytes.data() + hash_size);
  record.linked = Bytes(bytes).first(hash_size + record_header_size + 8);
  const Entry entry{.node = "n1", .shard = 0, .segment = 1, .run = 0, .record = record};
  const json line = json::parse(to_json_line(entry));
  EXPECT_EQ(line["kind"], "unknown");
  EXPECT_EQ(line["kind_number"], 200);
  EXPECT_EQ(line["fields_size"], 8);
  EXPECT_TRUE(to_text_line(entry).contains("kind_number=200"));
}

TEST_F(ExportTest, OtlpHasOneResourceForEachNodeAndTheRequestAsTrace) {
  auto first = open();
  TrailSettings wanted = settings();
  wanted.node = "n2";
  auto second = open(std::move(wanted));
  record_a_visit(first->writer(1), VisitId(7), request_id(1));
  record_a_visit(second->writer(1), VisitId(7), request_id(2));
  first->abandon();
  second->abandon();
  OtlpBatch batch;
  each_entry({.kinds = {RecordKind::denied, RecordKind::statement_outcomes}},
             [&](const Entry& entry) { batch.add(entry); });
  EXPECT_EQ(batch.count(), 4u);
  const json object = json::parse(batch.take());
  EXPECT_EQ(batch.count(), 0u);
  const json& resources = object["resourceLogs"];
  ASSERT_EQ(resources.size(), 2u);
  EXPECT_EQ(resources[1]["resource"]["attributes"], json::parse(R"([
    {"key": "service.name", "value": {"stringValue": "meridian"}},
    {"key": "service.instance.id", "value": {"stringValue": "n2"}}])"));
  const json& scope = resources[0]["scopeLogs"][0];
  EXPECT_EQ(scope["scope"]["name"], "meridian.trail");
  EXPECT_EQ(scope["logRecords"][0], json::parse(R"({
    "timeUnixNano": "1767225600000000000", "observedTimeUnixNano": "1767225600000000000",
    "severityNumber": 13, "severityText": "WARN", "eventName": "meridian.trail.denied",
    "body": {"stringValue": "denied"}, "traceId": "01000000000000000000000000000001",
    "attributes": [
      {"key": "meridian.shard", "value": {"intValue": "1"}},
      {"key": "meridian.segment", "value": {"intValue": "1"}},
      {"key": "meridian.sequence", "value": {"intValue": "7"}},
      {"key": "meridian.visit", "value": {"intValue": "7"}},
      {"key": "door", "value": {"stringValue": "redis"}},
      {"key": "action", "value": {"stringValue": "write"}},
      {"key": "resource", "value": {"stringValue": "secret:1"}},
      {"key": "rule", "value": {"stringValue": "redis.write"}}]})"));
  const json& outcome = scope["logRecords"][1];
  EXPECT_FALSE(outcome.contains("traceId"));
  EXPECT_EQ(
      outcome["attributes"][3]["value"]["arrayValue"]["values"][0]["kvlistValue"]["values"][0],
      json::parse(R"({"key": "visit", "value": {"intValue": "7"}})"));
}

}  // namespace
}  // namespace meridian::trail
