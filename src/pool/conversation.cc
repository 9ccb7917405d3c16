#include "pool/conversation.h"

#include <algorithm>

namespace meridian {

using postgres::BackendType;
using postgres::TransactionStatus;

std::unexpected<Error> Conversation::violation(BackendType type, std::string_view why) {
  return fail(
      Errc::invalid,
      "the server sent '" + std::string(1, static_cast<char>(type)) + "', " + std::string(why));
}

Result<void> Conversation::expect(Kind kind, StatementStart start) {
  if (expected_.size() >= expected_max) {
    return fail(
        Errc::exhausted,
        std::to_string(expected_max) + " messages were sent ahead of their answers (expected_max)");
  }
  expected_.push_back({.kind = kind, .start = start});
  return {};
}

Result<void> Conversation::query(StatementStart start) {
  if (skipping_) return {};
  return expect(Kind::query, start);
}

Result<void> Conversation::function_call(StatementStart start) {
  if (skipping_) return {};
  return expect(Kind::function, start);
}

void Conversation::injected_query(bool settings_are_news) {
  MERIDIAN_ASSERT(at_rest());
  expected_.push_back({.kind = Kind::injected,
                       .start = {.may_write = false},
                       .settings_are_news = settings_are_news});
}

void Conversation::injected_batch(bool settings_are_news) {
  MERIDIAN_ASSERT(at_rest());
  expected_.push_back({.kind = Kind::injected_batch,
                       .start = {.may_write = false},
                       .settings_are_news = settings_are_news});
}

Result<void> Conversation::parse() {
  batch_open_ = true;
  if (skipping_) return {};
  return expect(Kind::parse);
}

Result<void> Conversation::bind() {
  batch_open_ = true;
  if (skipping_) return {};
  return expect(Kind::bind);
}

Result<void> Conversation::describe(postgres::Target target) {
  batch_open_ = true;
  if (skipping_) return {};
  if (target == postgres::Target::statement) {
    MERIDIAN_CHECK(expect(Kind::describe_statement));
  }
  return expect(Kind::describe_rows);
}

Result<void> Conversation::execute(StatementStart start) {
  batch_open_ = true;
  if (skipping_) return {};
  return expect(Kind::execute, start);
}

Result<void> Conversation::close() {
  batch_open_ = true;
  if (skipping_) return {};
  return expect(Kind::close);
}

Result<void> Conversation::sync() {
  if (copying_in_) {
    // Ignored by a server that reads copy data, answered by one that has failed meanwhile.
    ++syncs_in_copy_;
    return {};
  }
  batch_open_ = false;
  skipping_ = false;
  return expect(Kind::sync);
}

Result<void> Conversation::flush() {
  return {};
}

// Outside of a copy the server ignores copy data, because the copy may have failed before the
// client knew.
Result<void> Conversation::copy_data() const {
  return {};
}

Result<void> Conversation::copy_end() {
  copying_in_ = false;
  return {};
}

Result<Conversation::Verdict> Conversation::answer(BackendType type, std::string_view body) {
  switch (type) {
    case BackendType::notice_response:
    case BackendType::parameter_status:
    case BackendType::notification_response: {
      // May come at any time. A notice about something of ours is of no use to the client.
      Verdict verdict;
      verdict.forward =
          !answering_injected() || type == BackendType::notification_response ||
          (type == BackendType::parameter_status && expected_.front().settings_are_news);
      return verdict;
    }
    case BackendType::ready_for_query:
      return ready(body);
    case BackendType::authentication:
    case BackendType::backend_key_data:
    case BackendType::negotiate_protocol_version:
    case BackendType::copy_both_response:
      return violation(type, "which has no place in a session");
    case BackendType::bind_complete:
    case BackendType::close_complete:
    case BackendType::command_complete:
    case BackendType::copy_data:
    case BackendType::copy_done:
    case BackendType::copy_in_response:
    case BackendType::copy_out_response:
    case BackendType::data_row:
    case BackendType::empty_query_response:
    case BackendType::error_response:
    case BackendType::function_call_response:
    case BackendType::no_data:
    case BackendType::parameter_description:
    case BackendType::parse_complete:
    case BackendType::portal_suspended:
    case BackendType::row_description:
      break;
  }
  if (expected_.empty()) {
    // The server may end the connection at any time, and says why (57P01).
    if (type == BackendType::error_response) return failed(body);
    return violation(type, "which answers nothing that was asked");
  }
  if (is_simple(expected_.front().kind)) return answer_query(type, body);
  return answer_extended(type, body);
}

Result<Conversation::Verdict> Conversation::answer_query(BackendType type, std::string_view body) {
  const Expected head = expected_.front();  // A copy: begin_copy_in() moves what is queued.
  Verdict verdict;
  if (type == BackendType::error_response) {
    verdict = failed(body);
  } else if (head.kind == Kind::function) {
    if (type != BackendType::function_call_response) {
      return violation(type, "which is no answer to a function call");
    }
    dirty_ = dirty_ || head.start.may_write;
    // The call was a transaction of its own, unless it ran in a block.
    verdict.may_acknowledge = dirty_ && status_ == TransactionStatus::idle;
  } else if (type == BackendType::command_complete) {
    verdict = completed(body, true);
  } else if (type == BackendType::copy_in_response && head.kind == Kind::query) {
    begin_copy_in();
  } else if (head.kind == Kind::injected_batch) {
    if (type != BackendType::parse_complete && type != BackendType::bind_complete &&
        type != BackendType::close_complete && type != BackendType::data_row) {
      return violation(type, "which is no answer to what was put in between");
    }
  } else if (type != BackendType::empty_query_response && type != BackendType::row_description &&
             type != BackendType::data_row && type != BackendType::copy_out_response &&
             type != BackendType::copy_data && type != BackendType::copy_done) {
    return violation(type, "which is no answer to a simple query");
  }
  verdict.forward = !is_injected(head.kind);
  return verdict;
}

Result<Conversation::Verdict> Conversation::answer_extended(BackendType type,
                                                            std::string_view body) {
  if (type == BackendType::error_response) return failed(body);
  const Expected& head = expected_.front();
  Verdict verdict;
  if (head.kind == Kind::execute) {
    if (type == BackendType::data_row || type == BackendType::copy_out_response ||
        type == BackendType::copy_data || type == BackendType::copy_done) {
      return verdict;
    }
    if (type == BackendType::copy_in_response) {
      begin_copy_in();
      return verdict;
    }
    if (type == BackendType::command_complete) {
      verdict = completed(body, false);
      pop();
      return verdict;
    }
    if (type == BackendType::empty_query_response || type == BackendType::portal_suspended) {
      dirty_ = dirty_ || head.start.may_write;
      verdict.ended = StatementEnd{
          .ordinal = head.start.ordinal, .started_at = head.start.started_at, .sqlstate = {}};
      pop();
      return verdict;
    }
  }
  const bool fits =
      (head.kind == Kind::parse && type == BackendType::parse_complete) ||
      (head.kind == Kind::bind && type == BackendType::bind_complete) ||
      (head.kind == Kind::close && type == BackendType::close_complete) ||
      (head.kind == Kind::describe_statement && type == BackendType::parameter_description) ||
      (head.kind == Kind::describe_rows &&
       (type == BackendType::row_description || type == BackendType::no_data));
  if (!fits) return violation(type, "which is no answer to what was asked");
  pop();
  return verdict;
}

Conversation::Verdict Conversation::completed(std::string_view body, bool simple) {
  const Expected& head = expected_.front();
  Verdict verdict;
  const auto complete = postgres::parse_command_complete(body);
  const std::string_view command = complete ? complete->command : std::string_view();
  dirty_ = dirty_ || head.start.may_write;
  // "COMMIT" and "COMMIT PREPARED" are acknowledgements wherever they stand; a procedure or a DO
  // block may have committed inside. A transaction that was rolled back has nothing to wait for.
  const bool ends_block = command.starts_with("COMMIT") || command.starts_with("ROLLBACK");
  const bool commits = command.starts_with("COMMIT") || command == "CALL" || command == "DO";
  if (command == "ROLLBACK" && status_ != TransactionStatus::idle && !left_block_) dirty_ = false;
  verdict.may_acknowledge = dirty_ && commits;
  if (simple) {
    if (ends_block) left_block_ = true;
    // Outside of a block each statement of a simple query may have committed by now.
    const bool in_block = status_ != TransactionStatus::idle && !left_block_;
    verdict.may_acknowledge = verdict.may_acknowledge || (dirty_ && !in_block);
  }
  verdict.ended = StatementEnd{.ordinal = head.start.ordinal,
                               .started_at = head.start.started_at,
                               .rows = complete && complete->rows ? *complete->rows : 0,
                               .sqlstate = {}};
  return verdict;
}

Conversation::Verdict Conversation::failed(std::string_view body) {
  Verdict verdict;
  copying_in_ = false;
  if (expected_.empty()) return verdict;
  const auto report = postgres::parse_report(body);
  const std::string_view sqlstate = report ? report->sqlstate : std::string_view("XX000");
  const Expected& head = expected_.front();
  // A procedure may have committed before it failed.
  dirty_ = dirty_ || head.start.may_write;
  if (head.start.ordinal != 0) {
    verdict.ended = StatementEnd{.ordinal = head.start.ordinal,
                                 .started_at = head.start.started_at,
                                 .rows = 0,
                                 .sqlstate = sqlstate};
  }
  if (is_simple(head.kind)) return verdict;  // More may come, up to its ReadyForQuery.
  // Everything up to the next Sync is discarded by the server, simple queries among it.
  while (!expected_.empty() && expected_.front().kind != Kind::sync)
    pop();
  if (expected_.empty()) skipping_ = true;
  return verdict;
}

Result<Conversation::Verdict> Conversation::ready(std::string_view body) {
  MERIDIAN_TRY(const TransactionStatus status, postgres::parse_ready_for_query(body));
  Verdict verdict;
  verdict.ready = true;
  if (expected_.empty()) {
    if (syncs_in_copy_ == 0)
      return violation(BackendType::ready_for_query, "which answers nothing");
    --syncs_in_copy_;
  } else {
    const Kind head = expected_.front().kind;
    if (!is_simple(head) && head != Kind::sync) {
      return violation(BackendType::ready_for_query, "before what was asked is answered");
    }
    verdict.forward = !is_injected(head);
    verdict.ready = verdict.forward;
    pop();
  }
  status_ = status;
  left_block_ = false;
  copying_in_ = false;
  verdict.may_acknowledge = dirty_ && status == TransactionStatus::idle;
  return verdict;
}

std::optional<Time> Conversation::running_since() const noexcept {
  for (const Expected& expected : expected_) {
    if (expected.start.ordinal != 0) return expected.start.started_at;
  }
  return std::nullopt;
}

bool Conversation::may_have_written() const noexcept {
  return dirty_ || std::ranges::any_of(expected_, [](const Expected& expected) {
           return expected.start.ordinal != 0 && expected.start.may_write;
         });
}

void Conversation::begin_copy_in() {
  copying_in_ = true;
  // A Sync that was sent right behind the copy statement is taken for a part of the copy, and
  // ignored.
  while (expected_.size() > 1 && expected_[1].kind == Kind::sync) {
    expected_.erase(expected_.begin() + 1);
    ++syncs_in_copy_;
  }
}

}  // namespace meridian
