#include "timeline/postgres/session.h"

#include "base/escape.h"
#include "wire/postgres/refusal.h"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <utility>

namespace meridian {
namespace {

struct ResultDeleter {
  void operator()(pg_result* result) const noexcept { ::PQclear(result); }
};
using ResultOwner = std::unique_ptr<pg_result, ResultDeleter>;

// libpq ends its texts with a newline and may give several lines.
std::string one_line(const char* text) {
  std::string line(text ? text : "");
  while (!line.empty() && (line.back() == '\n' || line.back() == ' '))
    line.pop_back();
  for (char& c : line) {
    if (c == '\n') c = ' ';
  }
  return line;
}

Error to_error(const pg_result* result) {
  const char* const sqlstate = ::PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* const message = ::PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const char* const hint = ::PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
  std::string text = message ? one_line(message) : one_line(::PQresultErrorMessage(result));
  if (hint) text += " (" + one_line(hint) + ")";
  if (sqlstate) text += " [" + std::string(sqlstate) + "]";
  return Error(to_errc(sqlstate ? sqlstate : "08006"), std::move(text));
}

// Of a text in libpq's verbose form, `...: FATAL:  28P01: text`, with more lines behind it. There
// is no other way to a login's code, and the text is in the server's language.
Error to_login_error(const char* said) {
  constexpr std::string_view before = ":  ";
  constexpr std::size_t size = 5;
  const std::string text(said ? said : "");
  const auto is_code = [](std::string_view code) {
    return code.size() == size + 2 && code.ends_with(": ") &&
           std::ranges::all_of(code.substr(0, size), [](char c) {
             return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
           });
  };
  for (std::size_t at = text.find(before); at != std::string::npos;
       at = text.find(before, at + 1)) {
    const std::size_t code = at + before.size();
    if (!is_code(std::string_view(text).substr(code, size + 2))) continue;
    const std::string sqlstate = text.substr(code, size);
    std::string line = text.substr(0, code) + text.substr(code + size + 2);
    line.resize(std::min(line.size(), line.find('\n', code)));
    return Error(sqlstate.starts_with("28") ? Errc::denied : Errc::unavailable,
                 one_line(line.c_str()) + " [" + sqlstate + "]");
  }
  return Error(Errc::unavailable, one_line(text.c_str()));
}

StatementFailure to_failure(const pg_result* result, std::size_t command) {
  const auto field = [&](int code) {
    const char* const text = ::PQresultErrorField(result, code);
    return text ? one_line(text) : std::string();
  };
  StatementFailure failure{.command = command, .sqlstate = field(PG_DIAG_SQLSTATE), .message = {}};
  if (failure.sqlstate.empty()) failure.sqlstate = "08006";
  failure.message = field(PG_DIAG_MESSAGE_PRIMARY);
  if (failure.message.empty()) failure.message = one_line(::PQresultErrorMessage(result));
  return failure;
}

Rows to_rows(const pg_result* result) {
  const int columns_count = ::PQnfields(result);
  const int rows_count = ::PQntuples(result);
  std::vector<std::string> columns;
  for (int i = 0; i < columns_count; ++i)
    columns.emplace_back(::PQfname(result, i));
  std::vector<Value> values;
  values.reserve(static_cast<std::size_t>(columns_count) * static_cast<std::size_t>(rows_count));
  for (int row = 0; row < rows_count; ++row) {
    for (int column = 0; column < columns_count; ++column) {
      if (::PQgetisnull(result, row, column)) {
        values.emplace_back();
      } else {
        const auto size = static_cast<std::size_t>(::PQgetlength(result, row, column));
        values.emplace_back(std::string(::PQgetvalue(result, row, column), size));
      }
    }
  }
  return {std::move(columns), std::move(values)};
}

// libpq wants terminated texts.
struct ParameterArray {
  explicit ParameterArray(Parameters parameters) {
    for (const Parameter& parameter : parameters.items())
      texts.emplace_back(parameter.value_or(""));
    for (std::size_t i = 0; i < texts.size(); ++i) {
      pointers.push_back(parameters.items()[i] ? texts[i].c_str() : nullptr);
    }
  }
  int count() const noexcept { return static_cast<int>(pointers.size()); }

