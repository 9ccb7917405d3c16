// libpq, the client library that most others stand on, through the postgres door. Started by
// libpq_test.py, which has a node and tokens ready.

#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <poll.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;
using Answer = std::unique_ptr<PGresult, decltype(&PQclear)>;

constexpr int wait_ms_max = 30'000;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

std::string connection_text(const std::string& token, const std::string& more) {
  return "host=127.0.0.1 dbname=shop user=checkout port=" + variable("NODE_POSTGRES_PORT") +
         " password='" + token + "' " + more;
}

Connection connect(const std::string& more = "sslmode=disable") {
  return {PQconnectdb(connection_text(variable("TOKEN_CHECKOUT"), more).c_str()), PQfinish};
}

Answer run(const Connection& connection, const char* sql) {
  return {PQexec(connection.get(), sql), PQclear};
}

std::string value_of(const Answer& answer) {
  if (PQresultStatus(answer.get()) != PGRES_TUPLES_OK) return PQresultErrorMessage(answer.get());
  return PQgetvalue(answer.get(), 0, 0);
}

std::string state_of(const Answer& answer) {
  const char* const state = PQresultErrorField(answer.get(), PG_DIAG_SQLSTATE);
  return state ? state : "";
}

bool wait_for(const Connection& connection, short events) {
  pollfd wanted{.fd = PQsocket(connection.get()), .events = events, .revents = 0};
  return ::poll(&wanted, 1, wait_ms_max) == 1;
}

// The next answer of a connection that does not block.
Answer next_answer(const Connection& connection) {
  for (;;) {
    const int unsent = PQflush(connection.get());
    if (unsent == 0 && !PQisBusy(connection.get())) break;
    const short events = static_cast<short>(POLLIN | (unsent == 1 ? POLLOUT : 0));
    if (!wait_for(connection, events) || PQconsumeInput(connection.get()) != 1) {
      ADD_FAILURE() << PQerrorMessage(connection.get());
      return {nullptr, PQclear};
    }
  }
  return {PQgetResult(connection.get()), PQclear};
}

class LibpqTest : public testing::Test {
 protected:
  Connection connection = connect();

  void SetUp() override {
    ASSERT_EQ(PQstatus(connection.get()), CONNECTION_OK) << PQerrorMessage(connection.get());
  }
};

