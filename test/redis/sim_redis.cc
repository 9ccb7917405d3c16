#include "redis/sim_redis.h"

#include "base/number.h"
#include "wire/resp/protocol.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

namespace meridian {
namespace {

using Arguments = std::span<const std::string_view>;
using resp::Protocol;

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return lower;
}

std::string unknown(Arguments arguments) {
  std::string text =
      "ERR unknown command '" + std::string(arguments[0]) + "', with args beginning with: ";
  for (const std::string_view argument : arguments.subspan(1))
    text += "'" + std::string(argument) + "' ";
  return text;
}

}  // namespace

class SimRedis::Connection {
 public:
  Connection(SimRedis& redis, std::unique_ptr<Stream> stream)
      : redis_(redis), stream_(std::move(stream)), written_(redis.loop_), scope_(redis.loop_) {
    id_ = ++redis.ids_count_;
    authenticated_ = redis.options_.password.empty();
  }

  Async<> serve();
  void close() { stream_->close(); }
  std::uint64_t id() const { return id_; }

 private:
  using Handler = void (Connection::*)(Arguments);
  struct Entry {
    std::string_view name;
    std::size_t arguments_min;
    std::size_t arguments_max;
    bool without_login;
    Handler handler;
  };
  static const Entry* find(std::string_view name);

  Async<> write();
  Async<> read();
  void handle(Arguments arguments);
  void run(const Entry& entry, Arguments arguments);
  bool log_in(std::string_view user, std::string_view password);
  resp::ReplyWriter reply() { return {out_, protocol_}; }
  bool restricted() const { return protocol_ == Protocol::resp2 && !channels_.empty(); }

  void ping(Arguments arguments);
  void echo(Arguments arguments);
  void hello(Arguments arguments);
  void auth(Arguments arguments);
  void client(Arguments arguments);
  void reset(Arguments arguments);
  void select(Arguments arguments);
  void command(Arguments arguments);
  void get(Arguments arguments);
  void set(Arguments arguments);
  void del(Arguments arguments);
  void exists(Arguments arguments);
  void incr(Arguments arguments);
  void expire(Arguments arguments);
  void multi(Arguments arguments);
  void exec(Arguments arguments);
  void discard(Arguments arguments);
  void subscribe(Arguments arguments);
  void unsubscribe(Arguments arguments);
  void publish(Arguments arguments);

  SimRedis& redis_;
  std::unique_ptr<Stream> stream_;
  Protocol protocol_ = Protocol::resp2;
  std::uint64_t id_ = 0;
  std::string name_;
  bool authenticated_ = false;
  bool in_transaction_ = false;
  bool transaction_broken_ = false;
  std::vector<std::vector<std::string>> queued_;
  std::set<std::string, std::less<>> channels_;
  std::string out_;
  bool ending_ = false;
  Event written_;  // To out_, or the end is near.
  Scope scope_;
};

const SimRedis::Connection::Entry* SimRedis::Connection::find(std::string_view name) {
  constexpr std::size_t any = SIZE_MAX;
  static constexpr std::array<Entry, 21> entries{{
      {"ping", 1, 2, false, &Connection::ping},
      {"echo", 2, 2, false, &Connection::echo},
      {"hello", 1, any, true, &Connection::hello},
      {"auth", 2, 3, true, &Connection::auth},
      {"client", 2, any, false, &Connection::client},
      {"reset", 1, 1, true, &Connection::reset},
      {"select", 2, 2, false, &Connection::select},
      {"command", 1, any, false, &Connection::command},
      {"get", 2, 2, false, &Connection::get},
      {"set", 3, any, false, &Connection::set},
      {"del", 2, any, false, &Connection::del},
      {"unlink", 2, any, false, &Connection::del},
      {"exists", 2, any, false, &Connection::exists},
      {"incr", 2, 2, false, &Connection::incr},
      {"expire", 3, any, false, &Connection::expire},
      {"multi", 1, 1, false, &Connection::multi},
      {"exec", 1, 1, false, &Connection::exec},
      {"discard", 1, 1, false, &Connection::discard},
      {"subscribe", 2, any, false, &Connection::subscribe},
      {"unsubscribe", 1, any, false, &Connection::unsubscribe},
      {"publish", 3, 3, false, &Connection::publish},
  }};
  const std::string lower = to_lower(name);
  for (const Entry& entry : entries) {
    if (entry.name == lower) return &entry;
  }
  return nullptr;
}

Async<> SimRedis::Connection::serve() {
  scope_.spawn(write());
  co_await read();
  ending_ = true;
  written_.set();
  co_await scope_.join();
  stream_->close();
}

Async<> SimRedis::Connection::read() {
  resp::RequestDecoder decoder;
  std::array<char, 1'024> buffer;
  for (;;) {
    const auto size = co_await read_some(*stream_, buffer, Deadline::never());
    if (!size || *size == 0) co_return;
    std::string_view input(buffer.data(), *size);
    for (;;) {
      decoder.set_authenticated(authenticated_);
      const auto request = decoder.next(input);
      if (!request) {
        reply().error("ERR " + request.error().detail());
        co_return;
      }
      if (!*request) break;
      handle((*request)->arguments);
      written_.set();
    }
  }
}