  std::vector<std::string> texts;
  std::vector<const char*> pointers;
};

Async<Result<void>> finish_connecting(EpollLoop& loop, pg_conn* connection, Deadline deadline) {
  for (;;) {
    const PostgresPollingStatusType status = ::PQconnectPoll(connection);
    if (status == PGRES_POLLING_OK) co_return Result<void>();
    if (status == PGRES_POLLING_FAILED) {
      co_return std::unexpected(to_login_error(::PQerrorMessage(connection)));
    }
    // The descriptor may be another one after each step.
    EpollLoop::Watch watch(loop, ::PQsocket(connection));
    Wake wake = Wake::ready;
    if (status == PGRES_POLLING_READING) {
      watch.rearm();
      wake = co_await watch.readable(deadline);
    } else {
      watch.full();
      wake = co_await watch.writable(deadline);
    }
    MERIDIAN_CO_CHECK(to_result(wake, "the connection to PostgreSQL"));
  }
}

}  // namespace

Errc to_errc(std::string_view sqlstate) noexcept {
  const std::string_view kind = sqlstate.substr(0, 2);
  // MLEAS: meridian.fence(), whose lease is another's now.
  if (sqlstate == "42501" || sqlstate == "MLEAS" || kind == "28") return Errc::denied;
  if (sqlstate == "57014") return Errc::timeout;
  if (sqlstate == "40001" || sqlstate == "40P01") return Errc::conflict;
  if (sqlstate == "40003") return Errc::outcome_unknown;
  if (kind == "53" || sqlstate == "55P03") return Errc::exhausted;
  if (kind == "08" || kind == "57" || kind == "58" || kind == "XX" || kind == "25") {
    return Errc::unavailable;
  }
  return Errc::invalid;
}

// Sends at the end of the batch what its fibres asked for.
class PostgresSession::Flush final : public BatchEnd {
 public:
  explicit Flush(PostgresSession& session) noexcept : session_(session) {}
  void on_batch_end() override { session_.flush(); }