TEST_F(LibpqTest, SettingsOfTheServerAreReported) {
  EXPECT_EQ(PQserverVersion(connection.get()) / 10'000, 15);
  EXPECT_EQ(PQprotocolVersion(connection.get()), 3);
  EXPECT_STREQ(PQparameterStatus(connection.get(), "client_encoding"), "UTF8");
  EXPECT_STREQ(PQparameterStatus(connection.get(), "standard_conforming_strings"), "on");
  EXPECT_GT(PQbackendPID(connection.get()), 0);
}

TEST_F(LibpqTest, ATransactionShowsItsState) {
  EXPECT_EQ(PQtransactionStatus(connection.get()), PQTRANS_IDLE);
  run(connection, "BEGIN");
  EXPECT_EQ(PQtransactionStatus(connection.get()), PQTRANS_INTRANS);
  EXPECT_EQ(state_of(run(connection, "SELECT 1 / 0")), "22012");
  EXPECT_EQ(PQtransactionStatus(connection.get()), PQTRANS_INERROR);
  EXPECT_EQ(state_of(run(connection, "SELECT 1")), "25P02");
  run(connection, "ROLLBACK");
  EXPECT_EQ(PQtransactionStatus(connection.get()), PQTRANS_IDLE);
  EXPECT_EQ(value_of(run(connection, "SELECT 42")), "42");
}

TEST_F(LibpqTest, ParametersInBothFormatsAndManyOfThem) {
  const std::array<const char*, 2> values{"6", "7"};
  const Answer product(PQexecParams(connection.get(),
                                    "SELECT $1::int * $2::int",
                                    2,
                                    nullptr,
                                    values.data(),
                                    nullptr,
                                    nullptr,
                                    1),
                       PQclear);
  ASSERT_EQ(PQresultStatus(product.get()), PGRES_TUPLES_OK);
  ASSERT_EQ(PQgetlength(product.get(), 0, 0), 4);
  EXPECT_EQ(std::string_view(PQgetvalue(product.get(), 0, 0), 4),
            std::string_view("\0\0\0\x2a", 4));

  constexpr int count = 65'535;
  std::string sql = "SELECT count(*) FROM (VALUES ";
  std::vector<const char*> many(count, "17");
  for (int i = 1; i <= count; ++i)
    sql += (i == 1 ? "($" : ",($") + std::to_string(i) + "::int)";
  sql += ") AS t (n) WHERE n = 17";
  const Answer counted(
      PQexecParams(connection.get(), sql.c_str(), count, nullptr, many.data(), nullptr, nullptr, 0),
      PQclear);
  EXPECT_EQ(value_of(counted), std::to_string(count));
}

TEST_F(LibpqTest, PreparedStatementsLiveAsLongAsTheConnection) {
  const Answer prepared(
      PQprepare(connection.get(), "order", "SELECT status FROM orders WHERE id = $1", 0, nullptr),
      PQclear);
  ASSERT_EQ(PQresultStatus(prepared.get()), PGRES_COMMAND_OK);
  const Answer described(PQdescribePrepared(connection.get(), "order"), PQclear);
  EXPECT_EQ(PQnparams(described.get()), 1);
  EXPECT_EQ(PQparamtype(described.get(), 0), 20u);  // bigint
  for (const char* const id : {"1", "2", "3"}) {
    const Answer found(PQexecPrepared(connection.get(), "order", 1, &id, nullptr, nullptr, 0),
                       PQclear);
    EXPECT_EQ(value_of(found), "open");
  }
  run(connection, "DEALLOCATE ALL");
  const char* const id = "1";
  const Answer gone(PQexecPrepared(connection.get(), "order", 1, &id, nullptr, nullptr, 0),
                    PQclear);
  EXPECT_EQ(state_of(gone), "26000");
  // Another visit knows nothing of this one's names.
  const Connection other = connect();
  const Answer unknown(PQexecPrepared(other.get(), "order", 1, &id, nullptr, nullptr, 0), PQclear);
  EXPECT_EQ(state_of(unknown), "26000");
}

// The door puts statements of its own in between, one for each transaction that may write.
TEST_F(LibpqTest, TheStatementWithoutANameLivesUntilTheNextOne) {
  run(connection, "CREATE TEMP TABLE steps (n int)");
  const Answer prepared(
      PQprepare(connection.get(), "", "INSERT INTO steps VALUES ($1)", 0, nullptr), PQclear);
  ASSERT_EQ(PQresultStatus(prepared.get()), PGRES_COMMAND_OK);
  const char* const value = "7";
  const auto execute = [&](const char* name) {
    return Answer(PQexecPrepared(connection.get(), name, 1, &value, nullptr, nullptr, 0), PQclear);
  };
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(state_of(execute("")), "");
  const Answer named(
      PQprepare(connection.get(), "named", "INSERT INTO steps VALUES ($1 + 1)", 0, nullptr),
      PQclear);
  EXPECT_EQ(state_of(execute("named")), "");
  EXPECT_EQ(state_of(execute("")), "");
  EXPECT_EQ(value_of(run(connection, "SELECT sum(n) FROM steps")), "36");
  EXPECT_EQ(state_of(execute("")), "26000");
}

TEST_F(LibpqTest, APipelineAnswersInOrderAndAbortsToItsSync) {
  ASSERT_EQ(PQsetnonblocking(connection.get(), 1), 0);
  ASSERT_EQ(PQenterPipelineMode(connection.get()), 1);
  const auto send = [&](const std::string& sql) {
    EXPECT_EQ(
        PQsendQueryParams(connection.get(), sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0),
        1)
        << PQerrorMessage(connection.get());
  };
  constexpr int count = 2'000;  // More than a door keeps under way for one client.
  for (int i = 0; i < count; ++i)
    send("SELECT " + std::to_string(i));
  ASSERT_EQ(PQpipelineSync(connection.get()), 1);
  send("SELECT 1");
  send("SELECT 1 / 0");
  send("SELECT 2");
  ASSERT_EQ(PQpipelineSync(connection.get()), 1);
  send("SELECT 3");
  ASSERT_EQ(PQpipelineSync(connection.get()), 1);

  const auto take = [&](ExecStatusType status) {
    Answer answer = next_answer(connection);
    EXPECT_EQ(PQresultStatus(answer.get()), status) << PQresultErrorMessage(answer.get());
    if (status != PGRES_PIPELINE_SYNC) {
      EXPECT_EQ(next_answer(connection).get(), nullptr);
    }
    return answer;
  };
  for (int i = 0; i < count; ++i)
    ASSERT_EQ(value_of(take(PGRES_TUPLES_OK)), std::to_string(i));
  take(PGRES_PIPELINE_SYNC);
  take(PGRES_TUPLES_OK);
  EXPECT_EQ(state_of(take(PGRES_FATAL_ERROR)), "22012");
  take(PGRES_PIPELINE_ABORTED);
  take(PGRES_PIPELINE_SYNC);
  EXPECT_EQ(value_of(take(PGRES_TUPLES_OK)), "3");
  take(PGRES_PIPELINE_SYNC);
  EXPECT_EQ(PQexitPipelineMode(connection.get()), 1);
}

TEST_F(LibpqTest, CopyGoesBothWays) {
  run(connection, "CREATE TEMP TABLE copied (id int, word text)");
  {
    const Answer begun = run(connection, "COPY copied FROM STDIN");
    ASSERT_EQ(PQresultStatus(begun.get()), PGRES_COPY_IN);
  }
  const std::string word(1'000, 'w');
  constexpr int count = 10'000;
  for (int i = 0; i < count; ++i) {
    const std::string row = std::to_string(i) + "\t" + word + "\n";
    ASSERT_EQ(PQputCopyData(connection.get(), row.data(), static_cast<int>(row.size())), 1);
  }
  ASSERT_EQ(PQputCopyEnd(connection.get(), nullptr), 1);
  {
    const Answer ended(PQgetResult(connection.get()), PQclear);
    EXPECT_STREQ(PQcmdTuples(ended.get()), "10000");
  }
  EXPECT_EQ(PQgetResult(connection.get()), nullptr);

  const Answer out = run(connection, "COPY copied TO STDOUT");
  ASSERT_EQ(PQresultStatus(out.get()), PGRES_COPY_OUT);
  int rows = 0;
  char* row = nullptr;
  int size = 0;
  while ((size = PQgetCopyData(connection.get(), &row, 0)) > 0) {
    ++rows;
    PQfreemem(row);
  }
  EXPECT_EQ(size, -1);
  EXPECT_EQ(rows, count);
  while (PGresult* const rest = PQgetResult(connection.get()))
    PQclear(rest);

  // A copy that the client gives up changes nothing.
  run(connection, "COPY copied FROM STDIN");
  ASSERT_EQ(PQputCopyData(connection.get(), "1\tx\n", 4), 1);
  ASSERT_EQ(PQputCopyEnd(connection.get(), "changed my mind"), 1);
  const Answer failed(PQgetResult(connection.get()), PQclear);
  EXPECT_EQ(state_of(failed), "57014");
  EXPECT_EQ(PQgetResult(connection.get()), nullptr);
  EXPECT_EQ(value_of(run(connection, "SELECT count(*) FROM copied")), "10000");
}

TEST_F(LibpqTest, ACancelEndsTheStatementAndNothingElse) {
  ASSERT_EQ(PQsendQuery(connection.get(), "SELECT pg_sleep(60)"), 1);
  // It may come before the statement does: then it is asked for again.
  const std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> cancel(PQgetCancel(connection.get()),
                                                                  PQfreeCancel);
  for (int attempt = 0; attempt < 60 && PQisBusy(connection.get()); ++attempt) {
    std::array<char, 256> complaint{};
    ASSERT_EQ(PQcancel(cancel.get(), complaint.data(), static_cast<int>(complaint.size())), 1)
        << complaint.data();
    pollfd wanted{.fd = PQsocket(connection.get()), .events = POLLIN, .revents = 0};
    if (::poll(&wanted, 1, 500) == 1) ASSERT_EQ(PQconsumeInput(connection.get()), 1);
  }
  const Answer ended(PQgetResult(connection.get()), PQclear);
  EXPECT_EQ(state_of(ended), "57014");
  const Answer another(PQgetResult(connection.get()), PQclear);
  EXPECT_EQ(another, nullptr) << PQresultErrorMessage(another.get());
  EXPECT_EQ(value_of(run(connection, "SELECT 1")), "1");
}

TEST_F(LibpqTest, ANotificationReachesAnotherConnection) {
  ASSERT_EQ(PQresultStatus(run(connection, "LISTEN \"News\"").get()), PGRES_COMMAND_OK);
  const Connection other = connect();
  run(other, "NOTIFY \"News\", 'hello'");
  std::unique_ptr<PGnotify, decltype(&PQfreemem)> heard(nullptr, PQfreemem);
  while (!heard) {
    ASSERT_TRUE(wait_for(connection, POLLIN));
    ASSERT_EQ(PQconsumeInput(connection.get()), 1);
    heard.reset(PQnotifies(connection.get()));
  }
  EXPECT_STREQ(heard->relname, "News");
  EXPECT_STREQ(heard->extra, "hello");
}

TEST_F(LibpqTest, LargeValuesComeThroughWholeAndRowByRow) {
  const std::string value(100'000'000, 'v');
  const char* const sent = value.c_str();
  const Answer back(
      PQexecParams(connection.get(), "SELECT $1::text", 1, nullptr, &sent, nullptr, nullptr, 0),
      PQclear);
  EXPECT_TRUE(value_of(back) == value);

  ASSERT_EQ(PQsendQuery(connection.get(), "SELECT n FROM generate_series(1, 100000) AS n"), 1);
  ASSERT_EQ(PQsetSingleRowMode(connection.get()), 1);
  int rows = 0;
  while (PGresult* const answer = PQgetResult(connection.get())) {
    rows += PQresultStatus(answer) == PGRES_SINGLE_TUPLE;
    PQclear(answer);
  }
  EXPECT_EQ(rows, 100'000);
}

TEST_F(LibpqTest, ALargerRequestThanIsAllowedIsRefused) {
  const std::string value(300 << 20, 'v');
  const char* const sent = value.c_str();
  const Answer refused(
      PQexecParams(
          connection.get(), "SELECT length($1::text)", 1, nullptr, &sent, nullptr, nullptr, 0),
      PQclear);
  // The reason, not only that the server has gone.
  EXPECT_NE(std::string_view(PQerrorMessage(connection.get())).find("request_bytes_max"),
            std::string_view::npos)
      << PQerrorMessage(connection.get());
  const Connection other = connect();
  EXPECT_EQ(value_of(run(other, "SELECT 1")), "1");
}

TEST(LibpqConnectTest, WithoutBlocking) {
  const Connection connection(
      PQconnectStart(connection_text(variable("TOKEN_CHECKOUT"), "sslmode=require").c_str()),
      PQfinish);
  PostgresPollingStatusType status = PGRES_POLLING_WRITING;
  while (status != PGRES_POLLING_OK) {
    ASSERT_NE(status, PGRES_POLLING_FAILED) << PQerrorMessage(connection.get());
    ASSERT_TRUE(wait_for(connection, status == PGRES_POLLING_READING ? POLLIN : POLLOUT));
    status = PQconnectPoll(connection.get());
  }
  EXPECT_TRUE(PQsslInUse(connection.get()));
  EXPECT_EQ(value_of(run(connection, "SELECT current_user")), "checkout");
}

TEST(LibpqConnectTest, ABadTokenIsRefused) {
  const Connection connection(PQconnectdb(connection_text("a.b.c", "sslmode=disable").c_str()),
                              PQfinish);
  EXPECT_EQ(PQstatus(connection.get()), CONNECTION_BAD);
  EXPECT_NE(std::string_view(PQerrorMessage(connection.get())).find("the token"),
            std::string_view::npos)
      << PQerrorMessage(connection.get());
}

TEST(LibpqConnectTest, OnlyAllowedSettingsOfTheStartupMessageAreApplied) {
  const Connection named =
      connect("sslmode=disable application_name=till options='-c work_mem=8MB'");
  ASSERT_EQ(PQstatus(named.get()), CONNECTION_OK) << PQerrorMessage(named.get());
  EXPECT_EQ(value_of(run(named, "SHOW work_mem")), "8MB");
  // The others are named in a warning; PostgreSQL itself would refuse this one at SET.
  const Connection forbidden =
      connect("sslmode=disable options='-c session_replication_role=replica'");
  EXPECT_EQ(value_of(run(forbidden, "SHOW session_replication_role")), "origin");
}

}  // namespace
