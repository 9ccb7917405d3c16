#include "streams/outbox_plan.h"

#include <fmt/format.h>
#include <utility>

namespace meridian {
namespace {

constexpr std::string_view how_to_go_on =
    "`meridian outbox resume --republish` publishes them once more, `--skip` leaves them out";

// The number of the last message that the stream has taken, where that can be known.
std::optional<std::uint64_t> stream_number(const OutboxMarks& marks, const StreamTail& tail) {
  if (tail.last_number && tail.last_installation == marks.installation) return tail.last_number;
  if (tail.last_sequence == 0) return 0;
  // Its messages are gone by age or size, which is no loss: each took one sequence number.
  if (tail.created == marks.stream_created && marks.stream_sequence != 0 &&
      tail.last_sequence >= marks.stream_sequence) {
    return marks.published + (tail.last_sequence - marks.stream_sequence);
  }
  return std::nullopt;
}

// Whether another outbox has written behind what the operator has accepted, or we have seen.
bool is_anothers(const OutboxMarks& marks, const StreamTail& tail) {
  return tail.last_number && tail.last_installation != marks.installation &&
         (tail.created != marks.stream_created ||
          tail.last_number_sequence > marks.stream_sequence);
}

}  // namespace

std::variant<OutboxStart, OutboxGap> decide_start(const OutboxMarks& marks,
                                                  const StreamTail& tail) {
  if (is_anothers(marks, tail)) {
    switch (marks.resume) {
      case OutboxResume::republish:
        return OutboxStart{.next_number = marks.published + 1, .last_sequence = tail.last_sequence};
      case OutboxResume::skip:
        return OutboxStart{.next_number = marks.numbered + 1, .last_sequence = tail.last_sequence};
      case OutboxResume::none:
        break;
    }
    return OutboxGap{
        .kind = OutboxGap::Kind::another,
        .stream_number = *tail.last_number,
        .text = fmt::format(
            "the stream ends with messages of the outbox of another installation, {}; this one is "
            "{}. Two databases have one outbox.stream, where each needs its own, or this one was "
            "restored elsewhere and takes the other's place. Then `meridian outbox resume "
            "--republish` publishes what waits, `--skip` leaves it out",
            tail.last_installation,
            marks.installation)};
  }
  const auto number = stream_number(marks, tail);
  const std::uint64_t last = number.value_or(0);
  if (last > marks.numbered) {
    if (marks.resume == OutboxResume::skip) {
      return OutboxStart{.next_number = last + 1, .last_sequence = tail.last_sequence};
    }
    return OutboxGap{
        .kind = OutboxGap::Kind::database_lost,
        .stream_number = last,
        .text = fmt::format(
            "the stream ends with message {}, and the database has given numbers up to {} alone: "
            "it was set back to an earlier time. `meridian outbox resume --skip` goes on with "
            "number {}; what the database has lost stays in the stream",
            last,
            marks.numbered,
            last + 1)};
  }
  if (last >= marks.published) {
    return OutboxStart{.next_number = last + 1, .last_sequence = tail.last_sequence};
  }
  switch (marks.resume) {
    case OutboxResume::republish:
      return OutboxStart{.next_number = last + 1, .last_sequence = tail.last_sequence};
    case OutboxResume::skip:
      return OutboxStart{.next_number = marks.published + 1, .last_sequence = tail.last_sequence};
    case OutboxResume::none:
      break;
  }
  const bool another = !marks.stream_created.empty() && tail.created != marks.stream_created;
  return OutboxGap{.kind = OutboxGap::Kind::stream_lost,
                   .stream_number = last,
                   .text = fmt::format(
                       "messages {} to {} had been acknowledged and are not in the stream, {}. {}",
                       last + 1,
                       marks.published,
                       another ? "which was made anew" : "which has lost its end",
                       how_to_go_on)};
}

std::optional<OutboxMarks> adopted_marks(const OutboxMarks& marks, const StreamTail& tail) {
  const auto decided = decide_start(marks, tail);
  const auto* const start = std::get_if<OutboxStart>(&decided);
  if (!start) return std::nullopt;
  OutboxMarks adopted = marks;
  adopted.published = start->next_number - 1;
  adopted.numbered = std::max(marks.numbered, adopted.published);
  adopted.stream_created = tail.created;
  adopted.stream_sequence = tail.last_sequence;
  adopted.condition.clear();
  adopted.resume = OutboxResume::none;
  return adopted;
}

}  // namespace meridian