 private:
  PostgresSession& session_;
};

PostgresSession::PostgresSession(EpollLoop& loop,
                                 pg_conn* connection,
                                 File socket,
                                 bool replication)
    : loop_(loop),
      connection_(connection),
      socket_(std::move(socket)),
      watch_(std::make_unique<EpollLoop::Watch>(loop, socket_.fd())),
      flush_(std::make_unique<Flush>(*this)),
      flushing_(loop),
      scope_(loop) {
  ::PQsetErrorVerbosity(connection_, PQERRORS_DEFAULT);
  ::PQsetnonblocking(connection_, 1);
  if (replication) return;
  MERIDIAN_ASSERT(::PQenterPipelineMode(connection_) == 1);
  scope_.spawn(read());
}

PostgresSession::~PostgresSession() {
  ::PQfreemem(received_);
  watch_.reset();  // Before its descriptor is closed.
  ::PQfinish(connection_);
}

Async<> PostgresSession::close() {
  break_off("the session was closed");
  co_await scope_.close();
}

Async<Result<std::unique_ptr<PostgresSession>>> PostgresSession::connect(EpollLoop& loop,
                                                                         PostgresOptions options,
                                                                         Deadline deadline) {
  auto session = co_await log_in(loop, options, deadline);
  if (session || !options.password_after || !postgres::is_password_refused(session.error())) {
    co_return session;
  }
  auto password = co_await options.password_after(options.password, deadline);
  if (!password) co_return fail_while(session.error().detail(), password.error());
  options.password = *std::move(password);
  co_return co_await log_in(loop, options, deadline);
}

Async<Result<std::unique_ptr<PostgresSession>>> PostgresSession::log_in(EpollLoop& loop,
                                                                        PostgresOptions& options,
                                                                        Deadline deadline) {
  const std::string password(options.password.reveal());
  std::vector<std::pair<const char*, const char*>> settings{{"dbname", options.url.c_str()}};
  if (!options.user.empty()) settings.emplace_back("user", options.user.c_str());
  if (!password.empty()) settings.emplace_back("password", password.c_str());
  settings.emplace_back("application_name", options.application_name.c_str());
  settings.emplace_back("client_encoding", "UTF8");
  if (options.replication) settings.emplace_back("replication", "database");
  // How values are printed: alike by whoever reads them and by the feed, whatever the database's
  // own settings are.
  std::string server_options =
      "-c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=3 -c TimeZone=UTC";
  if (!options.replication) server_options += " -c search_path=pg_catalog,public";
  if (!options.replication && !options.server_commit) {
    server_options += " -c synchronous_commit=local";
  }
  if (!options.replication && options.statement_timeout != Duration::zero()) {
    const auto millis = std::chrono::ceil<std::chrono::milliseconds>(options.statement_timeout);
    server_options += " -c statement_timeout=" + std::to_string(millis.count());
  }
  if (!options.replication && options.lock_timeout != Duration::zero()) {
    const auto millis = std::chrono::ceil<std::chrono::milliseconds>(options.lock_timeout);
    server_options += " -c lock_timeout=" + std::to_string(millis.count());
  }
  // So that either side finds out when the other is gone; on a Unix socket they mean nothing.
  const auto idle_max =
      std::chrono::ceil<std::chrono::milliseconds>(PostgresSession::idle_in_transaction_max);
  server_options +=
      " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5"
      " -c tcp_keepalives_count=3 -c tcp_user_timeout=25000"
      " -c idle_in_transaction_session_timeout=" +
      std::to_string(idle_max.count());
  for (const auto& [name, value] : {std::pair("keepalives_idle", "10"),
                                    std::pair("keepalives_interval", "5"),
                                    std::pair("keepalives_count", "3"),
                                    std::pair("tcp_user_timeout", "25000")}) {
    settings.emplace_back(name, value);
  }
  if (!options.settings.empty()) server_options += " " + options.settings;
  settings.emplace_back("options", server_options.c_str());
  // Only the first dbname is read as a URL; what follows overrides parts of it (libpq,
  // PQconnectdbParams).
  if (!options.database.empty()) settings.emplace_back("dbname", options.database.c_str());
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (const auto& [keyword, value] : settings) {
    keywords.push_back(keyword);
    values.push_back(value);
  }
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  pg_conn* const connection = ::PQconnectStartParams(keywords.data(), values.data(), 1);
  MERIDIAN_ASSERT(connection);
  if (::PQstatus(connection) == CONNECTION_BAD) {
    std::string text = one_line(::PQerrorMessage(connection));
    ::PQfinish(connection);
    co_return fail(Errc::unavailable, std::move(text));
  }
  ::PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
  auto connected = co_await finish_connecting(loop, connection, deadline);
  if (!connected) {
    ::PQfinish(connection);
    co_return std::unexpected(connected.error());
  }
  File socket(::fcntl(::PQsocket(connection), F_DUPFD_CLOEXEC, 0));
  if (!socket.open()) {
    const int error = errno;
    ::PQfinish(connection);
    co_return fail(Errc::exhausted,
                   "a socket for a session: " + std::generic_category().message(error));
  }
  co_return std::unique_ptr<PostgresSession>(
      new PostgresSession(loop, connection, std::move(socket), options.replication));
}

int PostgresSession::server_version() const noexcept {
  return ::PQserverVersion(connection_);
}

void PostgresSession::flush() {
  if (broken_) return;
  const int left = ::PQflush(connection_);
  if (left < 0) {
    break_off(one_line(::PQerrorMessage(connection_)));
  } else if (left == 1) {
    // The socket is full. The reader goes on draining, or both sides would wait for each other.
    watch_->full();
    scope_.spawn([](PostgresSession& session) -> Async<> {
      if (co_await session.watch_->writable() == Wake::ready) session.flush();
    }(*this));
  }
}

// Queues the statement's place among the answers and waits for it.
Async<Result<std::shared_ptr<PostgresSession::Pending>>> PostgresSession::run(
    std::shared_ptr<Pending> pending, bool sent, Deadline deadline) {
  if (broken_) co_return fail(Errc::unavailable, broken_why_);
  if (!sent || ::PQpipelineSync(connection_) != 1) {
    // libpq refuses before anything is sent only when the session is beyond use.
    break_off(one_line(::PQerrorMessage(connection_)));
    co_return fail(Errc::unavailable, broken_why_);
  }
  if (pending_.empty()) heard_at_ = loop_.now();
  pending_.push_back(pending);
  loop_.at_batch_end(*flush_);
  const Wake wake = co_await pending->done.wait(deadline);
  if (wake != Wake::ready) give_up(*pending);
  MERIDIAN_CO_CHECK(to_result(wake, "PostgreSQL's answer"));
  co_return pending;
}

// All others wait behind the first one.
void PostgresSession::give_up(Pending& pending) {
  pending.given_up = true;
  if (pending_.empty() || !pending_.front()->given_up) return;
  const Duration silent = loop_.now() - heard_at_;
  if (silent >= silence_max) {
    break_off("PostgreSQL was silent for " + to_text(silent) + ": the connection is given up");
  }
}

Async<Result<Rows>> PostgresSession::query(std::string_view sql,
                                           Parameters parameters,
                                           Deadline deadline) {
  if (pending_.size() >= statements_max) {
    co_return fail(Errc::exhausted,
                   "the session has " + std::to_string(statements_max) + " statements under way");
  }
  bool sent = false;
  if (!broken_) {
    const std::string text(sql);
    const ParameterArray array(parameters);
    sent = ::PQsendQueryParams(connection_,
                               text.c_str(),
                               array.count(),
                               nullptr,
                               array.pointers.data(),
                               nullptr,
                               nullptr,
                               0) == 1;
  }
  MERIDIAN_CO_TRY(auto done, co_await run(std::make_shared<Pending>(loop_), sent, deadline));
  co_return std::move(done->rows);
}

Async<Result<PreparedStatement>> PostgresSession::prepare(std::string_view name,
                                                          std::string_view sql,
                                                          Deadline deadline) {
  bool sent = false;
  if (!broken_) {
    const std::string statement(name);
    sent = ::PQsendPrepare(connection_, statement.c_str(), std::string(sql).c_str(), 0, nullptr) ==
               1 &&
           ::PQsendDescribePrepared(connection_, statement.c_str()) == 1;
  }
  MERIDIAN_CO_TRY(auto done, co_await run(std::make_shared<Pending>(loop_), sent, deadline));
  if (!done->rows) co_return std::unexpected(done->rows.error());
  co_return std::move(done->prepared);
}

Async<Result<Rows>> PostgresSession::execute(std::string_view name,
                                             Parameters parameters,
                                             Deadline deadline) {
  if (pending_.size() >= statements_max) {
    co_return fail(Errc::exhausted,
                   "the session has " + std::to_string(statements_max) + " statements under way");
  }
  bool sent = false;
  if (!broken_) {
    const ParameterArray array(parameters);
    sent = ::PQsendQueryPrepared(connection_,
                                 std::string(name).c_str(),
                                 array.count(),
                                 array.pointers.data(),
                                 nullptr,
                                 nullptr,
                                 0) == 1;
  }
  MERIDIAN_CO_TRY(auto done, co_await run(std::make_shared<Pending>(loop_), sent, deadline));
  co_return std::move(done->rows);
}

Async<Result<void>> PostgresSession::transact(std::vector<std::string> statements,
                                              Deadline deadline) {
  // Without a Sync between them the statements are one implicit transaction (protocol,
  // "Pipelining").
  bool sent = !broken_;
  for (std::size_t i = 0; sent && i < statements.size(); ++i) {
    sent = ::PQsendQueryParams(
               connection_, statements[i].c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) == 1;
  }
  MERIDIAN_CO_TRY(auto done, co_await run(std::make_shared<Pending>(loop_), sent, deadline));
  if (!done->rows) co_return std::unexpected(done->rows.error());
  co_return Result<void>();
}

Async<Result<CommandResults>> PostgresSession::run(std::span<const Command> commands,
                                                   Deadline deadline) {
  constexpr int binary = 1;
  bool sent = !broken_;
  for (std::size_t i = 0; sent && i < commands.size(); ++i) {
    const Command& command = commands[i];
    std::vector<const char*> values;
    std::vector<int> sizes;
    for (const Parameter& parameter : command.parameters) {
      values.push_back(parameter ? (parameter->empty() ? "" : parameter->data()) : nullptr);
      sizes.push_back(parameter ? static_cast<int>(parameter->size()) : 0);
    }
    const std::vector<int> formats(values.size(), binary);
    const std::string statement(command.statement);
    const auto count = static_cast<int>(values.size());
    sent = (command.prepared ? ::PQsendQueryPrepared(connection_,
                                                     statement.c_str(),
                                                     count,
                                                     values.data(),
                                                     sizes.data(),
                                                     formats.data(),
                                                     0)
                             : ::PQsendQueryParams(connection_,
                                                   statement.c_str(),
                                                   count,
                                                   nullptr,
                                                   values.data(),
                                                   sizes.data(),
                                                   formats.data(),
                                                   0)) == 1;
  }
  auto pending = std::make_shared<Pending>(loop_);
  pending->commands.emplace();
  MERIDIAN_CO_TRY(auto done, co_await run(std::move(pending), sent, deadline));
  if (!done->rows) co_return std::unexpected(done->rows.error());
  co_return *std::move(done->commands);
}

int PostgresSession::process_id() const noexcept {
  return ::PQbackendPID(connection_);
}

Async<Result<Rows>> PostgresSession::command(std::string_view sql, Deadline deadline) {
  const auto broke = [&] {
    return fail(Errc::unavailable, one_line(::PQerrorMessage(connection_)));
  };
  if (::PQsendQuery(connection_, std::string(sql).c_str()) != 1) co_return broke();
  for (;;) {
    const int left = ::PQflush(connection_);
    if (left < 0) co_return broke();
    if (left == 0) break;
    watch_->full();
    MERIDIAN_CO_CHECK(
        to_result(co_await watch_->writable(deadline), "PostgreSQL to read a command"));
  }
  Result<Rows> rows = Rows();
  for (;;) {
    while (::PQisBusy(connection_)) {
      watch_->rearm();
      MERIDIAN_CO_CHECK(to_result(co_await watch_->readable(deadline), "PostgreSQL's answer"));
      if (::PQconsumeInput(connection_) != 1) co_return broke();
    }
    const ResultOwner result(::PQgetResult(connection_));
    if (!result) co_return rows;
    const ExecStatusType status = ::PQresultStatus(result.get());
    if (status == PGRES_COPY_BOTH) co_return rows;
    if (status == PGRES_TUPLES_OK) {
      rows = to_rows(result.get());
    } else if (status != PGRES_COMMAND_OK) {
      rows = std::unexpected(to_error(result.get()));
    }
  }
}

Result<std::optional<std::string_view>> PostgresSession::try_receive() {
  ::PQfreemem(std::exchange(received_, nullptr));
  for (bool looked = false;; looked = true) {
    const int size = ::PQgetCopyData(connection_, &received_, 1);
    if (size > 0) return std::string_view(received_, static_cast<std::size_t>(size));
    if (size < 0) {
      // The end of the copy carries its reason in a result of its own.
      const ResultOwner result(size == -1 ? ::PQgetResult(connection_) : nullptr);
      std::string why =
          one_line(result ? ::PQresultErrorMessage(result.get()) : ::PQerrorMessage(connection_));
      return fail(Errc::unavailable, why.empty() ? "the stream ended" : std::move(why));
    }
    if (looked) return std::nullopt;
    if (::PQconsumeInput(connection_) != 1) {
      return fail(Errc::unavailable, one_line(::PQerrorMessage(connection_)));
    }
  }
}

Async<Wake> PostgresSession::receivable(Deadline deadline) {
  watch_->rearm();
  co_return co_await watch_->readable(deadline);
}

Result<void> PostgresSession::send(std::string_view message) {
  if (::PQputCopyData(connection_, message.data(), static_cast<int>(message.size())) != 1 ||
      ::PQflush(connection_) < 0) {
    return fail(Errc::unavailable, one_line(::PQerrorMessage(connection_)));
  }
  return {};
}

Async<> PostgresSession::read() {
  for (;;) {
    watch_->rearm();
    if (co_await watch_->readable() != Wake::ready) co_return;
    if (broken_) co_return;
    if (::PQconsumeInput(connection_) != 1) {
      break_off(one_line(::PQerrorMessage(connection_)));
      co_return;
    }
    heard_at_ = loop_.now();
    take_results();
  }
}

void PostgresSession::take_results() {
  while (!pending_.empty() && !::PQisBusy(connection_)) {
    // NULL ends the results of one command of the pipeline.
    if (pg_result* const result = ::PQgetResult(connection_)) take(result);
    if (::PQstatus(connection_) == CONNECTION_BAD) {
      break_off(one_line(::PQerrorMessage(connection_)));
    }
  }
}

void PostgresSession::take(pg_result* raw) {
  const ResultOwner result(raw);
  Pending& pending = *pending_.front();
  switch (::PQresultStatus(result.get())) {
    case PGRES_TUPLES_OK:
      if (pending.commands) {
        pending.commands->rows.push_back(to_rows(result.get()));
      } else {
        pending.rows = to_rows(result.get());
      }
      break;
    case PGRES_COMMAND_OK:
      if (pending.commands) pending.commands->rows.emplace_back();
      for (int i = 0; i < ::PQnparams(result.get()); ++i) {
        pending.prepared.parameter_types.push_back(::PQparamtype(result.get(), i));
      }
      for (int i = 0; i < ::PQnfields(result.get()); ++i) {
        pending.prepared.columns.emplace_back(::PQfname(result.get(), i));
        pending.prepared.column_types.push_back(::PQftype(result.get(), i));
      }
      break;
    case PGRES_PIPELINE_SYNC: {
      const std::shared_ptr<Pending> done = std::move(pending_.front());
      pending_.pop_front();
      done->done.set();
      break;
    }
    case PGRES_PIPELINE_ABORTED:
      break;  // A consequence of the error that was reported before.
    case PGRES_EMPTY_QUERY:
    case PGRES_COPY_OUT:
    case PGRES_COPY_IN:
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR:
    case PGRES_COPY_BOTH:
    case PGRES_SINGLE_TUPLE:
      if (pending.commands) {
        if (!pending.commands->failure) {
          pending.commands->failure = to_failure(result.get(), pending.commands->rows.size());
        }
      } else if (pending.rows)
        pending.rows = std::unexpected(to_error(result.get()));
      break;
  }
}

void PostgresSession::break_off(std::string why) {
  if (broken_) return;
  broken_ = true;
  broken_why_ = why.empty() ? "the connection to PostgreSQL broke" : std::move(why);
  for (const auto& pending : pending_) {
    pending->rows = fail(Errc::unavailable, broken_why_);
    pending->done.set();
  }
  pending_.clear();
}

}  // namespace meridian
