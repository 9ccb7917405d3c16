#include "sim/redis_client.h"

#include "base/number.h"
#include "wire/resp/encoder.h"

#include <fmt/format.h>
#include <utility>

namespace meridian::testing {
namespace {

using resp::Value;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Deadlines are kept to 10 ms, so an expiry takes effect so much later at most.
constexpr Duration expiry_bound = milliseconds(25);
constexpr Duration patience = seconds(90);

std::string words(const Value& value) {
  switch (value.type) {
    case Value::Type::array:
    case Value::Type::push:
    case Value::Type::map:
    case Value::Type::set: {
      std::string text = "[";
      for (const Value& item : value.items)
        text += words(item) + " ";
      return text + "]";
    }
    case Value::Type::integer:
      return ":" + std::to_string(value.integer);
    case Value::Type::null:
      return "(null)";
    case Value::Type::simple:
    case Value::Type::error:
    case Value::Type::bulk:
    case Value::Type::number:
    case Value::Type::boolean:
    case Value::Type::big_number:
    case Value::Type::verbatim:
      break;
  }
  return (value.is_error() ? "-" : "") + std::string(value.text);
}

// Nothing happened, or nobody knows: Redis or the database was away.
bool is_loss(const Value& value) {
  return value.is_error() &&
         (value.text.starts_with("TRYAGAIN") || value.text.starts_with("UNKNOWNOUTCOME") ||
          value.text.starts_with("BUSY"));
}

bool is_farewell(const Value& value) {
  return value.is_error() &&
         (value.text.contains("access was revoked") || value.text.contains("session has expired"));
}

bool is_data(const Value& value) {
  return !value.is_error();
}

}  // namespace

void Findings::add(const Findings& other) {
  if (wrong() == 0) first = other.first;
  for (const auto member : {&Findings::replies,
                            &Findings::view_values,
                            &Findings::key_values,
                            &Findings::refusals,
                            &Findings::link_losses,
                            &Findings::pushes,
                            &Findings::transactions,
                            &Findings::cut_off,
                            &Findings::stale,
                            &Findings::misplaced,
                            &Findings::unwarranted,
                            &Findings::missing,
                            &Findings::unexplained,
                            &Findings::leaked})
    this->*member += other.*member;
}

RedisClient::RedisClient(ClientWorld& world,
                         std::size_t number,
                         Rights& rights,
                         SimWireOptions wire)
    : world_(world),
      loop_(world.node.loop),
      random_(loop_.random()),
      number_(number),
      rights_(rights),
      wire_(wire) {}

RedisClient::~RedisClient() = default;

std::string RedisClient::key_name(std::uint64_t index) const {
  return fmt::format("k:{}:{}", number_, index);
}

std::string RedisClient::new_tag() {
  return fmt::format("tag:{}:{}", number_, ++tags_count_);
}

std::string RedisClient::token(Duration lifetime) {
  const auto now = std::chrono::floor<seconds>(loop_.wall_now());
  TestClaims claims = world_.node.world.issuer.claims(now);
  claims.subject = rights_.subject;
  claims.expires_at = now + std::chrono::floor<seconds>(lifetime);
  return world_.node.world.issuer.mint(claims);
}

Async<> RedisClient::run(int sessions_count, int batches_count) {
  for (int i = 0; i < sessions_count && !world_.stopping; ++i) {
    // What an earlier connection has sent is settled by then.
    (void)co_await loop_.sleep(milliseconds(5) + microseconds(random_.below(15'000)));
    stream_ = world_.node.connect(wire_);
    framer_ = resp::ReplyFramer();
    received_.clear();
    reply_.clear();
    out_.clear();
    expected_.clear();
    resp3_ = logged_in_ = ended_ = false;
    expires_at_.reset();
    redis_faults_before_ = world_.redis_faults;
    co_await session(batches_count);
    stream_->close();
  }
}

Async<> RedisClient::session(int batches_count) {
  if (random_.chance(0.15) && !co_await try_without_login()) co_return;
  if (!co_await log_in()) co_return;
  for (int i = 0; i < batches_count && !world_.stopping; ++i) {
    const std::uint64_t choice = random_.below(100);
    bool goes_on = true;
    if (choice < 4) {
      goes_on = co_await renew_login();
    } else if (choice < 10 && rights_.role == "worker") {
      goes_on = co_await subscribe();
    } else if (choice < 14) {
      goes_on = co_await be_slow();
    } else if (choice < 16) {
      // Leaves in the middle of a request.
      add_any_request();
      out_.resize(out_.size() - 1 - random_.below(out_.size() - 1));
      (void)co_await write_all(*stream_, out_, loop_.after(patience));
      co_return;
    } else {
      goes_on = co_await exchange_batch();
    }
    if (!goes_on) co_return;
    const bool rests = random_.chance(0.01);
    (void)co_await loop_.sleep(rests ? milliseconds(random_.below(2'500))
                                     : microseconds(random_.below(3'000)));
  }
}

Async<bool> RedisClient::try_without_login() {
  const auto refused = [](const Value& value) {
    return value.is_error() && value.text.starts_with("NOAUTH") ? "" : "no login was asked for";
  };
  add({"GET", "g:1"}, refused);
  add({"GET", key_name(0)}, refused);
  add({"MGET", "g:1", "g:2"}, refused);
  if (random_.chance(0.3)) {
    const auto now = std::chrono::floor<seconds>(loop_.wall_now());
    TestClaims claims = world_.node.world.issuer.claims(now);
    claims.subject = rights_.subject;
    const jose::SigningKey& key = other_key_of(jose::Algorithm::es256);
    const std::string forged = sign(header_of(key), claims.to_json(), key);
    add({"AUTH", rights_.role, forged}, [](const Value& value) {
      return value.is_error() && value.text.starts_with("WRONGPASS") ? ""
                                                                     : "a forged token was taken";
    });
    add({"GET", "g:1"}, refused);
  }
  co_return co_await send_all() && co_await receive_all();
}

Async<bool> RedisClient::log_in() {
  const Duration lifetime = random_.chance(0.2) ? seconds(1 + random_.below(2)) : seconds(300);
  const std::string secret = token(lifetime);
  const WallTime ends =
      std::chrono::floor<seconds>(loop_.wall_now()) + std::chrono::floor<seconds>(lifetime);
  const std::uint64_t way = random_.below(3);
  const auto admitted = [this, ends, way](const Value& value) -> std::string {
    if (!value.is_error()) {
      if (way < 2) resp3_ = way == 0;
      logged_in_ = true;
      expires_at_ = ends;
      return "";
    }
    if (value.text.starts_with("WRONGPASS") && (rights_.revoked_at || loop_.wall_now() >= ends)) {
      logged_in_ = false;
      return "";
    }
    return "a good token was refused";
  };
  if (way == 0) {
    add({"HELLO", "3", "AUTH", rights_.role, secret, "SETNAME", "sim"}, admitted);
  } else if (way == 1) {
    add({"HELLO", "2", "AUTH", "default", secret}, admitted);
  } else {
    add({"AUTH", secret}, admitted);
  }
  // Some do not wait for the answer.
  if (random_.chance(0.3)) {
    for (int i = 0; i < 3; ++i)
      add_any_request();
  }
  if (!co_await send_all() || !co_await receive_all()) co_return false;
  co_return logged_in_;
}

// A fresh token on a connection that stands, perhaps after RESET.
Async<bool> RedisClient::renew_login() {
  if (random_.chance(0.3)) {
    // Long after it was opened.
    if (random_.chance(0.2)) (void)co_await loop_.sleep(seconds(40));
    add({"RESET"}, [this](const Value& value) {
      logged_in_ = resp3_ = false;
      return value.text == "RESET" ? "" : "RESET was not confirmed";
    });
    if (!co_await send_all() || !co_await receive_all()) co_return false;
    expires_at_.reset();
    if (random_.chance(0.5) && !co_await try_without_login()) co_return false;
    (void)co_await loop_.sleep(milliseconds(random_.below(50)));
  }
  co_return co_await log_in();
}

Async<bool> RedisClient::exchange_batch() {
  const std::uint64_t count = 1 + random_.below(6);
  for (std::uint64_t i = 0; i < count; ++i)
    add_any_request();
  co_return co_await send_all() && co_await receive_all();
}

// Asks for more than the wire holds, and reads late.
Async<bool> RedisClient::be_slow() {
  for (int i = 0; i < 30; ++i)
    add_view_read();
  if (!co_await send_all()) co_return false;
  (void)co_await loop_.sleep(microseconds(random_.below(8'000)));
  co_return co_await receive_all();
}

Async<bool> RedisClient::subscribe() {
  const std::uint64_t pushes_before = world_.findings.pushes;
  bool refused = false;
  // In RESP3 the confirmation is a message; RESP2 cannot tell them apart, so there one waits.
  add({"SUBSCRIBE", channel()}, [&](const Value& value) {
    refused = is_loss(value);
    const bool confirmed = value.items.size() == 3 && value.items[0].text == "subscribe" &&
                           value.items[1].text == channel();
    return refused || confirmed ? "" : "SUBSCRIBE was not confirmed";
  });
  if (!co_await send_all() || !co_await receive_all()) co_return false;
  if (refused) co_return true;
  if (resp3_) {
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 4; ++i) {
        if (random_.chance(0.4)) {
          add({"PUBLISH", channel(), channel() + "|" + std::string(random_.below(900), 'x')},
              [](const Value& value) {
                return value.type == Value::Type::integer || is_loss(value) ? "" : "not a count";
              });
        } else if (random_.chance(0.2)) {
          add({"CLIENT", "GETNAME"}, [](const Value& value) {
            return value.text == "sim" || value.type == Value::Type::null ? "" : "not a name";
          });
        } else {
          add_any_request();
        }
      }
      if (!co_await send_all() || !co_await receive_all()) co_return false;
    }
  }
  add({"UNSUBSCRIBE", channel()}, [&](const Value& value) {
    return value.items.size() == 3 && value.items[0].text == "unsubscribe"
               ? ""
               : "UNSUBSCRIBE was not confirmed";
  });
  const bool done = co_await send_all() && co_await receive_all();
  if (resp3_ && done && world_.findings.pushes == pushes_before) co_return true;
  co_return done;
}

void RedisClient::add(std::vector<std::string> arguments, Check check) {
  const std::vector<std::string_view> views(arguments.begin(), arguments.end());
  resp::append_request(out_, views);
  std::string request;
  for (const std::string& argument : arguments)
    request += argument.substr(0, 40) + " ";
  expected_.push_back({.request = std::move(request),
                       .sent = loop_.now(),
                       .expires_at = expires_at_,
                       .check = std::move(check)});
}

void RedisClient::add_any_request() {
  const std::uint64_t choice = random_.below(100);
  if (rights_.role == "guest" && choice >= 60) return add_forbidden();
  if (choice < 45) return add_view_read();
  if (choice < 55) return add_views_read();
  if (choice < 60) {
    const std::string tag = new_tag();
    return add({"PING", tag},
               [tag](const Value& value) { return value.text == tag ? "" : "not its tag"; });
  }
  if (choice < 72) return add_key_write();
  if (choice < 84) return add_key_read();
  if (choice < 88) {
    const std::string tag = new_tag();
    return add({"ECHO", tag}, [tag](const Value& value) {
      return value.text == tag || is_loss(value) ? "" : "not its tag";
    });
  }
  if (choice < 94) return add_transaction(random_.chance(0.5));
  add_forbidden();
}

// "g:3=7,9" for group 3, no row older than its floor.
std::string RedisClient::check_view_text(std::size_t group,
                                         const Floors& floor,
                                         std::string_view text) {
  const std::string name = fmt::format("g:{}=", group);
  if (!text.starts_with(name)) return "the value of another key";
  const std::string_view versions = text.substr(name.size());
  const std::size_t comma = versions.find(',');
  if (comma == std::string_view::npos) return "not a value";
  const std::array<std::string_view, rows_count> parts{versions.substr(0, comma),
                                                       versions.substr(comma + 1)};
  ++world_.findings.view_values;
  for (std::size_t row = 0; row < rows_count; ++row) {
    const auto version = parse_number<std::uint64_t>(parts[row]);
    if (!version) return "not a value";
    if (*version < floor[group][row]) {
      world_.findings.note(
          world_.findings.stale,
          fmt::format(
              "client {} read {} after {} was acknowledged", number_, text, floor[group][row]));
    }
  }
  return "";
}

RedisClient::Check RedisClient::view_value(std::size_t group) {
  return [this, group, floor = world_.acknowledged](const Value& value) -> std::string {
    if (is_loss(value)) return "";
    return check_view_text(group, floor, value.text);
  };
}

void RedisClient::add_view_read() {
  const std::size_t group = random_.below(groups_count);
  const std::string key = fmt::format("g:{}", group);
  switch (random_.below(8)) {
    case 0:
      return add({"HGET", key, "text"}, view_value(group));
    case 1:
      return add({"HLEN", key}, [](const Value& value) {
        return value.integer == 2 || is_loss(value) ? "" : "not two fields";
      });
    case 2:
      if (rights_.role == "worker") {
        return add({"DEL", key}, [](const Value& value) {
          return value.type == Value::Type::integer && value.integer <= 1 ? "" : "not a count";
        });
      }
      break;
    default:
      break;
  }
  add({"GET", key}, view_value(group));
}

void RedisClient::add_views_read() {
  std::vector<std::string> arguments{"MGET"};
  std::vector<std::size_t> groups;
  for (std::uint64_t i = 0; i < 1 + random_.below(4); ++i) {
    groups.push_back(random_.below(groups_count));
    arguments.push_back(fmt::format("g:{}", groups.back()));
  }
  add(std::move(arguments),
      [this, groups, floor = world_.acknowledged](const Value& value) -> std::string {
        if (is_loss(value)) return "";
        if (value.items.size() != groups.size()) return "another number of values";
        for (std::size_t i = 0; i < groups.size(); ++i) {
          const std::string wrong = check_view_text(groups[i], floor, value.items[i].text);
          if (!wrong.empty()) return wrong;
        }
        return "";
      });
}

// "k:1:0=17": the key's own value, of a version that it may have.
std::string RedisClient::check_key_text(const std::string& key, std::string_view text) {
  std::uint64_t version = 0;
  if (!text.empty()) {
    if (!text.starts_with(key + "=")) return "the value of another key";
    version = parse_number<std::uint64_t>(text.substr(key.size() + 1)).value_or(UINT64_MAX);
  }
  ++world_.findings.key_values;
  const auto known = possible_.try_emplace(key, std::set<std::uint64_t>{0}).first;
  return known->second.contains(version) ? "" : "a version that it cannot have";
}

RedisClient::Check RedisClient::key_value(const std::string& key,
                                          bool queued,
                                          std::shared_ptr<Transaction> transaction) {
  return [this, key, queued, transaction](const Value& value) -> std::string {
    if (is_loss(value)) return "";
    if (queued && value.text == "QUEUED") return transaction->open ? "" : "there is no MULTI";
    return value.is_error() ? "an error" : check_key_text(key, value.text);
  };
}

void RedisClient::add_key_read() {
  const std::string key = key_name(random_.below(3));
  add({"GET", key}, key_value(key, false, nullptr));
}

void RedisClient::add_key_write() {
  const std::string key = key_name(random_.below(3));
  const std::uint64_t version = ++next_version_;
  auto& possible = possible_.try_emplace(key, std::set<std::uint64_t>{0}).first->second;
  possible.insert(version);
  add({"SET", key, fmt::format("{}={}", key, version)},
      [&possible, version](const Value& value) -> std::string {
        if (value.is_error()) {
          if (value.text.starts_with("UNKNOWNOUTCOME")) return "";
          possible.erase(version);
          return is_loss(value) ? "" : "an error";
        }
        possible.erase(possible.begin(), possible.find(version));
        return value.text == "OK" ? "" : "not OK";
      });
}

void RedisClient::add_transaction(bool with_publish) {
  const auto transaction = std::make_shared<Transaction>();
  const std::string key = key_name(random_.below(3));
  const std::uint64_t version = ++next_version_;
  auto& possible = possible_.try_emplace(key, std::set<std::uint64_t>{0}).first->second;
  possible.insert(version);
  add({"MULTI"}, [transaction](const Value& value) {
    transaction->open = value.text == "OK";
    return transaction->open || is_loss(value) ? "" : "not OK";
  });
  add({"SET", key, fmt::format("{}={}", key, version)},
      [transaction](const Value& value) -> std::string {
        if (is_loss(value)) return "";
        return value.text == (transaction->open ? "QUEUED" : "OK") ? "" : "not queued";
      });
  if (with_publish) {
    // Not its own: Redis 7.0 would put the message into the middle of EXEC's reply.
    const std::string other = fmt::format("ch:{}", (number_ + 1 + random_.below(7)) % 8);
    add({"PUBLISH", other, other + "|from " + std::to_string(number_)},
        [transaction](const Value& value) -> std::string {
          if (is_loss(value)) return "";
          const bool right =
              transaction->open ? value.text == "QUEUED" : value.type == Value::Type::integer;
          return right ? "" : "not queued";
        });
  }
  add({"GET", key}, key_value(key, true, transaction));
  const std::size_t count = with_publish ? 3 : 2;
  add({"EXEC"},
      [this, transaction, key, version, count, &possible](const Value& value) -> std::string {
        if (is_loss(value)) return "";
        if (!transaction->open) return value.is_error() ? "" : "EXEC without MULTI";
        if (value.items.size() != count) return "another number of replies";
        if (value.items[0].text != "OK") return "SET was not OK";
        possible.erase(possible.begin(), possible.find(version));
        ++world_.findings.transactions;
        return check_key_text(key, value.items.back().text);
      });
}

void RedisClient::add_forbidden() {
  const auto denied = [](const Value& value) {
    return value.is_error() && value.text.starts_with("NOPERM") ? "" : "it was not refused";
  };
  switch (random_.below(5)) {
    case 0:
      return add({"GET", "secret:1"}, denied);
    case 1:
      return add({"FLUSHALL"}, denied);
    case 2:
      return add({"SET", "g:1", "x"}, [](const Value& value) {
        return value.is_error() && value.text.contains("is a view") ? "" : "it was not refused";
      });
    case 3:
      return add({"NOSUCH", "g:1"}, [](const Value& value) {
        return value.is_error() && value.text.starts_with("ERR unknown command")
                   ? ""
                   : "it was not refused";
      });
    default:
      if (rights_.role != "guest") return add({"SET", "ch", "x"}, denied);
      return add({"SET", key_name(0), "x"}, denied);
  }
}

Async<bool> RedisClient::send_all() {
  // The wire splits what is written; now and then the client itself does.
  while (!out_.empty()) {
    const std::size_t size = random_.chance(0.1) ? 1 + random_.below(out_.size()) : out_.size();
    const std::string part = out_.substr(0, size);
    out_.erase(0, size);
    if (auto written = co_await write_all(*stream_, part, loop_.after(patience)); !written) {
      lost();
      co_return false;
    }
    if (!out_.empty()) (void)co_await loop_.sleep(microseconds(random_.below(500)));
  }
  co_return true;
}

Async<bool> RedisClient::receive_all() {
  while (!expected_.empty()) {
    bool push = false;
    const auto reply = co_await next_reply(loop_.after(patience), push);
    if (!reply) co_return false;
    if (!(push ? take_push(*reply) : take_reply(*reply))) co_return false;
  }
  co_return true;
}

// Nothing when the connection is at its end.
Async<std::optional<std::string>> RedisClient::next_reply(Deadline deadline, bool& push) {
  std::array<char, 512> buffer;
  for (;;) {
    std::string_view input = received_;
    while (!input.empty()) {
      const auto piece = framer_.next(input);
      if (!piece) {
        world_.findings.note(world_.findings.misplaced,
                             fmt::format("client {}: what came is no reply", number_));
        co_return std::nullopt;
      }
      reply_ += piece->bytes;
      if (!piece->last) continue;
      push = piece->push;
      received_ = std::string(input);
      co_return std::exchange(reply_, {});
    }
    received_.clear();
    const auto size = co_await read_some(*stream_, buffer, deadline);
    if (!size && size.error().code() == Errc::timeout) {
      world_.findings.note(
          world_.findings.missing,
          fmt::format("client {}: no reply to {}", number_, expected_.front().request));
      co_return std::nullopt;
    }
    if (!size || *size == 0) {
      lost();
      co_return std::nullopt;
    }
    received_.assign(buffer.data(), *size);
  }
}

bool RedisClient::take_push(const std::string& reply) {
  const auto value = resp::parse_value(reply);
  const bool known = value && value->items.size() == 3;
  const std::string_view kind = known ? value->items[0].text : std::string_view();
  if (kind == "subscribe" || kind == "unsubscribe") return take_reply(reply);
  ++world_.findings.pushes;
  const bool mine = kind == "message" && value->items[1].text == channel() &&
                    value->items[2].text.starts_with(channel() + "|");
  if (mine) return true;
  world_.findings.note(world_.findings.misplaced,
                       fmt::format("client {}: a message of another channel", number_));
  return false;
}

bool RedisClient::take_reply(const std::string& reply) {
  const auto value = resp::parse_value(reply);
  if (!value) {
    world_.findings.note(world_.findings.misplaced, "what came is no reply");
    return false;
  }
  // RESP2 has no pushes: a message is an array like others.
  if (!resp3_ && value->items.size() == 3 && value->items[0].text == "message") {
    return take_push(reply);
  }
  ++world_.findings.replies;
  if (is_farewell(*value)) {
    ended_ = true;
    if (was_ended_by_right()) {
      ++world_.findings.cut_off;
    } else {
      world_.findings.note(world_.findings.unexplained,
                           fmt::format("client {} was told: {}", number_, value->text));
    }
    return false;
  }
  const Expected expected = std::move(expected_.front());
  expected_.pop_front();
  if (is_loss(*value)) ++world_.findings.link_losses;
  if (value->is_error() && !is_loss(*value)) ++world_.findings.refusals;
  const bool is_login =
      expected.request.starts_with("AUTH") || expected.request.starts_with("HELLO");
  const bool lasts =
      (!rights_.revoked_at || expected.sent <= *rights_.revoked_at) &&
      (!expected.expires_at || !logged_in_ || is_login ||
       loop_.wall_now() - (loop_.now() - expected.sent) <= *expected.expires_at + expiry_bound);
  const bool warranted = lasts && (logged_in_ || is_login || expected.request.starts_with("RESET"));
  if (is_data(*value) && !warranted && !expected.request.starts_with("RESET")) {
    world_.findings.note(world_.findings.unwarranted,
                         fmt::format("client {} ({}) was answered {}: {}",
                                     number_,
                                     rights_.subject,
                                     expected.request,
                                     words(*value)));
    return true;
  }
  // Behind a login that was refused nothing is answered.
  if (!logged_in_ && value->is_error() && value->text.starts_with("NOAUTH")) return true;
  std::string wrong = expected.check(*value);
  if (wrong.empty()) return true;
  world_.findings.note(
      world_.findings.misplaced,
      fmt::format(
          "client {}: {} was answered {}: {}", number_, expected.request, words(*value), wrong));
  return false;
}

bool RedisClient::was_ended_by_right() const {
  return rights_.revoked_at || (expires_at_ && loop_.wall_now() >= *expires_at_);
}

// The connection has ended; that needs a reason.
void RedisClient::lost() {
  const bool explained = ended_ || was_ended_by_right() || wire_.break_share > 0 ||
                         world_.redis_faults != redis_faults_before_ || world_.stopping;
  if (explained) return;
  world_.findings.note(
      world_.findings.unexplained,
      fmt::format("client {}: the connection ended for no reason, while {} was awaited",
                  number_,
                  expected_.empty() ? "nothing" : expected_.front().request));
}

}  // namespace meridian::testing
