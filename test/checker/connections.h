#pragma once
// Connections as any client makes them: libpq and hiredis, with a token as the password.

#include "test/checker/options.h"

#include <libpq-fe.h>

#include <cstdint>
#include <hiredis/hiredis.h>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace checker {

struct ConnectionError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// An answer that no revision of anything could give.
struct BadAnswer : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What the command prints, without the line's end. Throws ConnectionError when it fails.
std::string run_command(const std::string& command);

std::pair<std::string, int> split_address(const std::string& address);

enum class Way : std::uint8_t { door, direct };

// A session at the Postgres door, or past it. Throws ConnectionError when it breaks.
class Postgres {
 public:
  Postgres(const Options& options, Way way);

  void run(const std::string& statement) const;
  // The rows' texts, without NULL.
  std::vector<std::vector<std::string>> query(const std::string& statement) const;
  // A prepared statement with integers; the number of rows it changed.
  int execute(const char* name, std::initializer_list<std::int64_t> values) const;

 private:
  struct Finish {
    void operator()(PGconn* connection) const noexcept { ::PQfinish(connection); }
  };

  std::unique_ptr<PGconn, Finish> connection_;
};

// A connection at the Redis door.
class Redis {
 public:
  struct Free {
    void operator()(redisContext* context) const noexcept { ::redisFree(context); }
    void operator()(void* reply) const noexcept { ::freeReplyObject(reply); }
  };
  using Reply = std::unique_ptr<redisReply, Free>;

  explicit Redis(const Options& options);

  void append(const std::vector<std::string>& arguments);
  Reply reply();
  Reply command(const std::vector<std::string>& arguments) {
    append(arguments);
    return reply();
  }

 private:
  std::unique_ptr<redisContext, Free> context_;
};

}  // namespace checker
