// The redis door's commands about the session itself: login, protocol, name.

#include "base/escape.h"
#include "base/number.h"
#include "doors/redis/visit.h"

#include <fmt/format.h>
#include <utility>

namespace meridian {
namespace {

using Arguments = std::span<const std::string_view>;

// The version that clients are told: that of the commands which the door understands.
constexpr std::string_view server_version = "7.0.15";

bool is_word(std::string_view argument, std::string_view word) {
  return resp::is_keyword(argument, word);
}

bool same_principal(const Principal& one, const Principal& other) {
  return one.issuer == other.issuer && one.subject == other.subject &&
         one.role_name == other.role_name;
}

}  // namespace

// Nothing when the command is none of these.
std::optional<RedisVisit::Next> RedisVisit::take_session_command(const resp::Request& request) {
  const Arguments arguments = request.arguments;
  const std::string_view name = arguments.front();
  if (name.empty()) return std::nullopt;
  const auto in_turn = [&](auto answer) { return owes() ? Next::settle : answer(); };
  // Told apart by their first letter, so that other commands pass quickly.
  switch (name.front() | 0x20) {
    case 'h':
      if (is_word(name, "hello")) return in_turn([&] { return on_hello(arguments); });
      return std::nullopt;
    case 'a':
      if (is_word(name, "auth")) return in_turn([&] { return on_auth(arguments); });
      return std::nullopt;
    case 'q':
      if (!is_word(name, "quit")) return std::nullopt;
      return in_turn([&] {
        reply_ok();
        visit_.note_end("the client said goodbye");
        return Next::leave;
      });
    case 'r':
      if (!is_word(name, "reset")) return std::nullopt;
      return in_turn([&] { return on_reset(); });
    default:
      break;
  }
  if (!authenticated()) return std::nullopt;
  switch (name.front() | 0x20) {
    case 'c': {
      if (!is_word(name, "client")) return std::nullopt;
      // Tracking is Redis's own, on a link of its own.
      const bool tracks = arguments.size() >= 2 &&
                          (is_word(arguments[1], "tracking") || is_word(arguments[1], "caching") ||
                           is_word(arguments[1], "trackinginfo"));
      if (tracks) return std::nullopt;
      return in_turn([&] { return on_client(arguments); });
    }
    case 's':
      if (!is_word(name, "select")) return std::nullopt;
      return in_turn([&] {
        if (arguments.size() == 2 && arguments[1] == "0") {
          reply_ok();
        } else {
          reply_error("ERR DB index is out of range: this door serves database 0 alone");
        }
        return Next::go_on;
      });
    case 'p':
      if (lease_ || !is_word(name, "ping") || arguments.size() > 2) return std::nullopt;
      return in_turn([&] {
        reply([&](resp::ReplyWriter& writer) {
          if (arguments.size() == 2) {
            writer.bulk(arguments[1]);
          } else {
            writer.simple("PONG");
          }
        });
        return Next::go_on;
      });
    case 'i':
      // Clients ask for it to learn that the server is ready. Who may know about Redis itself asks
      // Redis.
      if (!is_word(name, "info") ||
          Gate::decide(*principal_, DoorName::redis, Action::command, "info").allowed) {
        return std::nullopt;
      }
      return in_turn([&] {
        on_info();
        return Next::go_on;
      });
    default:
      return std::nullopt;
  }
}

RedisVisit::Next RedisVisit::on_reset() {
  act_ = make_act(Act::Kind::reset);
  return Next::act;
}

// As in Redis, also the login is gone. No message may come behind the answer.
Async<bool> RedisVisit::reset() {
  if (!co_await drop_lease()) co_return false;
  if (auto written = reads_.flush(); !written) co_return false;
  protocol_ = resp::Protocol::resp2;
  decoder_.set_authenticated(false);
  registration_ = {};
  principal_.reset();
  slot_ = {};
  unauthenticated_since_ = shared_.parts.loop.now();
  client_name_.clear();
  reply([](resp::ReplyWriter& writer) { writer.simple("RESET"); });
  co_return co_await flush();
}

// HELLO [version [AUTH user token] [SETNAME name]] (redis.io, HELLO).
RedisVisit::Next RedisVisit::on_hello(Arguments arguments) {
  Act wanted = make_act(Act::Kind::log_in);
  wanted.protocol = protocol_;
  std::size_t at = 1;
  if (arguments.size() > at) {
    const auto version = resp::parse_integer(arguments[at]);
    if (!version) {
      reply_error("ERR Protocol version is not an integer or out of range");
      return Next::go_on;
    }
    if (*version != 2 && *version != 3) {
      reply_error("NOPROTO unsupported protocol version");
      return Next::go_on;
    }
    wanted.protocol = *version == 3 ? resp::Protocol::resp3 : resp::Protocol::resp2;
    ++at;
  }
  bool authenticates = false;
  while (at < arguments.size()) {
    const std::size_t left = arguments.size() - at - 1;
    if (is_word(arguments[at], "auth") && left >= 2) {
      wanted.user = arguments[at + 1];
      wanted.token = Secret(std::string(arguments[at + 2]));
      authenticates = true;
      at += 3;
    } else if (is_word(arguments[at], "setname") && left >= 1) {
      wanted.client_name = arguments[at + 1];
      wanted.has_client_name = true;
      at += 2;
    } else {
      reply_error(fmt::format("ERR Syntax error in HELLO option '{}'", escape(arguments[at], 64)));
      return Next::go_on;
    }
  }
  if (!authenticates && !authenticated()) {
    reply_error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "<proto> AUTH "
        "<user> <pass> option can be used to authenticate the client and select the RESP protocol "
        "version at "
        "the same time");
    return Next::go_on;
  }
  if (lease_ && wanted.protocol != protocol_) {
    reply_error("ERR the protocol cannot change inside of a transaction or a subscription");
    return Next::go_on;
  }
  act_ = std::move(wanted);
  return Next::act;
}

