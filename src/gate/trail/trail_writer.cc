#include "gate/trail/trail_writer.h"

#include "base/assert.h"
#include "runtime/log.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace meridian::trail {
namespace {

// What one WrittenKey takes at most beside the bytes of its two texts: as an item of a list its key
// byte and size, and those of its texts.
constexpr std::size_t written_key_overhead = 3 + 3 + 3;
static_assert(record_header_size +
                      (1 + decltype(KeyWrite::further)::count_max) *
                          (written_key_overhead + 2 * Text::size_max) +
                      record_alignment <=
                  record_size_max - 16,  // FieldWriter wants so much more than it needs.
              "the longest burst of writes is a record");

// Appends zeros to a record's fields and gives its size. There is room for them.
std::uint32_t pad(const std::uint8_t* record, std::uint8_t* end) noexcept {
  while ((end - record) % static_cast<std::ptrdiff_t>(record_alignment) != 0) {
    *end++ = 0;
  }
  return static_cast<std::uint32_t>(end - record);
}

}  // namespace

TrailWriter::TrailWriter(Shard& shard,
                         Loop& loop,
                         WriterMetrics metrics,
                         std::function<void()> want_segment)
    : shard_(shard), loop_(loop), metrics_(metrics), want_segment_(std::move(want_segment)) {}

void TrailWriter::begin(const ChainPlace& last) {
  last_ = last;
  MappedSegment* const first = shard_.spare();
  MERIDIAN_ASSERT(first != nullptr);
  begin_segment(*first);
}

Result<void> TrailWriter::append(RecordContext context,
                                 const Statement& statement,
                                 std::string_view shape) {
  flush_writes();
  const Fingerprint fingerprint = statement.fingerprint;
  if (fingerprint.value() != 0) {
    // Both go into one segment. The sizes are what their fields can need at most.
    constexpr std::uint64_t shape_size = stride(record_header_size + 32 + ShapeText::size_max);
    constexpr std::uint64_t statement_size = stride(record_header_size + 48);
    MERIDIAN_CHECK(make_room(shape_size + statement_size));
    if (!shapes_.contains(fingerprint)) {
      MERIDIAN_CHECK(write(context, StatementShape{.fingerprint = fingerprint, .text = shape}));
      shapes_.insert(fingerprint);
    }
  }
  return write(context, statement);
}

Result<void> TrailWriter::add_write(RecordContext context,
                                    std::string_view command,
                                    std::string_view key) {
  const WrittenKey write{.command = command, .key = key};
  std::uint8_t* const begin = writes_buffer_.data() + record_at;
  if (joins_writes(context, write)) {
    FieldWriter writer(writes_end_, begin + record_size_max);
    writer.item(KeyWrite::further_number, write);
    writes_end_ = writer.position();
    ++writes_further_count_;
    return {};
  }
  flush_writes();
  FieldWriter writer(begin + record_header_size, begin + record_size_max);
  write.fields(writer);
  const auto size = static_cast<std::uint64_t>(writer.position() - begin);
  MERIDIAN_CHECK(admit(stride(size + record_alignment)));
  writes_end_ = writer.position();
  writes_further_count_ = 0;
  writes_context_ = context;
  return {};
}

// Whether it has a place in what has gathered, and that in the segment.
bool TrailWriter::joins_writes(RecordContext context, const WrittenKey& write) const noexcept {
  if (!writes_end_ || writes_further_count_ == decltype(KeyWrite::further)::count_max) return false;
  if (context.visit != writes_context_.visit || context.request != writes_context_.request) {
    return false;
  }
  const auto gathered = static_cast<std::size_t>(writes_end_ - (writes_buffer_.data() + record_at));
  const std::size_t size = gathered + written_key_overhead + write.command.bytes.size() +
                           write.key.bytes.size() + record_alignment;
  return active_->room() >= stride(size) + closing_room && !shard_.failed();
}

// Also when the shard has failed since: these were taken before that.
void TrailWriter::append_writes() noexcept {
  const std::uint32_t size =
      pad(writes_buffer_.data() + record_at, std::exchange(writes_end_, nullptr));
  link(writes_buffer_.data(), size, RecordKind::key_write, writes_context_);
}

Result<void> TrailWriter::add_outcome(const StatementOutcome& outcome) {
  if (outcomes_.outcomes.full()) {
    MERIDIAN_CHECK(flush_outcomes());
  }
  outcomes_.outcomes.push_back(outcome);
  loop_.at_batch_end(*this);
  return {};
}

// When it fails, the outcomes wait: for the next one, or the end of a visit, which then fails.
void TrailWriter::on_batch_end() {
  (void)flush_outcomes();
}

Result<void> TrailWriter::flush_outcomes() {
  if (outcomes_.outcomes.empty()) return {};
  MERIDIAN_CHECK(write({}, outcomes_));
  outcomes_.outcomes.clear();
  return {};
}

Result<void> TrailWriter::ready() const {
  if (!has_room()) return std::unexpected(shard_.why_not());
  return {};
}

void TrailWriter::accept_head(const SignedHead& head) {
  // One that finds no room is no loss, and refuses nothing: the next is over a newer record.
  if (ready()) (void)write({}, head.to_record());
}

