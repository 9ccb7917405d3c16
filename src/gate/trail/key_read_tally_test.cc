// Reads are counted and recorded together, none is lost, and none is allowed that could not be
// recorded.

#include "gate/trail/key_read_tally.h"

#include "gate/trail/trail_fixture_test.h"

#include <cerrno>

namespace meridian::trail {
namespace {

class TallyTest : public TrailTest {
 protected:
  // "view reads/hits/misses/others key:count,... after"
  std::vector<std::string> recorded() const {
    std::vector<std::string> lines;
    each_entry({.kinds = {RecordKind::key_reads}}, [&](const Entry& entry) {
      const auto reads = decode<KeyReads>(entry.record.fields());
      ASSERT_TRUE(reads);
      EXPECT_EQ(entry.record.header.visit, VisitId(3));
      std::string line(reads->view.bytes);
      line += " " + std::to_string(reads->reads_count) + "/" + std::to_string(reads->hits_count) +
              "/" + std::to_string(reads->misses_count) + "/" +
              std::to_string(reads->other_reads_count);
      for (const KeyCount& key : reads->keys) {
        line += " " + std::string(key.key.bytes) + ":" + std::to_string(key.reads_count);
      }
      lines.push_back(line + " " + meridian::to_text(reads->interval));
    });
    return lines;
  }

  const RecordContext context_{.visit = VisitId(3)};
};

TEST_F(TallyTest, ReadsOfAnIntervalBecomeOneRecordForEachView) {
  auto trail = open();
  KeyReadTally tally(trail->writer(0), context_);
  EXPECT_TRUE(tally.empty());
  ASSERT_TRUE(tally.read("order", "order:1", KeyRead::miss));
  ASSERT_TRUE(tally.read("order", "order:1", KeyRead::hit));
  ASSERT_TRUE(tally.read("order", "order:2", KeyRead::hit));
  ASSERT_TRUE(tally.read("session:*", "session:9", KeyRead::neither));
  advance(std::chrono::seconds(1));
  ASSERT_TRUE(tally.flush());
  EXPECT_TRUE(tally.empty());
  ASSERT_TRUE(tally.flush());
  EXPECT_EQ(recorded(),
            (std::vector<std::string>{"session:* 1/0/0/0 session:9:1 1 s",
                                      "order 3/2/1/0 order:1:2 order:2:1 1 s"}));
  trail->abandon();
}

TEST_F(TallyTest, KeysBeyondTheListAreCountedTogether) {
  auto trail = open();
  KeyReadTally tally(trail->writer(0), context_);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(tally.read("o", std::to_string(i), KeyRead::hit));
  }
  ASSERT_TRUE(tally.flush());
  EXPECT_EQ(recorded(),
            std::vector<std::string>{"o 20/20/0/12 0:1 1:1 2:1 3:1 4:1 5:1 6:1 7:1 0 s"});
  trail->abandon();
}

TEST_F(TallyTest, AFifthViewFlushesTheFour) {
  auto trail = open();
  KeyReadTally tally(trail->writer(0), context_);
  for (const std::string_view view : {"a", "b", "c", "d", "a"}) {
    ASSERT_TRUE(tally.read(view, "k", KeyRead::hit));
  }
  EXPECT_TRUE(recorded().empty());
  ASSERT_TRUE(tally.read("e", "k", KeyRead::hit));
  EXPECT_EQ(recorded().size(), 4u);
  ASSERT_TRUE(tally.flush());
  EXPECT_EQ(recorded().size(), 5u);
  trail->abandon();
}

TEST_F(TallyTest, AReadThatCouldNotBeRecordedIsRefused) {
  bool broken = false;
  TrailSettings wanted = settings();
  wanted.disk.sync = [&, system = Disk::system().sync](void* begin, std::size_t size) {
    return broken ? EIO : system(begin, size);
  };
  auto trail = open(std::move(wanted));
  KeyReadTally tally(trail->writer(0), context_);
  ASSERT_TRUE(tally.read("order", "order:1", KeyRead::hit));
  broken = true;
  trail->seal_now();
  const auto refused = tally.read("order", "order:1", KeyRead::hit);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::unavailable);
  EXPECT_FALSE(tally.flush());
  EXPECT_FALSE(tally.empty());
  trail->abandon();
}

TEST_F(TallyTest, KeysLongerThanATextAreTheSameKeyOnlyWhenTheyBeginTheSame) {
  auto trail = open();
  KeyReadTally tally(trail->writer(0), context_);
  const std::string long_key(600, 'k');
  ASSERT_TRUE(tally.read("o", long_key, KeyRead::hit));
  ASSERT_TRUE(tally.read("o", long_key + "x", KeyRead::hit));
  ASSERT_TRUE(tally.read("o", long_key.substr(0, 512), KeyRead::hit));
  ASSERT_TRUE(tally.flush());
  each_entry({.kinds = {RecordKind::key_reads}}, [&](const Entry& entry) {
    const auto reads = decode<KeyReads>(entry.record.fields());
    ASSERT_EQ(reads->keys.count(), 2u);
    EXPECT_TRUE(reads->keys.begin()[0].key.cut);
    EXPECT_EQ(reads->keys.begin()[0].reads_count, 2u);
    EXPECT_FALSE(reads->keys.begin()[1].key.cut);
  });
  trail->abandon();
}

}  // namespace
}  // namespace meridian::trail
