// What the Redis codecs cost on one core, nothing else around them: resp_bench
// Each measure is run five times for 0.2 s; the median is printed.

#include "wire/resp/command_table.h"
#include "wire/resp/encoder.h"
#include "wire/resp/reply_framer.h"
#include "wire/resp/request_decoder.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace meridian;
using Clock = std::chrono::steady_clock;

constexpr std::size_t buffer_size = 16 * 1024;  // What a door reads at once.

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "resp_bench: %s\n", why.c_str());
  std::exit(1);
}

// Keeps a result from being optimised away.
template <class T>
void use(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

// `round` does some operations and returns how many.
template <class Round>
void measure(const char* name, std::size_t bytes_per_operation, Round round) {
  std::array<double, 5> rates;
  for (double& rate : rates) {
    std::size_t operations = 0;
    const auto start = Clock::now();
    std::chrono::duration<double> elapsed{};
    do {
      for (int i = 0; i < 16; ++i)
        operations += round();
      elapsed = Clock::now() - start;
    } while (elapsed.count() < 0.2);
    rate = static_cast<double>(operations) / elapsed.count();
  }
  std::ranges::sort(rates);
  const double rate = rates[rates.size() / 2];
  std::printf("%-44s %8.1f M/s %7.1f ns", name, rate / 1e6, 1e9 / rate);
  if (bytes_per_operation != 0)
    std::printf(" %8.2f GB/s", rate * static_cast<double>(bytes_per_operation) / 1e9);
  std::printf("\n");
}

std::string repeat(std::string_view unit) {
  std::string out;
  while (out.size() + unit.size() <= buffer_size)
    out += unit;
  return out;
}

void measure_requests(const char* name, std::initializer_list<std::string_view> arguments) {
  std::string unit;
  resp::append_request(unit, arguments);
  const std::string bytes = repeat(unit);
  resp::RequestDecoder decoder;
  decoder.set_authenticated(true);
  measure(name, unit.size(), [&] {
    std::size_t count = 0;
    std::string_view input = bytes;
    while (!input.empty()) {
      const auto request = decoder.next(input);
      if (!request || !*request) stop("a request was not decoded");
      use((*request)->arguments);
      ++count;
    }
    return count;
  });
}

void measure_split_requests() {
  std::string unit;
  resp::append_request(unit, {"GET", "key:000000000042"});
  resp::RequestDecoder decoder;
  decoder.set_authenticated(true);
  measure("decode GET, each split in two", unit.size(), [&] {
    std::string_view first = std::string_view(unit).substr(0, unit.size() / 2);
    std::string_view second = std::string_view(unit).substr(unit.size() / 2);
    if (!decoder.next(first)) stop("half a request was refused");
    const auto request = decoder.next(second);
    if (!request || !*request) stop("a request was not decoded");
    use((*request)->arguments);
    return 1UZ;
  });
}

void measure_replies(const char* name, const std::string& unit) {
  const std::string bytes = repeat(unit);
  resp::ReplyFramer framer;
  measure(name, unit.size(), [&] {
    std::size_t count = 0;
    std::string_view input = bytes;
    while (!input.empty()) {
      const auto piece = framer.next(input);
      if (!piece || !piece->last) stop("a reply was not framed");
      use(piece->bytes);
      ++count;
    }
    return count;
  });
}

void measure_table() {
  std::ifstream file(MERIDIAN_REDIS_DATA "/command_reply_7.0.15.resp", std::ios::binary);
  const std::string reply{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto table = resp::CommandTable::parse(reply);
  if (!table) stop(table.error().detail());
  const auto keys_of = [&](const char* name, std::vector<std::string_view> words) {
    std::vector<resp::KeyUse> found;
    measure(name, 0, [&] {
      const resp::Command* const command = table->find(words);
      if (!command || !command->accepts(words.size())) stop("a command was not found");
      use(command->keys(words, found));
      use(command->may_share_connection(words));
      return 1UZ;
    });
  };
  keys_of("look up GET, its key, may it share", {"GET", "key:000000000042"});
  keys_of("look up SET, its key, may it share", {"SET", "key:000000000042", "v", "EX", "60"});
  keys_of("look up OBJECT ENCODING, its key", {"OBJECT", "ENCODING", "key:000000000042"});
  measure("read the reply to COMMAND", reply.size(), [&] {
    use(resp::CommandTable::parse(reply));
    return 1UZ;
  });
}

}  // namespace

int main() {
  measure_requests("decode GET with a key of 16 bytes", {"GET", "key:000000000042"});
  measure_requests("decode SET with a value of 64 bytes",
                   {"SET", "key:000000000042", std::string(64, 'v')});
  measure_requests("decode SET with a value of 4 KiB",
                   {"SET", "key:000000000042", std::string(4096, 'v')});
  measure_requests("decode MGET with 10 keys",
                   {"MGET",
                    "key:1",
                    "key:2",
                    "key:3",
                    "key:4",
                    "key:5",
                    "key:6",
                    "key:7",
                    "key:8",
                    "key:9",
                    "key:10"});
  measure_split_requests();
  measure_replies("frame +OK", "+OK\r\n");
  measure_replies("frame a string of 3 bytes", "$3\r\nxxx\r\n");
  measure_replies("frame a string of 64 bytes", "$64\r\n" + std::string(64, 'v') + "\r\n");
  measure_replies(
      "frame an array of 10 strings", "*10\r\n" + [] {
        std::string items;
        for (int i = 0; i < 10; ++i)
          items += "$3\r\nabc\r\n";
        return items;
      }());
  std::string out;
  measure("write a string of 64 bytes", 64, [&, value = std::string(64, 'v')] {
    out.clear();
    resp::ReplyWriter(out, resp::Protocol::resp2).bulk(value);
    use(out);
    return 1UZ;
  });
  measure_table();
  return 0;
}