void TrailWriter::rotate() {
  MappedSegment* const next = shard_.spare();
  flush_writes();
  const bool empty = active_->used() == segment_header_size;
  if (!next || empty || shard_.failed()) return;
  seal_here();
  begin_segment(*next);
}

Result<void> TrailWriter::commit(std::uint8_t* buffer,
                                 std::uint8_t* end,
                                 RecordKind kind,
                                 RecordContext context) {
  const std::uint32_t size = pad(buffer + record_at, end);
  MERIDIAN_CHECK(admit(stride(size)));
  link(buffer, size, kind, context);
  return {};
}

Result<void> TrailWriter::admit(std::uint64_t size) {
  if (refused_count_ != 0) [[unlikely]] {
    MERIDIAN_CHECK(record_interruption());
  }
  return make_room(size);
}

// Requires the room.
void TrailWriter::link(std::uint8_t* buffer,
                       std::uint32_t size,
                       RecordKind kind,
                       RecordContext context) {
  std::uint8_t* const record = buffer + record_at;
  std::ranges::copy(last_.hash, buffer);
  store(record, size);
  store(record + 4, std::uint32_t{std::to_underlying(kind)});  // With the zeros after it.
  store(record + 8, ++last_.sequence);
  store(record + 16, std::int64_t{loop_.wall_now().time_since_epoch().count()});
  store(record + 24, context.visit.value());
  store(record + 32, context.request.bytes());
  sha_.digest(Bytes(buffer, record_at + size), last_.hash);
  std::ranges::copy(last_.hash, record + size);
  active_->append(record, size);
  last_kind_ = kind;
  metrics_.records.add();
  metrics_.bytes.add(stride(size));
  if (active_->used() >= want_at_) [[unlikely]] {
    want_at_ += want_step;
    want_segment_();
  }
}

Result<void> TrailWriter::make_room(std::uint64_t size) {
  if (shard_.failed()) [[unlikely]] {
    return refuse();
  }
  // Once a record was refused, smaller ones are too, until there is a new segment.
  const bool gave_up = refused_count_ != 0 && refused_in_ == active_->number();
  if (active_->room() >= size + closing_room && !gave_up) [[likely]] {
    return {};
  }
  MappedSegment* const next = shard_.spare();
  if (!next) return refuse();
  seal_here();
  begin_segment(*next);
  return {};
}

void TrailWriter::begin_segment(MappedSegment& next) {
  SegmentHeader header{.shard = shard_.number(),
                       .number = next.number(),
                       .first_sequence = last_.sequence + 1,
                       .begun_at = loop_.wall_now(),
                       .key = shard_.settings().key->public_key(),
                       .node = shard_.settings().node,
                       .previous_hash = last_.hash,
                       .hash = {}};
  next.begin(header, sha_);
  last_.hash = header.hash;
  active_ = &next;
  shapes_.clear();
  shard_.set_active(next);
  want_at_ = want_step;
  metrics_.segments.add();
  want_segment_();
}

// The end of a segment is sealed so, and not by the sealer's side, because its head is the last
// record of the chain in that file.
void TrailWriter::seal_here() {
  if (last_kind_ == RecordKind::head) return;
  SignedHead head{.node = shard_.settings().node,
                  .shard = shard_.number(),
                  .segment = active_->number(),
                  .sequence = last_.sequence,
                  .synced_sequence = shard_.synced_sequence(),
                  .time = loop_.wall_now(),
                  .hash = last_.hash,
                  .key = {},
                  .signature = {}};
  sign(head, *shard_.settings().key);
  // Not in buffer_: a record that found no room waits there.
  std::array<std::uint8_t, hash_size + closing_room> buffer;
  std::uint8_t* const begin = buffer.data() + record_at;
  FieldWriter writer(begin + record_header_size, buffer.data() + buffer.size() - hash_size);
  const Head record = head.to_record();
  record.fields(writer);
  link(buffer.data(), pad(begin, writer.position()), RecordKind::head, {});
}

std::unexpected<Error> TrailWriter::refuse() {
  Error why = shard_.why_not();
  if (refused_count_ == 0) {
    refused_since_ = loop_.wall_now();
    refused_cause_ = why.detail();
  }
  if (refused_count_ == 0 && loop_.now() >= log_again_at_) {
    log_again_at_ = loop_.now() + log_interval;
    log_error("trail",
              "a record was refused, and what it is about with it",
              {{"shard", shard_.number()}, {"cause", why.detail()}});
  }
  ++refused_count_;
  refused_in_ = active_->number();
  metrics_.refused.add();
  return std::unexpected(std::move(why));
}

Result<void> TrailWriter::record_interruption() {
  const Interruption interruption{
      .refused_count = refused_count_, .since = refused_since_, .cause = refused_cause_};
  // Not in buffer_ either.
  std::array<std::uint8_t, hash_size + 1'024> buffer;
  std::uint8_t* const begin = buffer.data() + record_at;
  FieldWriter writer(begin + record_header_size, buffer.data() + buffer.size() - hash_size);
  interruption.fields(writer);
  const std::uint32_t size = pad(begin, writer.position());
  MERIDIAN_CHECK(make_room(stride(size)));
  link(buffer.data(), size, Interruption::kind, {});
  refused_count_ = 0;
  return {};
}

}  // namespace meridian::trail
