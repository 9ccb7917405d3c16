#pragma once
// A TrailWriter appends records to one shard of the trail, on the one loop whose shard it is.
//
//   MERIDIAN_CO_CHECK(writer.append({visit, request}, Subscription{.pattern = pattern}));
//   ... and only now is it made.
//
// When append() has returned, the record survives the death of the process. It survives a loss of
// power once it was synced, within sync_interval. It takes no lock, no system call and no memory.
// An error means that nothing was recorded, so what it is about must not happen:
//
//   exhausted    the disk is full
//   unavailable  the next segment is not ready yet, or the disk has failed
//
// Writes by key, of which clients send many at once, gather into one record:
//
//   MERIDIAN_CO_CHECK(writer.add_write({visit, request}, "SET", key));  // each
//   writer.flush_writes();
//   ... and only now does anything of them leave this process.
//
// Owned by Trail. Before the loops run and after they ended it may be used on the main thread.

#include "base/ids.h"
#include "base/metrics.h"
#include "base/result.h"
#include "gate/trail/codec.h"
#include "gate/trail/format.h"
#include "gate/trail/head.h"
#include "gate/trail/record.h"
#include "gate/trail/shapes.h"
#include "gate/trail/shard.h"
#include "runtime/loop.h"

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace meridian::trail {

// Whom a record is about. Both may be empty.
struct RecordContext {
  VisitId visit{};
  RequestId request{};
};

struct WriterMetrics {
  Counter& records;
  Counter& bytes;
  Counter& segments;
  Counter& refused;
};

class TrailWriter final : private BatchEnd {
 public:
  // `want_segment` asks the sealer's side to prepare(); called when a segment is begun and as it
  // fills.
  TrailWriter(Shard& shard, Loop& loop, WriterMetrics metrics, std::function<void()> want_segment);
  TrailWriter(const TrailWriter&) = delete;
  TrailWriter& operator=(const TrailWriter&) = delete;
  ~TrailWriter() = default;

  template <class Record>
    requires(!std::same_as<Record, Statement> && !std::same_as<Record, StatementShape>)
  Result<void> append(RecordContext context, const Record& record) {
    if constexpr (std::same_as<Record, VisitEnded>) {
      // So that what is known of a visit lies before its end.
      MERIDIAN_CHECK(flush_outcomes());
    }
    return write(context, record);
  }

  // `shape` is the statement's text without literals. It is recorded when this segment does not
  // have it yet.
  Result<void> append(RecordContext context, const Statement& statement, std::string_view shape);

  // A write that is to be recorded together with those that the same visit adds next. Its place in
  // the trail is set aside, so that flush_writes() cannot fail. Errors: as of append(); the write
  // is then not part of what was gathered.
  Result<void> add_write(RecordContext context, std::string_view command, std::string_view key);

  // Appends what has gathered, before any of it has an effect and before the caller's fibre waits.
  // Every other record does so too: the trail keeps the order of what happened.
  void flush_writes() noexcept {
    if (gathers_writes()) append_writes();
  }
  bool gathers_writes() const noexcept { return writes_end_ != nullptr; }

  // What came of a statement that was forwarded. Several are recorded as one, when that many have
  // gathered or at the end of the loop's batch.
  Result<void> add_outcome(const StatementOutcome& outcome);

  // Whether a record could be appended now, as far as is known. For actions that are recorded
  // together and later, such as reads of keys.
  Result<void> ready() const;
  bool has_room() const noexcept {
    if (shard_.failed()) return false;
    return active_->room() >= closing_room + stride(record_size_max) || shard_.spare();
  }

  std::uint32_t shard() const noexcept { return shard_.number(); }
  Loop& loop() noexcept { return loop_; }

  // The sequence of the newest record.
  std::uint64_t last_sequence() const noexcept { return last_.sequence; }

  // For Trail.

  // Begins the first segment, which continues the chain from here.
  void begin(const ChainPlace& last);

  // Appends a head that the sealer's side has signed.
  void accept_head(const SignedHead& head);

  // Begins the next segment, if it is ready, though this one still has room. One without a record
  // stays.
  void rotate();

  // Signs the newest record and appends the head, on this thread (30 us).
  void seal_here();

  // Writes what has gathered.
  Result<void> flush_outcomes();

 private:
  // The hash before a record, the record and its hash.
  static constexpr std::size_t record_at = hash_size;
  static constexpr std::size_t buffer_size = hash_size + record_size_max + hash_size;

  // The last record of a full segment is a head: 48 + 142 bytes and a hash.
  static constexpr std::uint64_t closing_room = 256;

  // How often an operator is told that records are refused; the metric counts every one.
  static constexpr Duration log_interval = std::chrono::seconds(10);

  // A segment wants its next pages each time that so much was appended.
  static constexpr std::uint64_t want_step = std::uint64_t{1} << 20;

  template <class Record>
  Result<void> write(RecordContext context, const Record& record) {
    flush_writes();
    std::uint8_t* const begin = buffer_.data() + record_at;
    FieldWriter writer(begin + record_header_size, begin + record_size_max);
    record.fields(writer);
    return commit(buffer_.data(), writer.position(), Record::kind, context);
  }

  void on_batch_end() override;

  bool joins_writes(RecordContext context, const WrittenKey& write) const noexcept;
  void append_writes() noexcept;

  // Completes the record in `buffer` whose fields end at `end`, and appends it.
  Result<void> commit(std::uint8_t* buffer,
                      std::uint8_t* end,
                      RecordKind kind,
                      RecordContext context);
  void link(std::uint8_t* buffer, std::uint32_t size, RecordKind kind, RecordContext context);
  // For a record that takes so much of a segment, and first for what has to stand before it.
  Result<void> admit(std::uint64_t size);
  Result<void> make_room(std::uint64_t size);
  Result<void> record_interruption();
  void begin_segment(MappedSegment& next);
  std::unexpected<Error> refuse();

  Shard& shard_;
  Loop& loop_;
  WriterMetrics metrics_;
  std::function<void()> want_segment_;
  Sha256 sha_;

  MappedSegment* active_ = nullptr;
  std::uint64_t want_at_ = 0;  // Where in the segment more is asked for.
  ChainPlace last_;
  RecordKind last_kind_{};
  Shapes shapes_;
  StatementOutcomes outcomes_;

  std::uint64_t refused_count_ = 0;  // Since the last record.
  std::uint64_t refused_in_ = 0;     // The segment that had no room.
  WallTime refused_since_{};
  std::string refused_cause_;
  Time log_again_at_{};

  std::array<std::uint8_t, buffer_size> buffer_;

  // A key_write to which more may be added. The segment has room for it.
  std::uint8_t* writes_end_ = nullptr;  // Of its fields; null: there is none.
  std::size_t writes_further_count_ = 0;
  RecordContext writes_context_;
  std::array<std::uint8_t, buffer_size> writes_buffer_;
};

}  // namespace meridian::trail
