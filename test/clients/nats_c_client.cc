// libnats, the stock C client, through the nats door: messages, queue groups, requests, headers,
// denials, JetStream, key-value, TLS. Started by run.py, which has a node.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <nats/nats.h>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::int64_t patience_ms = 20'000;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  if (!value) throw std::runtime_error(std::string(name) + " is not set: run.py starts this");
  return value;
}

template <class T, void (*destroy)(T*)>
struct Destroy {
  void operator()(T* thing) const noexcept { destroy(thing); }
};
void destroy_message(natsMsg* message) {
  natsMsg_Destroy(message);
}
using Connection = std::unique_ptr<natsConnection, Destroy<natsConnection, natsConnection_Destroy>>;
using Subscription =
    std::unique_ptr<natsSubscription, Destroy<natsSubscription, natsSubscription_Destroy>>;
using Message = std::unique_ptr<natsMsg, Destroy<natsMsg, destroy_message>>;

// What the server complained of, as libnats tells it.
struct Complaints {
  std::mutex mutex;
  std::vector<std::string> texts;

  bool wait_for(const std::string& part) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
    while (std::chrono::steady_clock::now() < until) {
      {
        const std::lock_guard lock(mutex);
        for (const std::string& text : texts) {
          if (text.find(part) != std::string::npos) return true;
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
};

void complain(natsConnection* connection, natsSubscription*, natsStatus, void* context) {
  auto& complaints = *static_cast<Complaints*>(context);
  const char* text = nullptr;
  (void)natsConnection_GetLastError(connection, &text);
  const std::lock_guard lock(complaints.mutex);
  complaints.texts.emplace_back(text ? text : "");
}

natsStatus try_open(const std::string& token,
                    Complaints* complaints,
                    const std::function<void(natsOptions*)>& more,
                    Connection& into) {
  natsOptions* options = nullptr;
  natsConnection* connection = nullptr;
  natsOptions_Create(&options);
  natsOptions_SetURL(options, ("nats://127.0.0.1:" + variable("NODE_NATS_PORT")).c_str());
  natsOptions_SetToken(options, token.c_str());
  natsOptions_SetAllowReconnect(options, false);
  natsOptions_SetTimeout(options, patience_ms);
  if (complaints) natsOptions_SetErrorHandler(options, complain, complaints);
  if (more) more(options);
  const natsStatus status = natsConnection_Connect(&connection, options);
  natsOptions_Destroy(options);
  into.reset(connection);
  return status;
}

Connection open(const std::string& who = "CHECKOUT",
                Complaints* complaints = nullptr,
                const std::function<void(natsOptions*)>& more = {}) {
  Connection connection;
  EXPECT_EQ(try_open(variable(("TOKEN_" + who).c_str()), complaints, more, connection), NATS_OK)
      << nats_GetLastError(nullptr);
  return connection;
}

Subscription subscribe(natsConnection* connection, const char* subject) {
  natsSubscription* subscription = nullptr;
  EXPECT_EQ(natsConnection_SubscribeSync(&subscription, connection, subject), NATS_OK);
  EXPECT_EQ(natsConnection_FlushTimeout(connection, patience_ms), NATS_OK);
  return Subscription(subscription);
}

Message next(natsSubscription* subscription, std::int64_t patience = patience_ms) {
  natsMsg* message = nullptr;
  const natsStatus status = natsSubscription_NextMsg(&message, subscription, patience);
  EXPECT_EQ(status, NATS_OK) << natsStatus_GetText(status);
  return Message(message);
}

std::string payload_of(natsMsg* message) {
  return {natsMsg_GetData(message), static_cast<std::size_t>(natsMsg_GetDataLength(message))};
}

std::string header_of(natsMsg* message, const char* name) {
  const char* value = nullptr;
  return natsMsgHeader_Get(message, name, &value) == NATS_OK ? value : "";
}

TEST(Libnats, MessagesCarryHeadersAndWhoPublishedThem) {
  const Connection connection = open();
  const Subscription subscription = subscribe(connection.get(), "orders.c.*");
  natsMsg* sent = nullptr;
  ASSERT_EQ(natsMsg_Create(&sent, "orders.c.a", nullptr, "one", 3), NATS_OK);
  natsMsgHeader_Set(sent, "Other", "kept");
  natsMsgHeader_Set(sent, "Meridian-Identity", "iss=evil");
  EXPECT_EQ(natsConnection_PublishMsg(connection.get(), sent), NATS_OK);
  natsMsg_Destroy(sent);
  EXPECT_EQ(natsConnection_PublishString(connection.get(), "orders.c.b", "two"), NATS_OK);
  const Message one = next(subscription.get());
  const Message two = next(subscription.get());
  EXPECT_EQ(payload_of(one.get()), "one");
  EXPECT_EQ(payload_of(two.get()), "two");
  EXPECT_EQ(header_of(one.get(), "Other"), "kept");
  for (natsMsg* const message : {one.get(), two.get()}) {
    EXPECT_EQ(header_of(message, "Meridian-Identity")
                  .find("iss=meridian;sub=checkout;role=checkout;req="),
              0);
  }
}

void count(natsConnection*, natsSubscription*, natsMsg* message, void* context) {
  natsMsg_Destroy(message);
  ++*static_cast<std::atomic<int>*>(context);
}

TEST(Libnats, AQueueGroupShares) {
  std::atomic<int> counts[2] = {0, 0};
  const Connection first = open();
  const Connection second = open();
  std::vector<Subscription> subscriptions;
  natsConnection* const members[] = {first.get(), second.get()};
  for (int i = 0; i < 2; ++i) {
    natsSubscription* subscription = nullptr;
    ASSERT_EQ(natsConnection_QueueSubscribe(
                  &subscription, members[i], "orders.shared", "workers", count, &counts[i]),
              NATS_OK);
    subscriptions.emplace_back(subscription);
    ASSERT_EQ(natsConnection_FlushTimeout(members[i], patience_ms), NATS_OK);
  }
  for (int i = 0; i < 200; ++i) {
    natsConnection_PublishString(first.get(), "orders.shared", "");
  }
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  while (counts[0] + counts[1] < 200 && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(counts[0] + counts[1], 200);
  EXPECT_GT(counts[0], 0);
  EXPECT_GT(counts[1], 0);
}

void answer(natsConnection* connection, natsSubscription*, natsMsg* message, void*) {
  natsConnection_PublishString(
      connection, natsMsg_GetReply(message), header_of(message, "Meridian-Identity").c_str());
  natsMsg_Destroy(message);
}

TEST(Libnats, RequestsAreAnswered) {
  const Connection server = open();
  const Connection client = open("STOREFRONT");
  natsMsg* reply = nullptr;
  EXPECT_EQ(natsConnection_RequestString(&reply, client.get(), "orders.service", "", patience_ms),
            NATS_NO_RESPONDERS);
  natsSubscription* served = nullptr;
  ASSERT_EQ(natsConnection_Subscribe(&served, server.get(), "orders.service", answer, nullptr),
            NATS_OK);
  const Subscription kept(served);
  ASSERT_EQ(natsConnection_FlushTimeout(server.get(), patience_ms), NATS_OK);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(natsConnection_RequestString(&reply, client.get(), "orders.service", "", patience_ms),
              NATS_OK);
    EXPECT_NE(payload_of(reply).find("sub=storefront"), std::string::npos);
    natsMsg_Destroy(reply);
  }
}

TEST(Libnats, ADenialLeavesTheConnection) {
  Complaints complaints;
  const Connection connection = open("CHECKOUT", &complaints);
  natsConnection_PublishString(connection.get(), "other", "");
  EXPECT_TRUE(complaints.wait_for("Permissions Violation for Publish to \"other\""));
  const Subscription denied = subscribe(connection.get(), "other.>");
  EXPECT_TRUE(complaints.wait_for("Permissions Violation for Subscription to \"other.>\""));
  const Subscription allowed = subscribe(connection.get(), "orders.after");
  natsConnection_PublishString(connection.get(), "orders.after", "x");
  EXPECT_EQ(payload_of(next(allowed.get()).get()), "x");
}

TEST(Libnats, ABadTokenHasNoWayIn) {
  Connection connection;
  EXPECT_EQ(try_open("a.b.c", nullptr, {}, connection), NATS_CONNECTION_AUTH_FAILED);
}

// Deletes what a test has left, and at its end what it has made.
struct Stream {
  jsCtx* context;
  const char* name;
  Stream(jsCtx* made, const char* called) : context(made), name(called) {
    (void)js_DeleteStream(context, name, nullptr, nullptr);
  }
  ~Stream() { EXPECT_EQ(js_DeleteStream(context, name, nullptr, nullptr), NATS_OK); }
};

TEST(Libnats, JetStreamStoresAndDelivers) {
  const Connection connection = open();
  jsOptions options;
  jsOptions_Init(&options);
  options.Wait = patience_ms;
  jsCtx* made = nullptr;
  ASSERT_EQ(natsConnection_JetStream(&made, connection.get(), &options), NATS_OK);
  const std::unique_ptr<jsCtx, Destroy<jsCtx, jsCtx_Destroy>> context(made);
  const Stream stream(made, "ORDERS");
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  const char* subjects[] = {"orders.stream.>"};
  config.Name = "ORDERS";
  config.Subjects = subjects;
  config.SubjectsLen = 1;
  ASSERT_EQ(js_AddStream(nullptr, made, &config, nullptr, nullptr), NATS_OK)
      << nats_GetLastError(nullptr);
  for (int i = 0; i < 20; ++i) {
    jsPubAck* stored = nullptr;
    const std::string text = std::to_string(i);
    ASSERT_EQ(js_Publish(&stored,
                         made,
                         "orders.stream.a",
                         text.data(),
                         static_cast<int>(text.size()),
                         nullptr,
                         nullptr),
              NATS_OK);
    EXPECT_EQ(stored->Sequence, static_cast<std::uint64_t>(i) + 1);
    jsPubAck_Destroy(stored);
  }
  natsSubscription* pull = nullptr;
  jsSubOptions wanted;
  jsSubOptions_Init(&wanted);
  wanted.Stream = "ORDERS";
  ASSERT_EQ(js_PullSubscribe(&pull, made, "orders.stream.>", "c", nullptr, &wanted, nullptr),
            NATS_OK)
      << nats_GetLastError(nullptr);
  const Subscription pulled(pull);
  natsMsgList list{};
  ASSERT_EQ(natsSubscription_Fetch(&list, pull, 20, patience_ms, nullptr), NATS_OK);
  ASSERT_EQ(list.Count, 20);
  for (int i = 0; i < list.Count; ++i) {
    EXPECT_EQ(payload_of(list.Msgs[i]), std::to_string(i));
    EXPECT_NE(header_of(list.Msgs[i], "Meridian-Identity").find("sub=checkout"), std::string::npos);
    EXPECT_EQ(natsMsg_AckSync(list.Msgs[i], nullptr, nullptr), NATS_OK);
  }
  natsMsgList_Destroy(&list);
}

TEST(Libnats, KeysAndValues) {
  const Connection connection = open();
  jsCtx* made = nullptr;
  ASSERT_EQ(natsConnection_JetStream(&made, connection.get(), nullptr), NATS_OK);
  const std::unique_ptr<jsCtx, Destroy<jsCtx, jsCtx_Destroy>> context(made);
  kvConfig config;
  kvConfig_Init(&config);
  config.Bucket = "CARTS";
  kvStore* store = nullptr;
  ASSERT_EQ(js_CreateKeyValue(&store, made, &config), NATS_OK) << nats_GetLastError(nullptr);
  std::uint64_t revision = 0;
  EXPECT_EQ(kvStore_PutString(&revision, store, "c1", "apple"), NATS_OK);
  EXPECT_EQ(kvStore_UpdateString(&revision, store, "c1", "pear", revision), NATS_OK);
  EXPECT_NE(kvStore_UpdateString(nullptr, store, "c1", "plum", revision - 1), NATS_OK);
  kvEntry* entry = nullptr;
  ASSERT_EQ(kvStore_Get(&entry, store, "c1"), NATS_OK);
  EXPECT_STREQ(kvEntry_ValueString(entry), "pear");
  kvEntry_Destroy(entry);
  EXPECT_EQ(kvStore_Delete(store, "c1"), NATS_OK);
  EXPECT_EQ(kvStore_Get(&entry, store, "c1"), NATS_NOT_FOUND);
  EXPECT_EQ(kvStore_Purge(store, "c1", nullptr), NATS_OK);
  kvStore_Destroy(store);
  EXPECT_EQ(js_DeleteKeyValue(made, "CARTS"), NATS_OK);
}

// Of TLS it knows only what a server requires; from this machine the door leaves the choice.
TEST(Libnats, ALargeMessageAndManySmallOnes) {
  const Connection connection = open();
  const Subscription subscription = subscribe(connection.get(), "orders.large");
  const std::string large(1'000'000, 'x');
  natsConnection_PublishString(connection.get(), "orders.large", large.c_str());
  EXPECT_EQ(payload_of(next(subscription.get()).get()), large);
  for (int i = 0; i < 10'000; ++i) {
    const std::string text = std::to_string(i);
    natsConnection_PublishString(connection.get(), "orders.large", text.c_str());
  }
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(payload_of(next(subscription.get()).get()), std::to_string(i));
  }
}

}  // namespace
