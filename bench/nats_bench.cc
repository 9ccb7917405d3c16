// The stock C client of NATS (libnats) against one server: how many messages a second one publisher
// gets to one subscriber, or how long a request takes to its answer. The same program says the same
// to nats-server and to the door.
//
//   nats_bench rate URL COUNT SIZE       one line: messages a second
//   nats_bench request URL COUNT SIZE    one line: the median, and the 99th percentile, in us
//
// The token, where the server wants one, is in the variable NATS_TOKEN.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <nats/nats.h>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr const char* subject = "bench.one";
constexpr std::int64_t patience_ms = 60'000;

void need(natsStatus status, const char* what) {
  if (status == NATS_OK) return;
  std::fprintf(stderr, "nats_bench: %s: %s\n", what, natsStatus_GetText(status));
  std::exit(1);
}

void complain(natsConnection*, natsSubscription*, natsStatus status, void*) {
  std::fprintf(stderr, "nats_bench: the server says: %s\n", natsStatus_GetText(status));
  std::exit(1);
}

// `at_once`: what is published is not gathered, which libnats does for up to a millisecond.
natsConnection* open(const char* url, bool at_once) {
  natsOptions* options = nullptr;
  natsConnection* connection = nullptr;
  need(natsOptions_Create(&options), "options");
  need(natsOptions_SetURL(options, url), "the URL");
  need(natsOptions_SetErrorHandler(options, complain, nullptr), "options");
  need(natsOptions_SetSendAsap(options, at_once), "options");
  if (const char* const token = std::getenv("NATS_TOKEN"); token && *token) {
    need(natsOptions_SetToken(options, token), "the token");
  }
  need(natsConnection_Connect(&connection, options), "connecting");
  natsOptions_Destroy(options);
  return connection;
}

// Counts what comes until it is all.
struct Arrivals {
  std::atomic<std::int64_t> left;
  std::mutex mutex;
  std::condition_variable all_there;
  Clock::time_point last;
};

void on_message(natsConnection*, natsSubscription*, natsMsg* message, void* context) {
  auto& arrivals = *static_cast<Arrivals*>(context);
  natsMsg_Destroy(message);
  if (arrivals.left.fetch_sub(1, std::memory_order_relaxed) != 1) return;
  const std::lock_guard lock(arrivals.mutex);
  arrivals.last = Clock::now();
  arrivals.all_there.notify_one();
}

int measure_rate(const char* url, std::int64_t count, int size) {
  Arrivals arrivals{.left = count, .mutex = {}, .all_there = {}, .last = {}};
  natsConnection* const reader = open(url, false);
  natsConnection* const writer = open(url, false);
  natsSubscription* subscription = nullptr;
  need(natsConnection_Subscribe(&subscription, reader, subject, on_message, &arrivals),
       "subscribing");
  need(natsSubscription_SetPendingLimits(subscription, -1, -1), "subscribing");
  need(natsConnection_FlushTimeout(reader, patience_ms), "subscribing");
  const std::string payload(static_cast<std::size_t>(size), 'x');
  const auto began = Clock::now();
  for (std::int64_t i = 0; i < count; ++i)
    need(natsConnection_Publish(writer, subject, payload.data(), size), "publishing");
  need(natsConnection_FlushTimeout(writer, patience_ms), "publishing");
  std::unique_lock lock(arrivals.mutex);
  const bool came = arrivals.all_there.wait_for(
      lock, std::chrono::milliseconds(patience_ms), [&] { return arrivals.left.load() <= 0; });
  if (!came) {
    std::fprintf(stderr,
                 "nats_bench: %lld messages did not come\n",
                 static_cast<long long>(arrivals.left.load()));
    return 1;
  }
  const std::chrono::duration<double> took = arrivals.last - began;
  std::printf("%.0f\n", static_cast<double>(count) / took.count());
  natsSubscription_Destroy(subscription);
  natsConnection_Destroy(writer);
  natsConnection_Destroy(reader);
  return 0;
}

void answer(natsConnection* connection, natsSubscription*, natsMsg* message, void*) {
  need(natsConnection_Publish(connection,
                              natsMsg_GetReply(message),
                              natsMsg_GetData(message),
                              natsMsg_GetDataLength(message)),
       "answering");
  natsMsg_Destroy(message);
}

int measure_requests(const char* url, std::int64_t count, int size) {
  natsConnection* const server = open(url, true);
  natsConnection* const client = open(url, true);
  natsSubscription* subscription = nullptr;
  need(natsConnection_Subscribe(&subscription, server, subject, answer, nullptr), "subscribing");
  need(natsConnection_FlushTimeout(server, patience_ms), "subscribing");
  const std::string payload(static_cast<std::size_t>(size), 'x');
  std::vector<double> samples;
  const std::int64_t warm_up = count / 10;
  for (std::int64_t i = 0; i < count + warm_up; ++i) {
    natsMsg* reply = nullptr;
    const auto began = Clock::now();
    need(natsConnection_Request(&reply, client, subject, payload.data(), size, patience_ms),
         "a request");
    const std::chrono::duration<double, std::micro> took = Clock::now() - began;
    natsMsg_Destroy(reply);
    if (i >= warm_up) samples.push_back(took.count());
  }
  std::sort(samples.begin(), samples.end());
  std::printf("%.1f %.1f\n", samples[samples.size() / 2], samples[samples.size() * 99 / 100]);
  natsSubscription_Destroy(subscription);
  natsConnection_Destroy(client);
  natsConnection_Destroy(server);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: nats_bench rate|request URL COUNT SIZE\n");
    return 2;
  }
  const std::int64_t count = std::atoll(argv[3]);
  const int size = std::atoi(argv[4]);
  const bool rate = std::strcmp(argv[1], "rate") == 0;
  const int code =
      rate ? measure_rate(argv[2], count, size) : measure_requests(argv[2], count, size);
  nats_Close();
  return code;
}