Async<> SimRedis::Connection::write() {
  for (;;) {
    while (out_.empty() && !ending_) {
      written_.reset();
      (void)co_await written_.wait();
    }
    if (out_.empty()) break;
    const std::string bytes = std::exchange(out_, {});
    if (!co_await write_all(*stream_, bytes, Deadline::never())) break;
  }
  stream_->close();
}

void SimRedis::Connection::handle(Arguments arguments) {
  ++redis_.requests_count_;
  const Entry* const entry = find(arguments[0]);
  const auto refuse = [&](std::string_view text) {
    transaction_broken_ = in_transaction_;
    reply().error(text);
  };
  if (!entry) return refuse(unknown(arguments));
  if (arguments.size() < entry->arguments_min || arguments.size() > entry->arguments_max) {
    return refuse("ERR wrong number of arguments for '" + std::string(entry->name) + "' command");
  }
  if (!authenticated_ && !entry->without_login) return refuse("NOAUTH Authentication required.");
  run(*entry, arguments);
}

void SimRedis::Connection::run(const Entry& entry, Arguments arguments) {
  const auto is_one_of = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::find(names, entry.name) != names.end();
  };
  if (restricted() && !is_one_of({"subscribe", "unsubscribe", "ping", "reset"})) {
    return reply().error("ERR Can't execute '" + std::string(entry.name) +
                         "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
                         "allowed in this context");
  }
  if (in_transaction_ && !is_one_of({"multi", "exec", "discard", "reset"})) {
    queued_.emplace_back(arguments.begin(), arguments.end());
    return reply().simple("QUEUED");
  }
  (this->*entry.handler)(arguments);
}

void SimRedis::Connection::ping(Arguments arguments) {
  const std::string_view message = arguments.size() > 1 ? arguments[1] : std::string_view();
  if (restricted()) {
    resp::ReplyWriter writer = reply();
    writer.array(2);
    writer.bulk("pong");
    writer.bulk(message);
  } else if (arguments.size() > 1) {
    reply().bulk(message);
  } else {
    reply().simple("PONG");
  }
}

void SimRedis::Connection::echo(Arguments arguments) {
  reply().bulk(arguments[1]);
}

bool SimRedis::Connection::log_in(std::string_view user, std::string_view password) {
  const std::string& expected = redis_.options_.password;
  const bool right = user == "default" && (expected.empty() || password == expected);
  if (right) authenticated_ = true;
  if (!right) reply().error("WRONGPASS invalid username-password pair or user is disabled.");
  return right;
}

void SimRedis::Connection::hello(Arguments arguments) {
  Protocol wanted = protocol_;
  if (arguments.size() > 1) {
    if (arguments[1] != "2" && arguments[1] != "3") {
      return reply().error("NOPROTO unsupported protocol version");
    }
    wanted = arguments[1] == "2" ? Protocol::resp2 : Protocol::resp3;
  }
  std::string name = name_;
  for (std::size_t i = 2; i < arguments.size(); ++i) {
    if (resp::is_keyword(arguments[i], "auth") && i + 2 < arguments.size()) {
      if (!log_in(arguments[i + 1], arguments[i + 2])) return;
      i += 2;
    } else if (resp::is_keyword(arguments[i], "setname") && i + 1 < arguments.size()) {
      name = arguments[++i];
    } else {
      return reply().error("ERR Syntax error in HELLO");
    }
  }
  if (!authenticated_) return reply().error("NOAUTH HELLO must be called with a login");
  protocol_ = wanted;
  name_ = std::move(name);
  resp::ReplyWriter writer = reply();
  writer.map(4);
  writer.bulk("server");
  writer.bulk("redis");
  writer.bulk("version");
  writer.bulk("7.0.15");
  writer.bulk("proto");
  writer.integer(std::to_underlying(protocol_));
  writer.bulk("id");
  writer.integer(static_cast<std::int64_t>(id_));
}

void SimRedis::Connection::auth(Arguments arguments) {
  const bool named = arguments.size() == 3;
  if (log_in(named ? arguments[1] : "default", arguments.back())) reply().simple("OK");
}

void SimRedis::Connection::client(Arguments arguments) {
  const std::string subcommand = to_lower(arguments[1]);
  if (subcommand == "id") return reply().integer(static_cast<std::int64_t>(id_));
  if (subcommand == "getname") return reply().bulk(name_);
  if (subcommand == "setname" && arguments.size() == 3) name_ = arguments[2];
  reply().simple("OK");
}

void SimRedis::Connection::reset(Arguments /*arguments*/) {
  protocol_ = Protocol::resp2;
  authenticated_ = redis_.options_.password.empty();
  in_transaction_ = transaction_broken_ = false;
  queued_.clear();
  channels_.clear();
  name_.clear();
  reply().simple("RESET");
}

void SimRedis::Connection::select(Arguments arguments) {
  if (arguments[1] != "0") return reply().error("ERR DB index is out of range");
  reply().simple("OK");
}

