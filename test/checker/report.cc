#include "test/checker/report.h"

#include <cstdio>
#include <curl/curl.h>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <unistd.h>

namespace checker {
namespace {

std::string fetch(const std::string& url) {
  const std::unique_ptr<CURL, void (*)(CURL*)> handle(::curl_easy_init(), &::curl_easy_cleanup);
  std::string body;
  using Write = std::size_t (*)(char*, std::size_t, std::size_t, void*);
  const Write write = [](char* data, std::size_t size, std::size_t count, void* into) {
    static_cast<std::string*>(into)->append(data, size * count);
    return size * count;
  };
  ::curl_easy_setopt(handle.get(), CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(handle.get(), CURLOPT_NOPROXY, "*");
  ::curl_easy_setopt(handle.get(), CURLOPT_TIMEOUT, 60L);
  ::curl_easy_setopt(handle.get(), CURLOPT_WRITEFUNCTION, write);
  ::curl_easy_setopt(handle.get(), CURLOPT_WRITEDATA, &body);
  const CURLcode code = ::curl_easy_perform(handle.get());
  if (code != CURLE_OK) throw std::runtime_error(url + ": " + ::curl_easy_strerror(code));
  return body;
}

// A bound below which the share of what was counted lies, in microseconds; 0 when nothing was.
double quantile(const std::map<double, double>& before,
                const std::map<double, double>& after,
                double share) {
  const auto count = [&](double bound) {
    return after.at(bound) - (before.contains(bound) ? before.at(bound) : 0);
  };
  if (after.empty() || count(after.rbegin()->first) == 0) return 0;
  const double wanted = share * count(after.rbegin()->first);
  double below = 0;
  double below_bound = 0;
  for (const auto& [bound, ignored] : after) {
    const double now = count(bound);
    // Within a bucket, evenly.
    if (now >= wanted) {
      const double part = now > below ? (wanted - below) / (now - below) : 0;
      return (below_bound + part * (bound - below_bound)) * 1e6;
    }
    below = now;
    below_bound = bound;
  }
  return below_bound * 1e6;
}

std::string with_commas(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}

// As JSON has it.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else {
      result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return result + '"';
}

std::string in_micros(double micros) {
  return micros >= 10'000 ? fmt::format("{:.1f} ms", micros / 1'000)
                          : fmt::format("{:.0f} us", micros);
}

}  // namespace

Counts read_counts(const Options& options) {
  std::istringstream lines(fetch("http://" + options.http + "/metrics"));
  Counts counts;
  std::string line;
  constexpr std::string_view bucket = "meridian_feed_delay_seconds_bucket{le=\"";
  while (std::getline(lines, line)) {
    const std::size_t blank = line.rfind(' ');
    if (blank == std::string::npos || line.starts_with('#')) continue;
    const std::string_view name = std::string_view(line).substr(0, blank);
    const std::string value = line.substr(blank + 1);
    if (name == "meridian_cache_hits_total") counts.hits += std::stod(value);
    if (name == "meridian_cache_misses_total") counts.misses += std::stod(value);
    if (name.starts_with(bucket) && !name.contains("+Inf")) {
      counts.feed_delay[std::stod(std::string(name.substr(bucket.size())))] = std::stod(value);
    }
  }
  return counts;
}

void show_progress(const Options& options, const Orders& orders, const std::atomic<bool>& stop) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + options.duration;
  const bool shows = ::isatty(STDERR_FILENO) != 0;
  while (!stop && Clock::now() < end) {
    std::this_thread::sleep_for(
        std::min<Clock::duration>(std::chrono::seconds(1), end - Clock::now()));
    if (!shows) continue;
    std::fputs(fmt::format("\r  {} reads, {} stale, {} commits ",
                           with_commas(orders.reads),
                           with_commas(orders.stale),
                           with_commas(orders.commits))
                   .c_str(),
               stderr);
  }
  if (shows) std::fputs("\r\x1b[K", stderr);
}

