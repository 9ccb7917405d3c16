// Whatever is changed, removed or added in a trail is found, and named where it is.

#include "gate/trail/verify.h"

#include "base/hex.h"
#include "gate/trail/shard_verifier.h"
#include "gate/trail/trail_fixture_test.h"

#include <algorithm>
#include <set>

namespace meridian::trail {
namespace {

// Where a record or header lies in a segment.
struct Place {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t sequence = 0;  // Zero: the header.
};

class VerifyTest : public TrailTest {
 protected:
  // Two runs: the first segments end in order, the second too.
  void make_small_trail() {
    for (std::uint8_t run = 1; run <= 2; ++run) {
      TrailSettings wanted = settings();
      wanted.head_sink = [this](const SignedHead& head) { heads_.push_back(head); };
      auto trail = open(std::move(wanted));
      record_a_visit(trail->writer(1), VisitId(run), request_id(run));
      trail->seal_now();
      ASSERT_TRUE(trail->writer(1).append({}, KeyWrite{.command = "SET", .key = "a"}));
      ASSERT_TRUE(trail->close("over"));
    }
  }

  static std::vector<Place> places(const std::filesystem::path& path) {
    std::vector<Place> found{{.begin = 0, .end = segment_header_size, .sequence = 0}};
    auto reader = SegmentReader::open(path);
    for (;;) {
      const auto record = reader->next();
      EXPECT_TRUE(record);
      if (!record || !*record) return found;
      found.push_back({.begin = (*record)->offset,
                       .end = (*record)->end_offset(),
                       .sequence = (*record)->header.sequence});
    }
  }

  // `index` in the report.
  const Finding& first_finding(const VerifyReport& report, std::size_t index) {
    static const Finding none;
    const auto& findings = report.shards.at(index).findings;
    EXPECT_FALSE(findings.empty()) << to_text(report);
    return findings.empty() ? none : findings.front();
  }

