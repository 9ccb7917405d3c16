#pragma once
// What the outbox decides, without doing any of it: where publishing goes on after a start, what
// each message has to follow in the stream, and when something is missing that nobody may pass over
// in silence.
//
// Each row has a number, given once in the order of the commits, and each number is one message of
// one stream which nobody else writes. So the stream's own last message says how far publishing has
// come, however long ago that was; what the database remembers of it (`published`) may be behind,
// and is never ahead unless the stream has lost what it had acknowledged.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace meridian {

// A run of row ids that got consecutive numbers.
struct IdRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  friend bool operator==(const IdRun&, const IdRun&) = default;
};

// Rows that were numbered together.
struct OutboxBatch {
  std::uint64_t first = 0;  // The number of its first row.
  std::uint64_t count = 0;
  std::vector<IdRun> runs{};

  std::uint64_t end() const noexcept { return first + count; }

  friend bool operator==(const OutboxBatch&, const OutboxBatch&) = default;
};

// What the operator wants done about a gap.
enum class OutboxResume : std::uint8_t {
  none,
  republish,  // Once more what the stream has lost, from the table.
  skip,       // Go on behind the gap.
};

// What the database remembers, and which one it is.
struct OutboxMarks {
  std::string installation{};  // streams/installation.h
  std::uint64_t numbered = 0;
  std::uint64_t published = 0;
  std::string stream_created{};  // Of the stream that `published` is about; empty before the first.
  std::uint64_t stream_sequence = 0;  // Of message `published` in it.
  std::string condition{};            // What keeps it from going on; empty when nothing does.
  OutboxResume resume = OutboxResume::none;
  std::uint64_t settled_id = 0;  // All rows up to here have numbers, or will never be.
  std::uint64_t done_id = 0;     // The same, and they are published.
};

// What the stream says of itself.
struct StreamTail {
  std::string created;
  std::uint64_t last_sequence = 0;
  // Of the last message that an outbox has written, where it is still there.
  std::optional<std::uint64_t> last_number{};
  std::string last_installation{};         // Whose outbox that was.
  std::uint64_t last_number_sequence = 0;  // Where it is.
};

// Go on with this number, which has to become the message after this one.
struct OutboxStart {
  std::uint64_t next_number = 1;
  std::uint64_t last_sequence = 0;

  friend bool operator==(const OutboxStart&, const OutboxStart&) = default;
};

// Nothing is published until the operator has decided.
struct OutboxGap {
  enum class Kind : std::uint8_t {
    stream_lost,    // The stream lacks messages that it had acknowledged.
    database_lost,  // The stream has messages of numbers that the database has not given.
    another,        // Another installation's outbox has written into the stream.
  };
  Kind kind = Kind::stream_lost;
  std::uint64_t stream_number = 0;  // The last one in the stream.
  std::string text;                 // For the operator: what happened and what to do.
};

std::variant<OutboxStart, OutboxGap> decide_start(const OutboxMarks& marks, const StreamTail& tail);

// What the database is to remember before publishing begins, when the operator has decided; nothing
// when `marks` is right as it is.
std::optional<OutboxMarks> adopted_marks(const OutboxMarks& marks, const StreamTail& tail);

// Messages of one run, from a start to the first trouble: each follows the one before it.
class OutboxRun {
 public:
  explicit OutboxRun(OutboxStart start) noexcept
      : next_number_(start.next_number),
        published_(start.next_number - 1),
        published_sequence_(start.last_sequence) {}

  // The next message's number, and what it must say is the stream's last sequence.
  std::uint64_t next_number() const noexcept { return next_number_; }
  std::uint64_t expected_sequence() const noexcept { return published_sequence_ + in_flight(); }
  void sent() noexcept { ++next_number_; }

  // The oldest message under way was stored there. False: not where it had to be, or there is none
  // under way, and the run is over.
  bool acknowledged(std::uint64_t sequence) noexcept {
    if (in_flight() == 0 || sequence != published_sequence_ + 1) return false;
    ++published_;
    published_sequence_ = sequence;
    return true;
  }

  std::uint64_t in_flight() const noexcept { return next_number_ - 1 - published_; }
  std::uint64_t published() const noexcept { return published_; }
  std::uint64_t published_sequence() const noexcept { return published_sequence_; }

 private:
  std::uint64_t next_number_;
  std::uint64_t published_;
  std::uint64_t published_sequence_;  // Where `published_` is, or where the run began.
};

}  // namespace meridian
