#pragma once
// One visit of the redis door: its session, its requests in their order, and their replies in the
// same.
//
// Requests are answered in runs. Views that are kept are answered at once; those that are not are
// all asked for before the first is waited for; commands for Redis that follow each other go out
// together. A visit that subscribes, blocks, or opens a transaction holds a link of its own for as
// long.
//
// Belongs to the visit's loop.

#include "doors/redis/commands.h"
#include "doors/redis/leased_replies.h"
#include "doors/redis/parts.h"
#include "doors/redis/view_commands.h"
#include "doors/visit.h"
#include "gate/trail/key_read_tally.h"
#include "pool/redis/exchange.h"
#include "wire/resp/encoder.h"
#include "wire/resp/request_decoder.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

class RedisVisit final : public VisitControl {
 public:
  RedisVisit(RedisDoorShared& shared, Visit& visit);
  ~RedisVisit();

  // Serves the visit to its end. `received` is what was read of it already.
  Async<> run(std::string received);

  // Says goodbye and lets go of what the visit holds. Must be awaited before it ends.
  Async<> finish();

 private:
  // What has to happen before the next request can be looked at.
  enum class Next : std::uint8_t {
    go_on,
    settle,  // Replies are owed: wait for them first, then look at the same request again.
    act,     // The request takes time by itself: act_ says what it is.
    leave,
  };
  struct Act {
    enum class Kind : std::uint8_t { none, log_in, link, lease, reset, abort_transaction };
    Kind kind = Kind::none;
    std::string user;
    Secret token;
    std::optional<resp::Protocol> protocol;  // From HELLO.
    std::string client_name;
    bool has_client_name = false;
    std::string bytes;  // A request, to be looked at again.
  };
  // A reply that is owed, in the order of the requests.
  struct Owed {
    ViewCommand command{};
    std::vector<std::shared_ptr<Passenger>> passengers;  // Null where the value was there.
    std::vector<std::string> ready;                      // Its reply then, or a part of an MGET.
    std::vector<std::string> fields;
    std::string text;          // A reply that is complete; no passengers then.
    std::int64_t counted = 0;  // EXISTS: what was there at once.
    Time since{};
  };

  Async<bool> take_bytes(std::string_view bytes);
  Result<Next> take_requests(std::string_view& input);
  Next take_request(const resp::Request& request);
  static Act make_act(Act::Kind kind);
  std::optional<Next> take_session_command(const resp::Request& request);
  Next on_hello(std::span<const std::string_view> arguments);
  Next on_auth(std::span<const std::string_view> arguments);
  Next on_reset();
  Next on_client(std::span<const std::string_view> arguments);
  void on_info();

  // Views (view_requests.cc).
  // `seen` is the key of `use`, which has been found already.
  Next take_view_request(ViewCommand command,
                         const resp::Request& request,
                         std::span<const resp::KeyUse> keys,
                         const resp::KeyUse& use,
                         const ViewKey& seen);
  Next read_one(ViewCommand command, const ViewKey& key, std::span<const std::string_view> fields);
  Next read_many(ViewCommand command, const std::vector<ViewKey>& keys);
  Next forget(const std::vector<ViewKey>& keys);
  bool note_view_read(const ViewKey& key, bool hit);
  bool note_read(std::string_view subject, std::string_view key, trail::KeyRead outcome);

  // Commands for Redis (relay_requests.cc).
  Next relay(const resp::Command& command, const resp::Request& request);
  Next refuse_on_view(const resp::Command& command, const ViewKey& key);
  bool needs_grant(const resp::Command& command,
                   resp::KeysFound found,
                   ChannelUse channels,
                   std::span<const std::string_view> arguments) const;
  std::optional<Next> decide_resources(ChannelUse channels,
                                       std::span<const std::string_view> arguments);
  bool record(const resp::Command& command,
              ChannelUse channels,
              bool by_name,
              std::span<const std::string_view> arguments);
  Next deny(Action action, std::string_view resource, std::string_view rule);
  Next send_shared(const resp::Command& command, const resp::Request& request);
  Next send_leased(const resp::Command& command, const resp::Request& request);
  Next want(Act::Kind kind, const resp::Request& request);
  std::size_t confirmations_of(const resp::Command& command,
                               std::span<const std::string_view> arguments) const;
  void note_session_state(const resp::Command& command,
                          std::span<const std::string_view> arguments);
  bool needs_lease() const noexcept;
  Async<> pump_lease();
  Async<bool> abort_transaction();

  Async<bool> settle();
  Async<bool> settle_views();
  Async<bool> settle_relay();
  Async<bool> act();
  Async<bool> log_in();
  Async<bool> wait_for_link();
  Async<bool> take_lease();
  Async<bool> reset();
  Async<bool> between_messages();

  // False when a message had been passed on in part: the visit is of no use then.
  Async<bool> drop_lease();

  void reply(FunctionRef<void(resp::ReplyWriter&)> write);
  void reply_error(std::string_view text);
  void reply_error(const Error& error);
  void reply_ok() {
    reply([](resp::ReplyWriter& writer) { writer.simple("OK"); });
  }
  Async<bool> send(std::string_view bytes);
  Async<bool> flush();
  // Redis has not answered all, or its answer was not passed on, or a message was in part.
  bool redis_owes() const noexcept {
    if (lease_) return !leased_.settled();
    return exchange_.replies_left() > 0 || !exchange_.held().empty() || exchange_.failed();
  }
  bool owes() const noexcept { return !owed_.empty() || redis_owes(); }
  // act_ is what a request needs before it is looked at again.
  bool comes_again() const noexcept {
    return act_.kind == Act::Kind::link || act_.kind == Act::Kind::lease;
  }
  bool authenticated() const noexcept { return principal_ != nullptr; }
  Deadline read_deadline() const;
  Deadline idle_deadline() const;

  void end(Ending ending) override;
  void expiring(Duration left) override;
  void renewed(PrincipalPointer principal) override;

  RedisDoorShared& shared_;
  Visit& visit_;
  const Time since_;
  Time active_at_;  // When the client last asked for something.
  Time unauthenticated_since_;
  resp::RequestDecoder decoder_;
  resp::Protocol protocol_ = resp::Protocol::resp2;
  PrincipalPointer principal_;
  VisitSlot slot_;
  VisitRegistry::Registration registration_;
  std::string client_name_;

  std::string input_;  // Bytes that were read and not looked at, while something is waited for.
  std::string out_;    // For the client, while it does not read.
  std::string farewell_;
  std::vector<Owed> owed_;
  redis::Exchange exchange_;
  redis::Link* link_ = nullptr;  // For the request that is looked at.
  Time relayed_at_{};
  Act act_;
  trail::KeyReadTally reads_;
  Time reads_since_{};  // Of the first that is not recorded yet.

  // A link of its own.
  redis::LinkPool::Lease lease_;
  LeasedReplies leased_;
  std::optional<Scope> pump_;
  Event settled_;  // Replies of it were passed on.
  bool in_transaction_ = false;
  bool transaction_failed_ = false;  // A command of it was refused here.
  bool watching_ = false;
  bool tracking_ = false;
  bool monitoring_ = false;
  std::set<std::string, std::less<>> subscriptions_;  // With a letter for their kind in front.
};

}  // namespace meridian