// AUTH token, or AUTH user token: the user may name the wanted role (redis.io, AUTH).
RedisVisit::Next RedisVisit::on_auth(Arguments arguments) {
  if (arguments.size() != 2 && arguments.size() != 3) {
    reply_error("ERR wrong number of arguments for 'auth' command");
    return Next::go_on;
  }
  act_ = make_act(Act::Kind::log_in);
  if (arguments.size() == 3) act_.user = arguments[1];
  act_.token = Secret(std::string(arguments.back()));
  return Next::act;
}

Async<bool> RedisVisit::log_in() {
  Act wanted = std::exchange(act_, {});
  if (!wanted.token.empty() || !authenticated()) {
    const std::string role = wanted.user == "default" ? std::string() : wanted.user;
    const Peer peer = visit_.peer();
    const std::vector<std::string> certificate_names = visit_.stream().certificate_names();
    auto admitted = co_await shared_.parts.gate.admit(
        {.request = visit_.request(),
         .visit = visit_.id(),
         .door = DoorName::redis,
         .peer = &peer,
         .wanted_role = role,
         .database = {},
         .certificate_names = certificate_names},
        wanted.token.reveal(),
        shared_.parts.loop.after(shared_.parts.limits.request_timeout));
    if (!admitted) {
      if (admitted.error().code() == Errc::cancelled) co_return false;
      if (admitted.error().code() == Errc::unauthenticated ||
          admitted.error().code() == Errc::denied) {
        reply_error("WRONGPASS " + admitted.error().detail());
      } else {
        reply_error(admitted.error());
      }
      co_return co_await flush();
    }
    // A subscription or a transaction was judged as the principal that it began with, and ends with
    // its rights. The same one may bring a fresh token.
    if (needs_lease() && !same_principal(*principal_, *admitted->principal)) {
      reply_error(
          "ERR another identity cannot log in inside of a transaction or a subscription; "
          "send RESET first");
      co_return co_await flush();
    }
    // Requests from here on are judged as the new principal.
    if (auto written = reads_.flush(); !written) co_return false;
    registration_ = {};
    principal_ = std::move(admitted->principal);
    visit_.let_in();
    slot_ = std::move(admitted->slot);
    registration_ = shared_.parts.registry.add(visit_.id(), DoorName::redis, principal_, *this);
    decoder_.set_authenticated(true);
  }
  if (wanted.has_client_name) client_name_ = wanted.client_name;
  if (!wanted.protocol) {
    reply_ok();
    co_return co_await flush();
  }
  protocol_ = *wanted.protocol;
  reply([&](resp::ReplyWriter& writer) {
    writer.map(7);
    writer.bulk("server");
    writer.bulk("redis");
    writer.bulk("version");
    writer.bulk(server_version);
    writer.bulk("proto");
    writer.integer(static_cast<std::int64_t>(protocol_));
    writer.bulk("id");
    writer.integer(static_cast<std::int64_t>(visit_.id().value()));
    writer.bulk("mode");
    writer.bulk("standalone");
    writer.bulk("role");
    writer.bulk("master");
    writer.bulk("modules");
    writer.array(0);
  });
  co_return co_await flush();
}

