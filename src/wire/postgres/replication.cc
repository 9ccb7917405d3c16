#include "wire/postgres/replication.h"

#include "wire/postgres/bytes.h"
#include "wire/postgres/message_type.h"

#include <chrono>
#include <limits>

namespace meridian::postgres {
namespace {

// 2000-01-01 in microseconds of Unix time.
constexpr std::int64_t epoch_offset =
    std::chrono::microseconds(
        std::chrono::sys_days(std::chrono::year(2000) / 1 / 1).time_since_epoch())
        .count();

Lsn read_lsn(BodyReader& reader) noexcept {
  return Lsn{reader.number<std::uint64_t>()};
}

}  // namespace

WallTime from_postgres_time(std::int64_t microseconds) noexcept {
  // A hostile server may send any number; the sum must not overflow.
  constexpr std::int64_t latest = std::numeric_limits<std::int64_t>::max() - epoch_offset;
  return WallTime(
      std::chrono::microseconds((microseconds > latest ? latest : microseconds) + epoch_offset));
}

std::int64_t to_postgres_time(WallTime time) noexcept {
  constexpr std::int64_t earliest = std::numeric_limits<std::int64_t>::min() + epoch_offset;
  const std::int64_t microseconds = time.time_since_epoch().count();
  return (microseconds < earliest ? earliest : microseconds) - epoch_offset;
}

Result<ReplicationMessage> parse_replication_message(std::string_view payload) {
  BodyReader reader(payload);
  const char type = static_cast<char>(reader.number<std::uint8_t>());
  if (type == 'w') {
    XLogData message;
    message.start = read_lsn(reader);
    message.end = read_lsn(reader);
    message.sent_at = from_postgres_time(reader.number<std::int64_t>());
    message.data = reader.take_rest();
    MERIDIAN_CHECK(reader.finish("XLogData"));
    return message;
  }
  if (type == 'k') {
    Keepalive message;
    message.end = read_lsn(reader);
    message.sent_at = from_postgres_time(reader.number<std::int64_t>());
    message.reply_requested = reader.number<std::uint8_t>() != 0;
    MERIDIAN_CHECK(reader.finish("primary keepalive"));
    return message;
  }
  return fail(Errc::invalid, "a replication message is neither XLogData nor a keepalive");
}

void append_standby_status(std::string& out, const StandbyStatus& status) {
  MessageWriter(out, static_cast<char>(FrontendType::copy_data))
      .letter('r')
      .number(status.written.value)
      .number(status.flushed.value)
      .number(status.applied.value)
      .number(to_postgres_time(status.sent_at))
      .number(static_cast<std::uint8_t>(status.reply_requested))
      .finish();
}

}  // namespace meridian::postgres
