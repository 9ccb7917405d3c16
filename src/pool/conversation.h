#pragma once
// The conversation with one backend: which answers are still to come, and whose they are.
//
// A pure state machine. The relay tells it every message that goes to the backend and asks it about
// every message that comes back. Each answer must belong to something that was asked; one without
// an owner is a violation, and the backend is not to be used again. It also knows when the backend
// is at rest, and which answers can acknowledge a commit.

#include "base/result.h"
#include "base/time.h"
#include "wire/postgres/backend.h"
#include "wire/postgres/frontend.h"
#include "wire/postgres/message_type.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>

namespace meridian {

// What the relay knows of a statement when it forwards it.
struct StatementStart {
  std::uint32_t ordinal = 0;  // In the visit; 0 for what is not on the trail.
  Time started_at{};
  bool may_write = true;  // Not proven to leave all rows alone.
};

// How a statement ended, for the trail.
struct StatementEnd {
  std::uint32_t ordinal = 0;
  Time started_at{};
  std::uint64_t rows = 0;
  std::string_view sqlstate;  // Empty for success. Borrowed from the message.
};

class Conversation {
 public:
  static constexpr std::size_t expected_max = 65'536;  // Messages sent ahead of their answers.

  // ---- What goes to the backend. Errors: exhausted, when too much is under way; the message must
  // not be sent then.

  Result<void> query(StatementStart start);
  Result<void> function_call(StatementStart start);
  Result<void> parse();
  Result<void> bind();
  Result<void> describe(postgres::Target target);
  Result<void> execute(StatementStart start);
  Result<void> close();
  Result<void> sync();
  Result<void> flush();
  Result<void> copy_data() const;
  Result<void> copy_end();  // CopyDone or CopyFail.

  // A simple query of our own, in between: its answers are swallowed. Requires at_rest().
  // `settings_are_news`: the client is told of the settings that it changes.
  void injected_query(bool settings_are_news = false);

  // The same for messages of the extended protocol up to their Sync.
  void injected_batch(bool settings_are_news = false);

  // ---- What comes back.

  struct Verdict {
    bool forward = true;  // False: an answer to something of ours.
    bool may_acknowledge =
        false;  // A commit may be acknowledged by it: hold it, and what follows, for commit-wait.
    bool ready = false;  // ReadyForQuery that answers the client.
    std::optional<StatementEnd> ended;
  };

  // `body` may be a first part for messages that are streamed (rows, copy data); all others are
  // whole. Errors: invalid, when the message answers nothing that was asked.
  Result<Verdict> answer(postgres::BackendType type, std::string_view body);

  // What answer() said may_acknowledge about has been waited for.
  void acknowledged() noexcept { dirty_ = false; }

  postgres::TransactionStatus status() const noexcept { return status_; }

  // Nothing is under way and no batch is open: something of ours may be sent, or the backend given
  // back when the status is idle too.
  bool at_rest() const noexcept { return expected_.empty() && !batch_open_ && !copying_in_; }

  // The next answer belongs to something of ours.
  bool answering_injected() const noexcept {
    return !expected_.empty() && is_injected(expected_.front().kind);
  }

  // When the statement that runs now was forwarded; nothing when none runs.
  std::optional<Time> running_since() const noexcept;

  // A statement that may have written is unanswered, or its commit unacknowledged.
  bool may_have_written() const noexcept;

  bool copying_in() const noexcept { return copying_in_; }
  std::size_t expected_count() const noexcept { return expected_.size(); }

 private:
  enum class Kind : std::uint8_t {
    query,
    injected,
    injected_batch,
    function,
    parse,
    bind,
    describe_statement,
    describe_rows,
    execute,
    close,
    sync,
  };
  // Answered by results and a ReadyForQuery, as against a message of the extended protocol.
  static bool is_simple(Kind kind) noexcept {
    return kind == Kind::query || kind == Kind::function || is_injected(kind);
  }
  static bool is_injected(Kind kind) noexcept {
    return kind == Kind::injected || kind == Kind::injected_batch;
  }
  struct Expected {
    Kind kind;
    StatementStart start;
    bool settings_are_news = false;
  };

  Result<void> expect(Kind kind, StatementStart start = {});
  Result<Verdict> answer_query(postgres::BackendType type, std::string_view body);
  Result<Verdict> answer_extended(postgres::BackendType type, std::string_view body);
  Verdict completed(std::string_view body, bool simple);
  Verdict failed(std::string_view body);
  Result<Verdict> ready(std::string_view body);
  void begin_copy_in();
  void pop() { expected_.pop_front(); }
  static std::unexpected<Error> violation(postgres::BackendType type, std::string_view why);

  std::deque<Expected> expected_;
  postgres::TransactionStatus status_ = postgres::TransactionStatus::idle;
  bool batch_open_ = false;          // Extended messages were sent since the last Sync.
  bool skipping_ = false;            // The server discards everything up to the next Sync.
  bool copying_in_ = false;          // The server reads copy data.
  std::uint32_t syncs_in_copy_ = 0;  // Sent while it did: answered only if it had failed by then.
  bool dirty_ =
      false;  // A statement that may have written was answered since the last acknowledgement.
  bool left_block_ = false;  // This query has ended the transaction block that it began in.
};

}  // namespace meridian