RedisVisit::Next RedisVisit::on_client(Arguments arguments) {
  if (arguments.size() < 2) {
    reply_error("ERR wrong number of arguments for 'client' command");
    return Next::go_on;
  }
  const std::string_view verb = arguments[1];
  const auto one_argument = [&] { return arguments.size() == 3; };
  if (is_word(verb, "setname") && one_argument()) {
    if (arguments[2].find_first_of(" \n\r\t") != std::string_view::npos ||
        arguments[2].size() > 256) {
      reply_error("ERR Client names cannot contain spaces, newlines or special characters.");
    } else {
      client_name_ = arguments[2];
      reply_ok();
    }
  } else if (is_word(verb, "getname") && arguments.size() == 2) {
    reply([&](resp::ReplyWriter& writer) {
      if (client_name_.empty()) {
        writer.null();
      } else {
        writer.bulk(client_name_);
      }
    });
  } else if (is_word(verb, "id") && arguments.size() == 2) {
    reply([&](resp::ReplyWriter& writer) {
      writer.integer(static_cast<std::int64_t>(visit_.id().value()));
    });
  } else if (is_word(verb, "info") && arguments.size() == 2) {
    const auto age =
        std::chrono::floor<std::chrono::seconds>(shared_.parts.loop.now() - since_).count();
    const std::string text = fmt::format("id={} addr={} name={} age={} db=0 resp={} user={}",
                                         visit_.id().value(),
                                         visit_.peer().to_string(),
                                         client_name_,
                                         age,
                                         static_cast<int>(protocol_),
                                         principal_->role_name);
    reply([&](resp::ReplyWriter& writer) { writer.verbatim("txt", text); });
  } else if (is_word(verb, "setinfo") && arguments.size() == 4) {
    reply_ok();
  } else if ((is_word(verb, "no-evict") || is_word(verb, "no-touch")) && one_argument()) {
    reply_ok();
  } else {
    reply_error(
        fmt::format("ERR CLIENT {} is not served here; use SETNAME, GETNAME, ID, INFO, SETINFO, "
                    "NO-EVICT, NO-TOUCH or TRACKING",
                    escape(verb, 64)));
  }
  return Next::go_on;
}

void RedisVisit::on_info() {
  const std::string text = fmt::format(
      "# Server\r\nredis_version:{}\r\nredis_mode:standalone\r\n\r\n# "
      "Persistence\r\nloading:0\r\n\r\n"
      "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n",
      server_version);
  reply([&](resp::ReplyWriter& writer) { writer.verbatim("txt", text); });
}

}  // namespace meridian
