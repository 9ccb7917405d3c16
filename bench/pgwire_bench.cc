// What the PostgreSQL codec and the analysis of SQL cost on one core. Prints the best of several
// runs for each line, since what disturbs a run only ever makes it slower.

#include "wire/postgres/backend.h"
#include "wire/postgres/backend_writer.h"
#include "wire/postgres/framing.h"
#include "wire/postgres/frontend.h"
#include "wire/postgres/frontend_writer.h"
#include "wire/postgres/pgoutput.h"
#include "wire/postgres/sql/analysis.h"
#include "wire/postgres/sql/normalise.h"
#include "wire/postgres/sql/view_query.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

namespace meridian::postgres {
namespace {

constexpr int runs_count = 7;

// What a body returns goes here, so that it is not optimised away.
volatile std::uint64_t sink = 0;

// Nanoseconds of one call of `body`, which returns a number.
template <class Body>
double measure(std::uint64_t calls_count, Body body) {
  double best = std::numeric_limits<double>::max();
  for (int run = 0; run < runs_count; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < calls_count; ++i)
      sum += body();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
    sink = sum;
    best = std::min(best, took.count() / static_cast<double>(calls_count));
  }
  return best;
}

std::uint64_t count_messages(const FramingRules& rules, std::string_view bytes) {
  const Framer framer(rules);
  std::uint64_t count = 0;
  for (;;) {
    const Frame frame = framer.next(bytes);
    if (frame.status != Frame::Status::whole) return count;
    bytes.remove_prefix(frame.size);
    ++count;
  }
}

void bench_framing() {
  const FramingRules frontend(Sender::frontend);
  const FramingRules backend(Sender::backend);
  std::string pipelined;
  std::string small_rows;
  std::string large_rows;
  constexpr int repetitions = 200;
  const std::string large_value(4096, 'x');
  for (int i = 0; i < repetitions; ++i) {
    append_bind(pipelined, "", "s1", std::vector<Value>{"12345"});
    append_execute(pipelined, "");
    append_sync(pipelined);
    append_data_row(small_rows, std::vector<Value>{"12345", "67"});
    append_data_row(large_rows, std::vector<Value>{large_value});
  }
  const auto print = [](const char* name, std::size_t bytes, std::uint64_t messages, double ns) {
    std::printf("%-34s %8.2f ns/message %8.2f GB/s\n",
                name,
                ns / static_cast<double>(messages),
                static_cast<double>(bytes) / ns);
  };
  const auto run = [&](const char* name, const FramingRules& rules, const std::string& bytes) {
    const std::uint64_t messages = count_messages(rules, bytes);
    print(
        name, bytes.size(), messages, measure(2000, [&] { return count_messages(rules, bytes); }));
  };
  run("framing: Bind, Execute, Sync", frontend, pipelined);
  run("framing: rows of 2 small columns", backend, small_rows);
  run("framing: rows of 4 KiB", backend, large_rows);
}

void bench_messages() {
  std::string bind;
  append_bind(bind, "", "s1", std::vector<Value>{"12345", std::nullopt, "abcdef"});
  const std::string_view bind_body = std::string_view(bind).substr(header_bytes);
  std::printf("%-34s %8.1f ns\n", "Bind of 3 parameters, whole", measure(200'000, [&] {
                return parse_bind(bind_body)->parameters.size();
              }));
  std::printf("%-34s %8.1f ns\n", "Bind, its names alone", measure(200'000, [&] {
                return (*parse_bind_head(bind_body))->size;
              }));
  std::string row;
  append_data_row(row, std::vector<Value>{"12345", std::nullopt, "abcdef", "2026-01-01", "1.5"});
  const std::string_view row_body = std::string_view(row).substr(header_bytes);
  std::printf("%-34s %8.1f ns\n", "DataRow of 5 columns, all read", measure(200'000, [&] {
                std::uint64_t size = 0;
                for (const Value& value : *parse_data_row(row_body))
                  size += value ? value->size() : 0;
                return size;
              }));
  std::string out;
  std::printf("%-34s %8.1f ns\n", "DataRow of 5 columns, written", measure(200'000, [&] {
                out.clear();
                const Value values[] = {"12345", std::nullopt, "abcdef", "2026-01-01", "1.5"};
                append_data_row(out, values);
                return out.size();
              }));
}

constexpr std::string_view pgbench_select =
    "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;";
constexpr std::string_view pgbench_update =
    "UPDATE pgbench_accounts SET abalance = abalance + -1234 WHERE aid = 12345;";
constexpr std::string_view orders_select =
    "SELECT o.id, o.status, c.name, sum(l.price * l.quantity) AS total\n"
    "FROM orders o JOIN customers c ON c.id = o.customer_id\n"
    "LEFT JOIN order_lines l ON l.order_id = o.id -- lines may be missing\n"
    "WHERE o.customer_id = 42 AND o.status IN ('open', 'paid') AND o.created_at > '2026-01-01'\n"
    "GROUP BY o.id, o.status, c.name ORDER BY o.id DESC LIMIT 20";

void bench_sql() {
  struct Text {
    const char* name;
    std::string_view sql;
  };
  for (const Text& text : {Text{"pgbench select", pgbench_select},
                           Text{"pgbench update", pgbench_update},
                           Text{"join of three tables", orders_select}}) {
    std::string out;
    const double normalising = measure(100'000, [&] {
      out.clear();
      return normalise(text.sql, out).hash.low;
    });
    const double analysing = measure(3'000, [&] {
      return analyse(text.sql, {.bounds = {}, .fingerprint = false})->statements.size();
    });
    const double fingerprinting =
        measure(3'000, [&] { return analyse(text.sql)->statements.size(); });
    std::printf("%-34s %8.1f ns normalise %6.2f us analyse %6.2f us with fingerprint (%zu bytes)\n",
                text.name,
                normalising,
                analysing / 1000,
                fingerprinting / 1000,
                text.sql.size());
  }
}

void bench_feed() {
  std::string insert = "I";
  insert += std::string("\0\0\0\5N\0\3", 7);
  for (const std::string_view value : {"12345", "open", "2026-01-01 00:00:00"}) {
    char size[4];
    store_big_endian(size, static_cast<std::uint32_t>(value.size()));
    insert += 't';
    insert.append(size, sizeof size);
    insert += value;
  }
  PgoutputDecoder decoder;
  std::printf("%-34s %8.1f ns\n", "pgoutput Insert of 3 columns", measure(200'000, [&] {
                const auto change = decoder.decode(insert);
                std::uint64_t size = 0;
                for (const TupleColumn column : std::get<Insert>(change->message).row)
                  size += column.bytes.size();
                return size;
              }));
}

}  // namespace
}  // namespace meridian::postgres

int main() {
  meridian::postgres::bench_framing();
  meridian::postgres::bench_messages();
  meridian::postgres::bench_sql();
  meridian::postgres::bench_feed();
  return 0;
}