void SimRedis::Connection::command(Arguments /*arguments*/) {
  out_ += redis_.options_.command_reply.empty() ? "*0\r\n" : redis_.options_.command_reply;
}

void SimRedis::Connection::get(Arguments arguments) {
  const auto found = redis_.keys_.find(arguments[1]);
  if (found == redis_.keys_.end()) return reply().null();
  reply().bulk(found->second);
}

void SimRedis::Connection::set(Arguments arguments) {
  redis_.keys_.insert_or_assign(std::string(arguments[1]), std::string(arguments[2]));
  reply().simple("OK");
}

void SimRedis::Connection::del(Arguments arguments) {
  std::int64_t count = 0;
  for (const std::string_view key : arguments.subspan(1)) {
    const auto found = redis_.keys_.find(key);
    if (found == redis_.keys_.end()) continue;
    redis_.keys_.erase(found);
    ++count;
  }
  reply().integer(count);
}

void SimRedis::Connection::exists(Arguments arguments) {
  std::int64_t count = 0;
  for (const std::string_view key : arguments.subspan(1))
    count += redis_.keys_.contains(key) ? 1 : 0;
  reply().integer(count);
}

void SimRedis::Connection::incr(Arguments arguments) {
  std::string& value = redis_.keys_.try_emplace(std::string(arguments[1]), "0").first->second;
  const auto number = parse_number<std::int64_t>(value);
  if (!number) return reply().error("ERR value is not an integer or out of range");
  if (*number == INT64_MAX) return reply().error("ERR increment or decrement would overflow");
  value = std::to_string(*number + 1);
  reply().integer(*number + 1);
}

void SimRedis::Connection::expire(Arguments arguments) {
  reply().integer(redis_.keys_.contains(arguments[1]) ? 1 : 0);
}

void SimRedis::Connection::multi(Arguments /*arguments*/) {
  if (in_transaction_) return reply().error("ERR MULTI calls can not be nested");
  in_transaction_ = true;
  transaction_broken_ = false;
  queued_.clear();
  reply().simple("OK");
}

void SimRedis::Connection::exec(Arguments /*arguments*/) {
  if (!in_transaction_) return reply().error("ERR EXEC without MULTI");
  in_transaction_ = false;
  const std::vector<std::vector<std::string>> requests = std::exchange(queued_, {});
  if (transaction_broken_) {
    return reply().error("EXECABORT Transaction discarded because of previous errors.");
  }
  reply().array(requests.size());
  for (const std::vector<std::string>& request : requests) {
    const std::vector<std::string_view> arguments(request.begin(), request.end());
    run(*find(arguments[0]), arguments);
  }
}

void SimRedis::Connection::discard(Arguments /*arguments*/) {
  if (!in_transaction_) return reply().error("ERR DISCARD without MULTI");
  in_transaction_ = false;
  queued_.clear();
  reply().simple("OK");
}

void SimRedis::Connection::subscribe(Arguments arguments) {
  for (const std::string_view channel : arguments.subspan(1)) {
    channels_.emplace(channel);
    resp::ReplyWriter writer = reply();
    writer.push(3);
    writer.bulk("subscribe");
    writer.bulk(channel);
    writer.integer(static_cast<std::int64_t>(channels_.size()));
  }
}

void SimRedis::Connection::unsubscribe(Arguments arguments) {
  std::vector<std::string> left(arguments.begin() + 1, arguments.end());
  if (left.empty()) left.assign(channels_.begin(), channels_.end());
  if (left.empty()) {
    resp::ReplyWriter writer = reply();
    writer.push(3);
    writer.bulk("unsubscribe");
    writer.null();
    return writer.integer(0);
  }
  for (const std::string& channel : left) {
    channels_.erase(channel);
    resp::ReplyWriter writer = reply();
    writer.push(3);
    writer.bulk("unsubscribe");
    writer.bulk(channel);
    writer.integer(static_cast<std::int64_t>(channels_.size()));
  }
}

void SimRedis::Connection::publish(Arguments arguments) {
  std::int64_t count = 0;
  for (const auto& [id, connection] : redis_.connections_) {
    if (!connection->channels_.contains(arguments[1])) continue;
    ++count;
    resp::ReplyWriter writer = connection->reply();
    writer.push(3);
    writer.bulk("message");
    writer.bulk(arguments[1]);
    writer.bulk(arguments[2]);
    connection->written_.set();
  }
  reply().integer(count);
}

SimRedis::SimRedis(Loop& loop, SimRedisOptions options)
    : loop_(loop), options_(std::move(options)), scope_(loop) {}

SimRedis::~SimRedis() = default;

void SimRedis::accept(std::unique_ptr<Stream> stream) {
  scope_.spawn(serve(std::make_unique<Connection>(*this, std::move(stream))));
}

Async<> SimRedis::serve(std::unique_ptr<Connection> connection) {
  connections_.emplace(connection->id(), connection.get());
  co_await connection->serve();
  connections_.erase(connection->id());
}

void SimRedis::break_connections() {
  for (const auto& [id, connection] : connections_)
    connection->close();
}

Async<> SimRedis::stop() {
  break_connections();
  co_await scope_.close();
}

}  // namespace meridian