int report(const Options& options,
           const std::vector<WriterResult>& written,
           const std::vector<ReaderResult>& read,
           const ProbeResult& probed,
           const Quiescence& quiescence,
           const Counts& before,
           const Counts& after) {
  std::uint64_t reads = 0;
  std::uint64_t stale = 0;
  std::uint64_t errors = 0;
  std::string first_error;
  std::string first_fault;
  const auto add_error = [&](std::uint64_t count, const std::string& what) {
    if (errors == 0) first_error = what;
    errors += count;
  };
  const auto add = [&](const ReaderResult& result) {
    reads += result.reads;
    if (stale == 0) first_fault = result.first_fault;
    stale += result.stale;
    if (result.errors > 0) add_error(result.errors, result.first_error);
  };
  for (const ReaderResult& result : read)
    add(result);
  add(probed.result);
  Latencies commits;
  std::map<std::string, std::uint64_t> kinds;
  for (const WriterResult& result : written) {
    commits.add(result.commits);
    for (const auto& [kind, count] : result.kinds)
      kinds[kind] += count;
    if (result.errors > 0) add_error(result.errors, result.first_error);
  }
  const double seconds = std::chrono::duration<double>(options.duration).count();
  const double hits = after.hits - before.hits;
  const double misses = after.misses - before.misses;
  const double hit_rate = hits + misses > 0 ? hits / (hits + misses) : 0;

  struct Row {
    const char* name;
    const char* key;
    double median;
    double p99;
  };
  std::vector<Row> rows;
  const auto add_row = [&](const char* name, const char* key, const Latencies& latencies) {
    if (!latencies.empty())
      rows.push_back({name, key, latencies.quantile(0.5), latencies.quantile(0.99)});
  };
  add_row("hit, one GET at a time", "hit", probed.hits);
  add_row("miss, one GET at a time", "miss", probed.misses);
  add_row("commit, as the writer sees it", "commit", commits);
  rows.push_back({"from commit to invalidated",
                  "commit_to_invalidated",
                  quantile(before.feed_delay, after.feed_delay, 0.5),
                  quantile(before.feed_delay, after.feed_delay, 0.99)});

  if (options.json) {
    std::string text =
        fmt::format(R"({{"reads":{},"stale":{},"poisoned":{},"compared":{},"compare_given_up":{},)"
                    R"("first_fault":{},"first_error":{},"errors":{},"commits":{},"seconds":{},)"
                    R"("hit_rate":{:.6f})",
                    reads,
                    stale,
                    quiescence.poisoned,
                    quiescence.compared,
                    quiescence.given_up,
                    quoted(stale > 0 ? first_fault : quiescence.first_fault),
                    quoted(quiescence.given_up > 0 ? quiescence.first_error : first_error),
                    errors,
                    commits.count(),
                    seconds,
                    hit_rate);
    for (const Row& row : rows) {
      text +=
          fmt::format(R"(,"{}_us":{{"p50":{:.1f},"p99":{:.1f}}})", row.key, row.median, row.p99);
    }
    text += R"(,"kinds":{)";
    for (const auto& [kind, count] : kinds)
      text += (text.back() == '{' ? "" : ",") + quoted(kind) + ":" + std::to_string(count);
    std::puts((text + "}}").c_str());
  } else {
    const auto per_second = [&](std::uint64_t count) {
      return with_commas(static_cast<std::uint64_t>(static_cast<double>(count) / seconds));
    };
    fmt::print("  {:<30} {:>12}   {:>9} a second, {:.2f} % of them hits\n",
               "reads",
               with_commas(reads),
               per_second(reads),
               hit_rate * 100);
    fmt::print("  {:<30} {:>12}   {:>9} a second\n",
               "commits",
               with_commas(commits.count()),
               per_second(commits.count()));
    fmt::print("  {:<30} {:>12}   {:>9}\n", "", "p50", "p99");
    for (const Row& row : rows) {
      fmt::print("  {:<30} {:>12}   {:>9}\n", row.name, in_micros(row.median), in_micros(row.p99));
    }
    if (errors > 0) fmt::print("  {} errors, the first: {}\n", with_commas(errors), first_error);
    if (stale > 0) fmt::print("  the first stale read: {}\n", first_fault);
    fmt::print("{} checked reads, {} stale", with_commas(reads), with_commas(stale));
    if (options.soak) fmt::print(", {} poisoned", with_commas(quiescence.poisoned));
    fmt::print("\n");
  }
  if (stale > 0 || quiescence.poisoned > 0 || quiescence.given_up > 0) return 1;
  if (errors > 0 && !options.faults) return 1;
  if (reads < options.reads_min) {
    std::fputs(
        fmt::format("coherence_checker: fewer than {} reads\n", with_commas(options.reads_min))
            .c_str(),
        stderr);
    return 1;
  }
  return 0;
}

}  // namespace checker
