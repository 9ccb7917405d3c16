// Publishes orders and listens to their changes, with libnats as Debian has it. The token is in the
// environment, as NATS_TOKEN.
//
//   shop_messages HOST:PORT publish SUBJECT [--trace TRACEPARENT] [--id ID] PAYLOAD...
//   shop_messages HOST:PORT subscribe SUBJECT COUNT
//
// `publish` waits until the stream has acknowledged each; `subscribe` says when it listens, prints
// what comes, and ends behind COUNT messages, or with 1 when none came for ten seconds.

#include <cstdio>
#include <cstdlib>
#include <nats/nats.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int patience_ms = 10'000;

void check(natsStatus status, const char* what) {
  if (status == NATS_OK) return;
  std::fprintf(stderr, "shop_messages: %s: %s\n", what, natsStatus_GetText(status));
  std::exit(1);
}

natsConnection* connect(const std::string& address) {
  natsOptions* options = nullptr;
  natsConnection* connection = nullptr;
  const char* const token = std::getenv("NATS_TOKEN");
  check(natsOptions_Create(&options), "options");
  check(natsOptions_SetURL(options, ("nats://" + address).c_str()), "the address");
  check(natsOptions_SetToken(options, token == nullptr ? "" : token), "the token");
  check(natsConnection_Connect(&connection, options), "connecting");
  natsOptions_Destroy(options);
  return connection;
}

void publish(natsConnection* connection,
             const std::string& subject,
             std::vector<std::string> rest) {
  std::string trace;
  std::string id;
  while (rest.size() > 2 && (rest[0] == "--trace" || rest[0] == "--id")) {
    (rest[0] == "--id" ? id : trace) = rest[1];
    rest.erase(rest.begin(), rest.begin() + 2);
  }
  jsCtx* jetstream = nullptr;
  check(natsConnection_JetStream(&jetstream, connection, nullptr), "JetStream");
  for (const std::string& payload : rest) {
    natsMsg* message = nullptr;
    jsPubAck* acknowledged = nullptr;
    check(natsMsg_Create(
              &message, subject.c_str(), nullptr, payload.data(), static_cast<int>(payload.size())),
          "a message");
    if (!trace.empty()) check(natsMsgHeader_Set(message, "traceparent", trace.c_str()), "a header");
    jsPubOptions options;
    check(jsPubOptions_Init(&options), "options");
    if (!id.empty()) options.MsgId = id.c_str();
    check(js_PublishMsg(&acknowledged, jetstream, message, &options, nullptr), "publishing");
    std::printf("acknowledged: %s %s is message %llu of stream %s%s\n",
                subject.c_str(),
                payload.c_str(),
                static_cast<unsigned long long>(acknowledged->Sequence),
                acknowledged->Stream,
                acknowledged->Duplicate ? " already" : "");
    jsPubAck_Destroy(acknowledged);
    natsMsg_Destroy(message);
  }
  jsCtx_Destroy(jetstream);
}

void subscribe(natsConnection* connection, const std::string& subject, int count) {
  natsSubscription* subscription = nullptr;
  check(natsConnection_SubscribeSync(&subscription, connection, subject.c_str()), "subscribing");
  check(natsConnection_Flush(connection), "subscribing");
  std::printf("listening\n");
  std::fflush(stdout);
  for (int i = 0; i < count; ++i) {
    natsMsg* message = nullptr;
    check(natsSubscription_NextMsg(&message, subscription, patience_ms), "waiting for a message");
    std::printf("%s  %.*s\n",
                natsMsg_GetSubject(message),
                natsMsg_GetDataLength(message),
                natsMsg_GetData(message));
    natsMsg_Destroy(message);
  }
  natsSubscription_Destroy(subscription);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 4 || (words[1] != "publish" && words[1] != "subscribe")) {
    std::fprintf(stderr,
                 "usage: shop_messages HOST:PORT publish SUBJECT [--trace TRACEPARENT] [--id ID] "
                 "PAYLOAD...\n       shop_messages HOST:PORT subscribe SUBJECT COUNT\n");
    return 2;
  }
  natsConnection* const connection = connect(words[0]);
  if (words[1] == "publish") {
    publish(connection, words[2], {words.begin() + 3, words.end()});
  } else {
    subscribe(connection, words[2], std::atoi(words[3].c_str()));
  }
  natsConnection_Destroy(connection);
  nats_Close();
  return 0;
}
