#include "pool/redis/login.h"

#include "base/escape.h"
#include "pool/redis/link.h"
#include "wire/resp/encoder.h"
#include "wire/resp/reply_framer.h"
#include "wire/resp/value.h"

#include <array>
#include <utility>
#include <vector>

namespace meridian::redis {
namespace {

// The bytes of a request that holds the password. They are wiped when it ends.
class SecretRequest {
 public:
  SecretRequest() = default;
  SecretRequest(const SecretRequest&) = delete;
  SecretRequest& operator=(const SecretRequest&) = delete;
  ~SecretRequest() { wipe(bytes.data(), bytes.size()); }

  std::string bytes;
};

// HELLO (redis.io/commands/hello) does in one round trip what AUTH and CLIENT SETNAME do in three.
void append_hello(SecretRequest& request,
                  resp::Protocol protocol,
                  const RedisLogin& login,
                  std::string_view client_name) {
  std::vector<std::string_view> words{"HELLO", protocol == resp::Protocol::resp2 ? "2" : "3"};
  if (!login.password.empty()) {
    words.insert(words.end(), {"AUTH", login.user, login.password.reveal()});
  }
  words.insert(words.end(), {"SETNAME", client_name});
  // Room for all of it, so that growing leaves no copy behind.
  std::size_t size = request.bytes.size();
  for (const std::string_view word : words)
    size += word.size() + 32;
  std::string grown;
  grown.reserve(size);
  grown = request.bytes;
  wipe(request.bytes.data(), request.bytes.size());
  request.bytes = std::move(grown);
  resp::append_request(request.bytes, words);
}

// The server's refusal, in terms of what the operator can do.
std::unexpected<Error> refused(std::string_view text) {
  const auto with = [&](Errc code, std::string_view advice) {
    return fail(code, "Redis refused the login: " + escape(text) + std::string(advice));
  };
  if (text.starts_with("WRONGPASS") || text.starts_with("NOAUTH")) {
    return with(Errc::unauthenticated, " (check the user and password of the Redis server)");
  }
  if (text.starts_with("NOPERM") || text.starts_with("DENIED")) return with(Errc::denied, "");
  if (text.starts_with("ERR max number of clients")) return with(Errc::exhausted, "");
  if (text.starts_with("ERR unknown command") || text.starts_with("NOPROTO")) {
    return with(Errc::invalid, " (Redis 6 or newer is needed)");
  }
  return with(Errc::unavailable, "");
}

Result<std::string> read_hello(std::string_view reply, resp::Protocol protocol) {
  MERIDIAN_TRY(const resp::Value value, resp::parse_value(reply));
  if (value.is_error()) return refused(value.text);
  const resp::Value* const spoken = value.find("proto");
  if (!spoken || spoken->integer != std::to_underlying(protocol)) {
    return fail(Errc::invalid, "Redis answered HELLO with another protocol version than asked for");
  }
  const resp::Value* const version = value.find("version");
  return version && version->is_text() ? escape(version->text, 32) : "unknown";
}

Async<Result<std::string>> read_reply(Stream& stream, Deadline deadline) {
  resp::ReplyFramer framer;
  std::string reply;
  std::array<char, 4'096> buffer;
  for (;;) {
    MERIDIAN_CO_TRY(const std::size_t size, co_await read_some(stream, buffer, deadline));
    if (size == 0) co_return fail(Errc::unavailable, "Redis closed the connection at the login");
    std::string_view input(buffer.data(), size);
    MERIDIAN_CO_TRY(const resp::ReplyFramer::Piece piece, framer.next(input));
    reply += piece.bytes;
    if (reply.size() > greeting_bytes_max) {
      co_return fail(Errc::invalid,
                     "the reply to the login exceeds greeting_bytes_max=" +
                         std::to_string(greeting_bytes_max));
    }
    if (!piece.last) continue;
    if (!input.empty())
      co_return fail(Errc::invalid, "Redis sent more than the reply to the login");
    co_return reply;
  }
}

// Whole replies one by one. Requires that `bytes` are whole replies.
Result<std::vector<std::string_view>> cut_replies(std::string_view bytes) {
  std::vector<std::string_view> replies;
  resp::ReplyFramer framer;
  while (!bytes.empty()) {
    MERIDIAN_TRY(const resp::ReplyFramer::Piece piece, framer.next(bytes));
    replies.push_back(piece.bytes);
  }
  return replies;
}

}  // namespace

Async<Result<std::string>> log_in(Stream& stream,
                                  resp::Protocol protocol,
                                  RedisLogin login,
                                  std::string_view client_name,
                                  Deadline deadline) {
  SecretRequest hello;
  append_hello(hello, protocol, login, client_name);
  MERIDIAN_CO_CHECK(co_await write_all(stream, hello.bytes, deadline));
  MERIDIAN_CO_TRY(const std::string reply, co_await read_reply(stream, deadline));
  co_return read_hello(reply, protocol);
}

Async<Result<void>> reset_link(Link& link,
                               resp::Protocol protocol,
                               RedisLogin login,
                               std::string_view client_name,
                               std::string nonce,
                               Deadline deadline) {
  constexpr std::uint32_t replies_count = 4;
  SecretRequest request;
  resp::append_request(request.bytes, {"RESET"});
  append_hello(request, protocol, login, client_name);
  // Redis 7.0 forgets to reset it; a server that does not know it answers an error, and is clean.
  resp::append_request(request.bytes, {"CLIENT", "NO-EVICT", "OFF"});
  resp::append_request(request.bytes, {"ECHO", nonce});
  std::string echoed;
  resp::ReplyWriter(echoed, protocol).bulk(nonce);

  Exchange exchange;
  link.set_owner(exchange);
  link.request(exchange, request.bytes, Effect::reads, replies_count);
  link.wipe_when_sent();
  std::string answers;
  while (!answers.ends_with(echoed)) {
    const Wake wake = co_await exchange.bytes(deadline);
    MERIDIAN_CO_CHECK(to_result(wake, "Redis to reset a connection"));
    if (exchange.failed()) co_return std::unexpected(exchange.failure());
    exchange.take(answers);
    if (answers.size() > greeting_bytes_max) {
      co_return fail(Errc::invalid, "a connection that was to be reset sends on and on");
    }
  }
  // Messages of subscriptions may come first. Then exactly these four.
  MERIDIAN_CO_TRY(const std::vector<std::string_view> replies, cut_replies(answers));
  if (replies.size() < replies_count || replies[replies.size() - replies_count] != "+RESET\r\n") {
    co_return fail(Errc::invalid, "Redis did not reset a connection");
  }
  MERIDIAN_CO_CHECK(read_hello(replies[replies.size() - 3], protocol));
  if (exchange.replies_left() != 0) {
    co_return fail(Errc::invalid, "Redis owes replies on a connection that was reset");
  }
  co_return Result<void>();
}

}  // namespace meridian::redis
