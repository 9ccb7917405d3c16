#pragma once
// A small Redis in memory, for simulation: it speaks RESP2 and RESP3 over any stream.
//
// Strings, transactions, channels, logins and RESET behave as in redis-server 7; time does not pass
// for EXPIRE. Belongs to one loop. stop() it before it ends.

#include "runtime/scope.h"
#include "runtime/stream.h"
#include "wire/resp/encoder.h"
#include "wire/resp/request_decoder.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace meridian {

struct SimRedisOptions {
  std::string password;       // Of the user "default"; empty for none.
  std::string command_reply;  // Answered to COMMAND, as it is.
};

class SimRedis {
 public:
  explicit SimRedis(Loop& loop, SimRedisOptions options = {});
  ~SimRedis();

  // Serves a connection until it ends.
  void accept(std::unique_ptr<Stream> stream);

  // Breaks all connections, as a crash does. The keys stay.
  void break_connections();

  // Breaks them and waits until nothing runs any more.
  Async<> stop();

  std::map<std::string, std::string, std::less<>>& keys() noexcept { return keys_; }
  std::size_t connections_count() const noexcept { return connections_.size(); }
  std::uint64_t requests_count() const noexcept { return requests_count_; }

 private:
  class Connection;
  friend class Connection;

  Async<> serve(std::unique_ptr<Connection> connection);

  Loop& loop_;
  SimRedisOptions options_;
  std::map<std::string, std::string, std::less<>> keys_;
  std::map<std::uint64_t, Connection*> connections_;  // By id, so that order comes from the seed.
  std::uint64_t ids_count_ = 0;
  std::uint64_t requests_count_ = 0;
  Scope scope_;
};

}  // namespace meridian
