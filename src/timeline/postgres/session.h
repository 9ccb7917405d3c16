#pragma once
// A session with PostgreSQL for our own statements: libpq, non-blocking, pipelined.
//
// Statements of several fibres share the connection and are answered in order; each is a
// transaction of its own, with a snapshot of its own. What is sent during one batch of the loop
// goes out in one write. For relaying clients see pool/; nothing of a client's runs here.
//
// Belongs to one loop. When the connection breaks, every statement under way fails and so does
// every later one: make a new session.

#include "base/result.h"
#include "base/secret.h"
#include "base/sql_text.h"
#include "runtime/epoll_loop.h"
#include "runtime/event.h"
#include "runtime/file.h"
#include "runtime/scope.h"
#include "timeline/rows.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct pg_conn;
struct pg_result;

namespace meridian {

// How to reach a server as one user. `url` is what libpq understands: a URI or keyword=value pairs.
struct PostgresOptions {
  std::string url;
  std::string user{};  // Overrides the URL's.
  Secret password{};
  // Asked once when the server refuses the password: another, or the same that was set anew. May be
  // empty.
  std::function<Async<Result<Secret>>(Secret refused, Deadline deadline)> password_after{};
  std::string database{};  // Overrides the URL's.
  std::string application_name = "meridian";
  bool replication = false;  // A walsender: simple statements and the replication commands alone.
  Duration statement_timeout = Duration::zero();  // Zero: the server's.
  // How long a statement waits for a lock. Zero: the server's.
  Duration lock_timeout = Duration::zero();

  // Shorter than any deadlock_timeout that is in use: of two who wait for each other's tables it is
  // then always we who give up, and never a user's statement.
  static constexpr Duration gives_way = std::chrono::milliseconds(200);
  std::string settings{};  // More of the server's, as `-c name=value`.
  // Whether a commit waits for what the server's synchronous_commit asks for; else for its own
  // disk.
  bool server_commit = false;
};

struct PreparedStatement {
  std::vector<std::uint32_t> parameter_types;  // OIDs.
  std::vector<std::string> columns;
  std::vector<std::uint32_t> column_types;
};

// One statement of several that are sent together.
struct Command {
  std::string_view statement;  // Its text, or the name that it was prepared under.
  bool prepared = false;
  std::span<const Parameter> parameters{};  // In PostgreSQL's binary format.
};

// What the server said of a statement that it refused.
struct StatementFailure {
  std::size_t command =
      0;  // Which of them; those before it were undone with it, unless in a block.
  std::string sqlstate;
  std::string message;
};

struct CommandResults {
  std::vector<Rows> rows;  // Of each command that was done.
  std::optional<StatementFailure> failure;
};

class PostgresSession {
 public:
  static constexpr std::size_t statements_max = 1'024;  // Under way at once.

  // A network that was cut says nothing of it, to either side. When a statement's deadline passes
  // and the server has been silent for this long, the session is broken off.
  static constexpr Duration silence_max = std::chrono::seconds(8);  // Most wait for 10.
  // And the server ends a transaction of ours that has waited this long for its next statement, so
  // that nothing stays locked by a client that is gone.
  static constexpr Duration idle_in_transaction_max = std::chrono::seconds(15);

  // Errors: unavailable or timeout, with libpq's text; denied when the server refused the login.
  static Async<Result<std::unique_ptr<PostgresSession>>> connect(EpollLoop& loop,
                                                                 PostgresOptions options,
                                                                 Deadline deadline);
  ~PostgresSession();

  // Runs one statement. Errors by SQLSTATE: see to_errc(); after a deadline the statement runs on
  // and its answer is dropped, unless the server is silent (silence_max). Text and parameters are
  // copied before the first suspension.
  Async<Result<Rows>> query(std::string_view sql, Parameters parameters, Deadline deadline);

  // Prepares under a name and describes what it takes and gives.
  Async<Result<PreparedStatement>> prepare(std::string_view name,
                                           std::string_view sql,
                                           Deadline deadline);
  Async<Result<Rows>> execute(std::string_view name, Parameters parameters, Deadline deadline);

  // Runs statements in one transaction; stops at the first that fails and rolls back. One at a
  // time: other statements of this session wait.
  Async<Result<void>> transact(std::vector<std::string> statements, Deadline deadline);

  // Sends statements together and stops at the first that fails. Outside of a transaction block
  // they are one transaction. Everything is copied before the first suspension. Errors: unavailable
  // (the connection broke: whether it was committed is not known), timeout (it may go on),
  // cancelled.
  Async<Result<CommandResults>> run(std::span<const Command> commands, Deadline deadline);

  // Of the backend, as pg_backend_pid() has it.
  int process_id() const noexcept;

  bool broken() const noexcept { return broken_; }
  std::size_t under_way() const noexcept { return pending_.size(); }
  int server_version() const noexcept;  // 150004

  // For a session with options.replication, which runs one command at a time and no pipeline.

  // Runs a simple statement or a replication command. START_REPLICATION gives no rows and leaves
  // the session copying.
  Async<Result<Rows>> command(std::string_view sql, Deadline deadline);

  // While copying: the next message that is there, valid until the next call; nothing when none is
  // there yet. Errors: unavailable, when the stream has ended.
  Result<std::optional<std::string_view>> try_receive();

  // While copying: waits until try_receive() is worth a try.
  Async<Wake> receivable(Deadline deadline);

  // While copying: sends one message.
  Result<void> send(std::string_view message);

  // Ends the connection; must be awaited before the session ends.
  Async<> close();

 private:
  struct Pending {
    explicit Pending(Loop& loop) : done(loop) {}
    Event done;
    Result<Rows> rows = Rows();
    PreparedStatement prepared;
    bool answered = false;
    bool given_up = false;                   // Nobody waits for it any more.
    std::optional<CommandResults> commands;  // Of run().
  };
  class Flush;

  static Async<Result<std::unique_ptr<PostgresSession>>> log_in(EpollLoop& loop,
                                                                PostgresOptions& options,
                                                                Deadline deadline);
  PostgresSession(EpollLoop& loop, pg_conn* connection, File socket, bool replication);

  Async<Result<std::shared_ptr<Pending>>> run(std::shared_ptr<Pending> pending,
                                              bool sent,
                                              Deadline deadline);
  Async<> read();
  void take_results();
  void take(pg_result* result);
  void flush();
  void give_up(Pending& pending);
  void break_off(std::string why);

  EpollLoop& loop_;
  pg_conn* connection_;
  // A number of our own for the socket: libpq closes its own as soon as the connection is lost, and
  // then it may be another's before the watch has ended, which would take that one's events away.
  File socket_;
  std::unique_ptr<EpollLoop::Watch> watch_;
  std::deque<std::shared_ptr<Pending>> pending_;
  Time heard_at_{};  // Or, when nothing was asked, since then.
  std::unique_ptr<Flush> flush_;
  Event flushing_;
  char* received_ = nullptr;  // libpq's, of the last try_receive().
  bool broken_ = false;
  std::string broken_why_;
  Scope scope_;
};

// What a failed statement means to its caller (PostgreSQL, appendix A, by class).
Errc to_errc(std::string_view sqlstate) noexcept;

}  // namespace meridian
