#pragma once
// A client of the redis door that knows what each of its replies must be.
//
// Every request carries something that its reply must repeat (its key, a tag of its own), so a
// reply to another request is seen. What the client may be told, and until when, is written down by
// the test in Rights; how old a view may be in Floors.

#include "runtime/sim/sim_stream.h"
#include "sim/redis_door_node.h"
#include "wire/resp/reply_framer.h"
#include "wire/resp/value.h"

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::testing {

// What was acknowledged to the writers of the database.
using Floors = std::array<std::array<std::uint64_t, rows_count>, groups_count>;

// What a run has seen and what was wrong.
struct Findings {
  std::uint64_t replies = 0;
  std::uint64_t view_values = 0;
  std::uint64_t key_values = 0;
  std::uint64_t refusals = 0;  // By permission, before a login, after a revocation or expiry.
  std::uint64_t link_losses = 0;
  std::uint64_t pushes = 0;
  std::uint64_t transactions = 0;
  std::uint64_t cut_off = 0;      // Visits that ended with a revocation or an expiry.
  std::uint64_t stale = 0;        // Views older than what was acknowledged before the request.
  std::uint64_t misplaced = 0;    // Replies that do not answer their request.
  std::uint64_t unwarranted = 0;  // Data without a login, or after it was worth nothing.
  std::uint64_t missing = 0;      // Requests without reply on a connection that stands.
  std::uint64_t unexplained = 0;  // Visits that ended for no reason.
  std::uint64_t leaked = 0;
  std::string first;  // The first of these in words.

  std::uint64_t wrong() const {
    return stale + misplaced + unwarranted + missing + unexplained + leaked;
  }
  void note(std::uint64_t& count, std::string text) {
    if (wrong() == 0) first = std::move(text);
    ++count;
  }
  void add(const Findings& other);
};

// A subject and until when it may be told anything.
struct Rights {
  std::string subject;
  std::string role;
  std::optional<Time> revoked_at;
};

// What the clients of a run share.
struct ClientWorld {
  RedisDoorNode& node;
  const Floors& acknowledged;
  Findings& findings;
  const std::uint64_t& redis_faults;  // How often links to Redis were broken.
  bool stopping = false;
};

class RedisClient {
 public:
  RedisClient(ClientWorld& world, std::size_t number, Rights& rights, SimWireOptions wire);
  ~RedisClient();

  // A few connections one after another.
  Async<> run(int sessions_count, int batches_count);

 private:
  // One reply that is to come.
  struct Expected {
    std::string request;  // For words about it.
    Time sent{};
    std::optional<WallTime> expires_at{};  // Of the token that it was sent with.
    // Empty when the reply is right, else what is wrong.
    std::function<std::string(const resp::Value&)> check;
  };
  using Check = std::function<std::string(const resp::Value&)>;

  struct Transaction {
    bool open = false;
  };

  Async<> session(int batches_count);
  Async<bool> log_in();
  Async<bool> try_without_login();
  Async<bool> exchange_batch();
  Async<bool> subscribe();
  Async<bool> be_slow();
  Async<bool> renew_login();

  void add_any_request();
  void add(std::vector<std::string> arguments, Check check);
  void add_view_read();
  void add_views_read();
  void add_key_read();
  void add_key_write();
  void add_transaction(bool with_publish);
  void add_forbidden();

  Check key_value(const std::string& key, bool queued, std::shared_ptr<Transaction> transaction);
  Check view_value(std::size_t group);
  std::string check_view_text(std::size_t group, const Floors& floor, std::string_view text);
  std::string check_key_text(const std::string& key, std::string_view text);

  Async<bool> send_all();
  Async<bool> receive_all();
  Async<std::optional<std::string>> next_reply(Deadline deadline, bool& push);
  bool take_reply(const std::string& reply);
  bool take_push(const std::string& reply);
  bool was_ended_by_right() const;
  void lost();

  std::string token(Duration lifetime);
  std::string key_name(std::uint64_t index) const;
  std::string channel() const { return "ch:" + std::to_string(number_); }
  std::string new_tag();

  ClientWorld& world_;
  SimLoop& loop_;
  SimRandom& random_;
  std::size_t number_;
  Rights& rights_;
  SimWireOptions wire_;
  std::unique_ptr<SimStream> stream_;
  resp::ReplyFramer framer_;
  std::string received_;
  std::string reply_;
  std::string out_;
  std::deque<Expected> expected_;
  bool resp3_ = false;
  bool logged_in_ = false;
  bool ended_ = false;  // The node said why it ends the visit.
  std::optional<WallTime> expires_at_;
  std::uint64_t redis_faults_before_ = 0;
  std::uint64_t tags_count_ = 0;
  std::uint64_t next_version_ = 0;
  std::map<std::string, std::set<std::uint64_t>> possible_;  // Versions that a key may have.
};

}  // namespace meridian::testing