  std::vector<SignedHead> heads_;
};

TEST_F(VerifyTest, EveryChangedByteIsFoundAndNamed) {
  make_small_trail();
  // Only what is looked at, and its key at hand, because this verifies thousands of times.
  std::filesystem::remove(segment(0, 1));
  std::filesystem::remove(segment(0, 2));
  const auto keys = read_public_keys(folder_.path() / "trail" / key_folder);
  ASSERT_TRUE(keys);
  for (const std::uint64_t number : {1u, 2u}) {
    const auto path = segment(1, number);
    const std::string sound = read_file(path);
    const auto all = places(path);
    ASSERT_EQ(all.back().end, sound.size());
    for (const Place& place : all) {
      for (std::uint64_t at = place.begin; at < place.end; ++at) {
        const auto byte = static_cast<unsigned char>(sound[at]);
        // One bit, and the whole byte gone as in a lost sector.
        for (const unsigned changed_byte : {byte ^ (1u << at % 8), 0u}) {
          if (changed_byte == byte) continue;
          std::string changed = sound;
          changed[at] = static_cast<char>(changed_byte);
          write_file(path, changed);
          const auto report = verify_all({.keys = *keys});
          ASSERT_FALSE(report.intact()) << "byte " << at << " of segment " << number;
          const Finding& finding = first_finding(report, 0);
          EXPECT_EQ(finding.file, path.filename().string()) << at;
          EXPECT_EQ(finding.sequence, place.sequence) << "byte " << at << to_text(report);
          if (place.sequence != 0) {
            EXPECT_EQ(finding.offset, place.begin) << "byte " << at;
          }
        }
      }
    }
    write_file(path, sound);
  }
  EXPECT_TRUE(verify_all().intact());
}

TEST_F(VerifyTest, AReportNamesTheRecordItsKindAndItsTime) {
  make_small_trail();
  const auto path = segment(1, 1);
  std::string bytes = read_file(path);
  const Place place = places(path).at(2);
  bytes.at(place.begin + 60) ^= 1;
  write_file(path, bytes);
  const auto report = verify_all();
  const Finding& finding = first_finding(report, 1);
  EXPECT_EQ(finding.fault, Fault::hash_mismatch);
  EXPECT_EQ(finding.kind, RecordKind::visit_opened);
  EXPECT_EQ(finding.time, WallTime(std::chrono::sys_days(std::chrono::year(2026) / 1 / 1)));
  const std::string line = "hash mismatch: 1-00000001.trail, record 2 (visit_opened) at byte " +
                           std::to_string(place.begin) + ", of 2026-01-01T00:00:00.000000Z: ";
  EXPECT_TRUE(to_text(report).contains(line)) << to_text(report);
  EXPECT_TRUE(to_text(report).ends_with("the trail is NOT intact\n"));
  const std::string json = to_json(report);
  EXPECT_TRUE(json.starts_with(R"({"intact":false,"keys_trusted":true,"shards":[{"node":"n1")"));
  EXPECT_TRUE(json.contains(R"("fault":"hash mismatch","file":"1-00000001.trail","sequence":2)"));
}

TEST_F(VerifyTest, EveryCutIsFoundWhenHeadsAreKnown) {
  make_small_trail();
  const auto path = segment(1, 2);
  const std::string sound = read_file(path);
  const auto all = places(path);
  const auto keys = read_public_keys(folder_.path() / "trail" / key_folder);
  ASSERT_TRUE(keys);
  std::set<std::uint64_t> boundaries{0};  // As if it had only been created.
  for (const Place& place : all) {
    boundaries.insert(place.end);
  }
  for (std::size_t size = 0; size < sound.size(); ++size) {
    write_file(path, std::string_view(sound).substr(0, size));
    if (!boundaries.contains(size)) {
      EXPECT_FALSE(verify_all({.keys = *keys}).intact()) << size;
      continue;
    }
    // A cut between two records shows when heads are known. The last record is a head over the one
    // before it, so nobody knows of it.
    const auto left =
        std::ranges::count_if(all, [&](const Place& place) { return place.end <= size; });
    const bool only_the_head_lost = static_cast<std::size_t>(left) + 1 == all.size();
    EXPECT_EQ(verify_all({.keys = *keys, .heads = heads_}).intact(), only_the_head_lost) << size;
  }
  std::filesystem::remove(path);
  const auto report = verify_all({.heads = heads_});
  EXPECT_EQ(first_finding(report, 1).fault, Fault::truncated);
  EXPECT_GT(first_finding(report, 1).sequence, 0u);
}

TEST_F(VerifyTest, AShardOrNodeThatIsGoneIsMissedByItsHeads) {
  make_small_trail();
  std::filesystem::remove(segment(1, 1));
  std::filesystem::remove(segment(1, 2));
  auto report = verify_all({.heads = heads_});
  ASSERT_EQ(report.shards.size(), 2u);
  EXPECT_EQ(first_finding(report, 1).fault, Fault::truncated);
  std::filesystem::remove_all(node_folder());
  report = verify_all({.heads = heads_});
  EXPECT_EQ(report.shards.size(), 2u);
  EXPECT_FALSE(report.intact());
}

TEST_F(VerifyTest, AMissingFirstOrMiddleSegmentIsFound) {
  make_small_trail();
  ASSERT_TRUE(open()->close("over"));
  const std::string middle = read_file(segment(1, 2));
  std::filesystem::remove(segment(1, 2));
  EXPECT_EQ(first_finding(verify_all(), 1).fault, Fault::missing_segment);
  write_file(segment(1, 2), middle);
  EXPECT_TRUE(verify_all().intact());
  std::filesystem::remove(segment(1, 1));
  const auto report = verify_all();
  EXPECT_EQ(first_finding(report, 1).fault, Fault::missing_segment);
  EXPECT_TRUE(first_finding(report, 1).detail.contains("up to 1 are missing"));
}

// A list of a folder that is written to may leave out what was made before something that it has.
TEST_F(VerifyTest, ASegmentThatTheListLeftOutIsLookedFor) {
  make_small_trail();
  ASSERT_TRUE(open()->close("over"));
  const std::vector<PublicKey> keys;
  const std::vector<const SignedHead*> heads;
  ShardVerifier verifier(node_folder(), "n1", 1, keys, heads);
  verifier.run({1, 3});
  const ShardReport report = verifier.take_report();
  EXPECT_TRUE(report.findings.empty()) << report.findings.front().detail;
  EXPECT_EQ(report.segments_count, 3U);
}

TEST_F(VerifyTest, SegmentsThatChangedPlacesAreFound) {
  make_small_trail();
  const std::string first = read_file(segment(1, 1));
  const std::string second = read_file(segment(1, 2));
  write_file(segment(1, 1), second);
  write_file(segment(1, 2), first);
  EXPECT_EQ(first_finding(verify_all(), 1).fault, Fault::header_mismatch);
  write_file(segment(1, 1), read_file(segment(0, 1)));
  EXPECT_EQ(first_finding(verify_all(), 1).fault, Fault::header_mismatch);
}

// Somebody who can write the files, but has no key, computes all hashes anew.
TEST_F(VerifyTest, AChainThatWasHashedAnewIsFoundByItsHeads) {
  make_small_trail();
  const auto path = segment(1, 1);
  std::string bytes = read_file(path);
  const auto all = places(path);
  bytes.at(all.at(3).begin + 60) ^= 1;
  Sha256 sha;
  auto* const data = reinterpret_cast<std::uint8_t*>(bytes.data());
  for (std::size_t i = 1; i < all.size(); ++i) {
    const std::uint64_t size = all[i].end - all[i].begin - hash_size;
    const Digest hash = sha.digest({data + all[i].begin - hash_size, hash_size + size});
    std::ranges::copy(hash, data + all[i].begin + size);
  }
  write_file(path, bytes);
  const auto report = verify_all();
  const Finding& finding = first_finding(report, 1);
  EXPECT_EQ(finding.fault, Fault::rewritten);
  EXPECT_EQ(finding.kind, RecordKind::head);
}

// And somebody who has a key of his own signs them as well.
TEST_F(VerifyTest, ATrailSignedByAnotherKeyIsFoundByItsKeyAndByKnownHeads) {
  make_small_trail();
  const auto keys = read_public_keys(folder_.path() / "trail" / key_folder);
  ASSERT_TRUE(keys);
  std::filesystem::remove_all(folder_.path() / "trail");
  const std::vector<SignedHead> known = heads_;
  advance(std::chrono::hours(1));
  make_small_trail();
  EXPECT_TRUE(verify_all().intact());
  EXPECT_EQ(first_finding(verify_all({.keys = *keys}), 1).fault, Fault::unknown_key);
  EXPECT_EQ(first_finding(verify_all({.heads = known}), 1).fault, Fault::rewritten);
}

TEST_F(VerifyTest, WithoutKeysTheReportSaysSo) {
  make_small_trail();
  std::filesystem::remove_all(folder_.path() / "trail" / key_folder);
  const auto report = verify_all();
  EXPECT_TRUE(report.intact());
  EXPECT_FALSE(report.keys_trusted);
  EXPECT_TRUE(to_text(report).contains("keys: none to compare with"));
}

TEST_F(VerifyTest, AnAppendThatDidNotFinishIsNoFault) {
  auto trail = open();
  trail->seal_now();  // The next segment is prepared.
  record_a_visit(trail->writer(1), VisitId(1), request_id(1));
  trail->abandon();
  trail.reset();
  const auto path = segment(1, 1);
  std::string bytes = read_file(path);
  const Place last = places(path).back();
  // A record of which all but the size was written.
  const std::string unfinished(200, 'u');
  bytes.replace(last.end + 4, unfinished.size(), unfinished);
  write_file(path, bytes);
  const auto report = verify_all();
  EXPECT_TRUE(report.intact()) << to_text(report);
  ASSERT_EQ(report.shards[1].notes.size(), 1u);
  EXPECT_TRUE(report.shards[1].notes[0].contains("208 bytes")) << report.shards[1].notes[0];
}

TEST_F(VerifyTest, ASizeThatWasMadeZeroInALiveSegmentIsFound) {
  auto trail = open();
  record_a_visit(trail->writer(1), VisitId(1), request_id(1));
  trail->abandon();
  trail.reset();
  const auto path = segment(1, 1);
  const std::string sound = read_file(path);
  const auto all = places(path);
  for (std::size_t i = 1; i + 1 < all.size(); ++i) {
    std::string bytes = sound;
    bytes.replace(all[i].begin, 4, 4, '\0');
    write_file(path, bytes);
    const auto report = verify_all();
    const Finding& finding = first_finding(report, 1);
    EXPECT_EQ(finding.fault, Fault::altered_tail);
    EXPECT_EQ(finding.sequence, all[i].sequence);
    EXPECT_TRUE(finding.detail.contains("whole records among them"));
  }
}

TEST_F(VerifyTest, BytesFarBehindTheLastRecordAreFound) {
  auto trail = open();
  trail->abandon();
  trail.reset();
  const auto path = segment(1, 1);
  std::string bytes = read_file(path);
  bytes[bytes.size() / 2] = 'x';
  write_file(path, bytes);
  EXPECT_EQ(first_finding(verify_all(), 1).fault, Fault::altered_tail);
}

TEST_F(VerifyTest, ASegmentWhoseBeginningWasWipedIsNoPreparedOne) {
  auto trail = open();
  trail->seal_now();  // Segment 2 is prepared, and not begun.
  trail->abandon();
  trail.reset();
  EXPECT_TRUE(verify_all().intact());
  const auto path = segment(1, 1);
  std::string bytes = read_file(path);
  bytes.replace(0, 8, 8, '\0');
  write_file(path, bytes);
  EXPECT_EQ(first_finding(verify_all(), 1).fault, Fault::header_mismatch);
  std::filesystem::remove(segment(1, 2));
  EXPECT_EQ(first_finding(verify_all(), 1).fault, Fault::header_mismatch);
}

TEST_F(VerifyTest, AFileThatCannotBeReadIsAFinding) {
  make_small_trail();
  std::filesystem::remove(segment(1, 2));
  std::filesystem::create_directory(segment(1, 2));
  EXPECT_EQ(first_finding(verify_all(), 1).fault, Fault::unreadable);
  EXPECT_EQ(verify(folder_.path() / "nowhere", {}).error().code(), Errc::not_found);
}

TEST_F(VerifyTest, EndlessFindingsAreCountedAndNotKept) {
  auto trail = open();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(trail->writer(1).append({}, KeyWrite{.command = "SET", .key = "a"}));
  }
  ASSERT_TRUE(trail->close("over"));
  const auto path = segment(1, 1);
  std::string bytes = read_file(path);
  for (const Place& place : places(path)) {
    bytes[place.begin + 50] ^= 1;
  }
  write_file(path, bytes);
  const auto report = verify_all();
  EXPECT_EQ(report.shards[1].findings.size(), ShardReport::findings_max);
  EXPECT_GT(report.shards[1].findings_left_out, 80u);
}

}  // namespace
}  // namespace meridian::trail
