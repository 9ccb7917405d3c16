// The two sides of what script/bench says about ingest.
//
//   ingest_bench load ADDRESS COUNT PER_SECOND   publishes orders into a stream, NATS_TOKEN as
//   token,
//                                                each with a verified identity and an id of its
//                                                own; 0 per second: as fast as they are
//                                                acknowledged
//   ingest_bench floor CONNINFO RULE COUNT BATCH CONNECTIONS
//                                                the same statement with the same rows in a bare
//                                                libpq loop; prints rows per second

#include "pool/nats/connector.h"
#include "runtime/blocking_pool.h"
#include "runtime/scope.h"
#include "streams/binary_array.h"
#include "streams/jetstream.h"
#include "streams/ledger.h"

#include <libpq-fe.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace meridian {
namespace {

constexpr std::string_view stamp =
    "iss=meridian;sub=bench;role=bench;req=0193a1c2d3e47f5a8b9c0d1e2f3a4b5c";
constexpr std::size_t in_flight_max = 4'000;

// About 150 bytes.
std::string order(std::uint64_t n) {
  return fmt::format(
      R"({{"id": {}, "customer": "customer {:08}", "total": {}.{:02}, "status": "open", )"
      R"("note": "an order as a shop would take it, with a remark"}})",
      n,
      n % 100'000,
      n % 1'000,
      n % 100);
}

Async<int> load(EpollLoop& loop,
                nats::Connector& connector,
                std::uint64_t count,
                std::uint64_t per_second) {
  auto jetstream =
      co_await JetStream::connect(loop, connector, "bench", loop.after(std::chrono::seconds(10)));
  if (!jetstream) {
    std::fprintf(stderr, "%s\n", jetstream.error().detail().c_str());
    co_return 1;
  }
  const Time begin = loop.now();
  const std::uint64_t run = loop.random().next();
  int code = 0;
  for (std::uint64_t n = 0; n < count && code == 0;) {
    const Duration gone = loop.now() - begin;
    const auto due = per_second == 0
                         ? count
                         : static_cast<std::uint64_t>(std::chrono::duration<double>(gone).count() *
                                                      static_cast<double>(per_second));
    for (; n < std::min(due, count) && (*jetstream)->publishes_under_way() < in_flight_max; ++n) {
      const std::string id = fmt::format("bench:{:x}.{}", run, n);
      const std::string headers = make_headers({{"Nats-Msg-Id", id}, {"Meridian-Identity", stamp}});
      if (!(*jetstream)->publish("bench.orders", headers, order(n))) code = 1;
    }
    if ((*jetstream)->publishes_under_way() >= in_flight_max / 2 || n == count) {
      while ((*jetstream)->publishes_under_way() > (n == count ? 0 : in_flight_max / 4)) {
        auto some = co_await (*jetstream)->acknowledgements(loop.after(std::chrono::seconds(30)));
        if (!some) {
          std::fprintf(stderr, "%s\n", some.error().detail().c_str());
          code = 1;
          break;
        }
      }
    } else {
      (void)co_await loop.sleep(std::chrono::microseconds(500));
    }
  }
  co_await (*jetstream)->close();
  co_return code;
}

int run_load(const std::string& address, std::uint64_t count, std::uint64_t per_second) {
  const char* const token = std::getenv("NATS_TOKEN");
  const auto endpoint = Endpoint::parse(address);
  if (!endpoint || !token) return 2;
  EpollLoop loop;
  Metrics metrics;
  BlockingPool blocking(1);
  nats::Connector connector(
      loop,
      blocking,
      {.endpoints = [&] { return std::vector<Endpoint>{*endpoint}; }, .secret = Secret(token)},
      metrics);
  Scope scope(loop);
  int code = 0;
  scope.spawn(
      [](EpollLoop& on, nats::Connector& with, std::uint64_t n, std::uint64_t rate, int& out)
          -> Async<> {
        out = co_await load(on, with, n, rate);
        on.stop();
      }(loop, connector, count, per_second, code));
  loop.run();
  return code;
}

// ---- The floor.

[[noreturn]] void give_up(PGconn* connection) {
  std::fprintf(stderr, "%s\n", ::PQerrorMessage(connection));
  std::exit(1);
}

std::string value_of(PGconn* connection, const std::string& sql) {
  PGresult* const result = ::PQexec(connection, sql.c_str());
  if (::PQresultStatus(result) != PGRES_TUPLES_OK || ::PQntuples(result) != 1) give_up(connection);
  std::string value = ::PQgetvalue(result, 0, 0);
  ::PQclear(result);
  return value;
}

// What IngestSession sends for a rule of these fields (streams/ingest_session.cc).
constexpr const char* statement =
    "WITH meridian_c AS MATERIALIZED (SELECT n AS meridian_n FROM meridian.ingest_claim($1::text,"
    " $2::text, $3::bigint[], $4::bytea, $5::uuid[], $6::bigint[], $7::integer[], true)"
    " WHERE verdict = 'f'), meridian_p AS (INSERT INTO bench_floor (id, customer, total, placed_by)"
    " SELECT (meridian_m.meridian_f1)::bigint, meridian_m.meridian_f2,"
    " (meridian_m.meridian_f3)::numeric, meridian_m.meridian_f4 FROM meridian_c JOIN"
    " unnest($8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[]) AS"
    " meridian_m(meridian_n, meridian_f1, meridian_f2, meridian_f3, meridian_f4) USING (meridian_n)"
    " ORDER BY meridian_n) SELECT count(*) FROM meridian_c";

void run_batches(const std::string& where,
                 const std::string& rule,
                 std::int64_t epoch,
                 std::int64_t batch,
                 std::int64_t batches,
                 std::atomic<std::int64_t>& next) {
  PGconn* const connection = ::PQconnectdb(where.c_str());
  if (::PQstatus(connection) != CONNECTION_OK) give_up(connection);
  const std::string proof = value_of(
      connection,
      "SELECT encode(sha256(s || sha256(s || convert_to('ingest|' || pg_backend_pid() || '|' ||"
      " session_user || '|' || " +
          rule +
          ", 'UTF8'))), 'hex') FROM (SELECT convert_to(value,"
          " 'UTF8') AS s FROM meridian.secrets WHERE name = 'identity') AS secret");
  ::PQclear(::PQexec(connection, "SET search_path = pg_catalog, public"));
  PGresult* const prepared = ::PQprepare(connection, "at_once", statement, 0, nullptr);
  if (::PQresultStatus(prepared) != PGRES_COMMAND_OK) give_up(connection);
  ::PQclear(prepared);
  std::mt19937_64 random(std::random_device{}());
  for (std::int64_t number = next++; number < batches; number = next++) {
    BinaryArray head(oid::int8);
    const std::int64_t first = number * batch + 1;
    const std::int64_t time = 1'700'000'000'000'000'000;
    const std::int64_t day = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now())
                                 .time_since_epoch()
                                 .count() -
                             10'957;  // 2000-01-01.
    for (const std::int64_t value : {std::int64_t{std::atoll(rule.c_str())},
                                     epoch,
                                     number,
                                     std::int64_t{3},
                                     std::int64_t{1},
                                     first,
                                     first + batch - 1,
                                     time,
                                     time,
                                     std::int64_t{0},
                                     std::int64_t{0},
                                     batch,
                                     day}) {
      head.add(value);
    }
    std::vector<StreamPlace> places;
    BinaryArray ids(oid::uuid);
    BinaryArray hashes(oid::int8);
    BinaryArray skipped(oid::int4);
    BinaryArray numbers(oid::int8);
    std::vector<BinaryArray> columns(4, BinaryArray(oid::text));
    for (std::int64_t i = 0; i < batch; ++i) {
      const std::int64_t n = first + i;
      places.push_back({.sequence = static_cast<std::uint64_t>(n), .time = time + n * 1'000});
      const std::uint64_t halves[2] = {random(), random()};
      ids.add(std::string_view(reinterpret_cast<const char*>(halves), sizeof halves));
      hashes.add(static_cast<std::int64_t>(halves[0]));
      numbers.add(i + 1);
      columns[0].add(std::to_string(n));
      columns[1].add(fmt::format("customer {:08}", n % 100'000));
      columns[2].add(fmt::format("{}.{:02}", n % 1'000, n % 100));
      columns[3].add(std::string_view("bench"));
    }
    const std::string entries = encode_places(places);
    const std::string lease = "bench/floor";
    const std::vector<std::string_view> values{proof,
                                               lease,
                                               head.bytes(),
                                               entries,
                                               ids.bytes(),
                                               hashes.bytes(),
                                               skipped.bytes(),
                                               numbers.bytes(),
                                               columns[0].bytes(),
                                               columns[1].bytes(),
                                               columns[2].bytes(),
                                               columns[3].bytes()};
    std::vector<const char*> pointers;
    std::vector<int> sizes;
    for (const std::string_view value : values) {
      pointers.push_back(value.data());
      sizes.push_back(static_cast<int>(value.size()));
    }
    const std::vector<int> formats(values.size(), 1);
    PGresult* const done = ::PQexecPrepared(connection,
                                            "at_once",
                                            static_cast<int>(values.size()),
                                            pointers.data(),
                                            sizes.data(),
                                            formats.data(),
                                            0);
    if (::PQresultStatus(done) != PGRES_TUPLES_OK) give_up(connection);
    ::PQclear(done);
  }
  ::PQfinish(connection);
}

int run_floor(const std::string& where,
              const std::string& rule_name,
              std::int64_t count,
              std::int64_t batch,
              int connections) {
  PGconn* const connection = ::PQconnectdb(where.c_str());
  if (::PQstatus(connection) != CONNECTION_OK) give_up(connection);
  const std::string rule =
      value_of(connection, "SELECT id FROM meridian.ingest_rules WHERE name = '" + rule_name + "'");
  const std::string epoch = value_of(
      connection, "SELECT epoch FROM meridian.acquire_lease('bench/floor', 'bench', '1 hour')");
  ::PQfinish(connection);
  std::atomic<std::int64_t> next{0};
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < connections; ++i) {
    threads.emplace_back(
        [&] { run_batches(where, rule, std::atoll(epoch.c_str()), batch, count / batch, next); });
  }
  for (std::thread& thread : threads)
    thread.join();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%.0f\n", static_cast<double>(count / batch * batch) / seconds);
  return 0;
}

}  // namespace
}  // namespace meridian

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments, arguments + count);
  if (count == 5 && words[1] == "load") {
    return meridian::run_load(words[2], std::stoull(words[3]), std::stoull(words[4]));
  }
  if (count == 7 && words[1] == "floor") {
    return meridian::run_floor(
        words[2], words[3], std::stoll(words[4]), std::stoll(words[5]), std::stoi(words[6]));
  }
  std::fprintf(stderr, "see the first lines of bench/ingest_bench.cc\n");
  return 2;
}
