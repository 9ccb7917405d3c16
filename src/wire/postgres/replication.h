#pragma once
// The envelope of streaming replication inside CopyData, both ways (protocol documentation,
// "Streaming Replication Protocol").

#include "base/result.h"
#include "base/time.h"
#include "wire/postgres/lsn.h"

#include <string>
#include <string_view>
#include <variant>

namespace meridian::postgres {

// A piece of the log. Under logical decoding `data` is one message of the output plugin.
struct XLogData {
  Lsn start;
  Lsn end;  // The end of the log on the server when it was sent.
  WallTime sent_at;
  std::string_view data;
};

struct Keepalive {
  Lsn end;  // Everything that will be sent up to here has been.
  WallTime sent_at;
  bool reply_requested = false;
};

using ReplicationMessage = std::variant<XLogData, Keepalive>;

// `payload` is the body of a CopyData from the server. Errors: invalid.
Result<ReplicationMessage> parse_replication_message(std::string_view payload);

// What has been done with the log up to where. Appends a whole CopyData message.
struct StandbyStatus {
  Lsn written;
  Lsn flushed;  // The slot may forget what is before it.
  Lsn applied;
  WallTime sent_at;
  bool reply_requested = false;
};
void append_standby_status(std::string& out, const StandbyStatus& status);

// PostgreSQL counts microseconds from the beginning of 2000.
WallTime from_postgres_time(std::int64_t microseconds) noexcept;
std::int64_t to_postgres_time(WallTime time) noexcept;

}  // namespace meridian::postgres
