#include "wire/nats/handshake.h"

#include "wire/json/reader.h"
#include "wire/json/writer.h"

#include <algorithm>

namespace meridian::nats {
namespace {

constexpr std::size_t info_size_max = 65'536;

std::string string_or_empty(const json::Value& object, std::string_view name) {
  const json::Value* const member = object.find(name);
  if (!member) return {};
  return std::string(member->string().value_or(""));
}

bool is_true(const json::Value& object, std::string_view name) {
  const json::Value* const member = object.find(name);
  return member && member->boolean().value_or(false);
}

std::int64_t integer_or(const json::Value& object, std::string_view name, std::int64_t otherwise) {
  const json::Value* const member = object.find(name);
  return member ? member->integer().value_or(otherwise) : otherwise;
}

char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool equal_names(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, {}, to_lower, to_lower);
}

Result<void> take(const json::Value& value, std::string_view name, bool& into) {
  const auto read = value.boolean();
  if (!read) return fail(Errc::invalid, std::string(name) + " is not true or false");
  into = *read;
  return {};
}

Result<void> take(const json::Value& value, std::string_view name, std::string& into) {
  const auto read = value.string();
  if (!read) return fail(Errc::invalid, std::string(name) + " is not a string");
  into = *read;
  return {};
}

Result<void> take(const json::Value& value, std::string_view name, Secret& into) {
  std::string text;
  MERIDIAN_CHECK(take(value, name, text));
  into = Secret(std::move(text));
  return {};
}

Result<void> take(const json::Value& value, std::string_view name, std::int64_t& into) {
  const auto read = value.integer();
  if (!read) return fail(Errc::invalid, std::string(name) + " is not a whole number");
  into = *read;
  return {};
}

}  // namespace

Result<ServerInfo> parse_info(std::string_view text) {
  MERIDIAN_TRY(const json::Value object, json::parse(text, {.size_max = info_size_max}));
  if (!object.object()) return fail(Errc::invalid, "INFO is not an object");
  ServerInfo info;
  info.server_id = string_or_empty(object, "server_id");
  info.server_name = string_or_empty(object, "server_name");
  info.version = string_or_empty(object, "version");
  info.go = string_or_empty(object, "go");
  info.host = string_or_empty(object, "host");
  info.port = static_cast<std::uint16_t>(
      std::clamp<std::int64_t>(integer_or(object, "port", 0), 0, UINT16_MAX));
  info.proto = integer_or(object, "proto", 0);
  info.max_payload = integer_or(object, "max_payload", info.max_payload);
  info.client_id =
      static_cast<std::uint64_t>(std::max<std::int64_t>(integer_or(object, "client_id", 0), 0));
  info.client_ip = string_or_empty(object, "client_ip");
  info.nonce = string_or_empty(object, "nonce");
  info.headers = is_true(object, "headers");
  info.jetstream = is_true(object, "jetstream");
  info.auth_required = is_true(object, "auth_required");
  info.tls_required = is_true(object, "tls_required");
  info.tls_available = is_true(object, "tls_available");
  info.lame_duck = is_true(object, "ldm");
  return info;
}

void append_info(std::string& out, const ServerInfo& info) {
  json::Writer writer;
  writer.begin_object()
      .member("server_id", info.server_id)
      .member("server_name", info.server_name)
      .member("version", info.version)
      .name("proto")
      .integer(info.proto)
      .member("go", info.go)
      .member("host", info.host)
      .name("port")
      .integer(info.port)
      .name("headers")
      .boolean(info.headers);
  const auto add_flag = [&](std::string_view name, bool value) {
    if (value) writer.name(name).boolean(true);
  };
  add_flag("auth_required", info.auth_required);
  add_flag("tls_required", info.tls_required);
  add_flag("tls_available", info.tls_available);
  writer.name("max_payload").integer(info.max_payload);
  add_flag("jetstream", info.jetstream);
  if (info.client_id != 0) {
    writer.name("client_id").integer(static_cast<std::int64_t>(info.client_id));
  }
  if (!info.client_ip.empty()) writer.member("client_ip", info.client_ip);
  if (!info.nonce.empty()) writer.member("nonce", info.nonce);
  add_flag("ldm", info.lame_duck);
  writer.end_object();
  out += "INFO ";
  out += writer.take();
  out += " \r\n";
}

Result<ConnectOptions> parse_connect(std::string_view text,
                                     std::size_t size_max,
                                     ConnectOptions given) {
  MERIDIAN_TRY(const json::Value object, json::parse(text, {.size_max = size_max}));
  if (object.is_null()) return given;
  if (!object.object()) return fail(Errc::invalid, "CONNECT is not an object");
  const auto take_member = [&](std::string_view name, auto& into) -> Result<void> {
    const json::Value* found = nullptr;
    for (const json::Member& member : *object.object()) {
      if (!equal_names(member.name, name)) continue;
      // Which of them counts is not for us to guess.
      if (found) return fail(Errc::invalid, std::string(name) + " is there twice");
      found = &member.value;
    }
    if (!found || found->is_null()) return {};
    return take(*found, name, into);
  };
  MERIDIAN_CHECK(take_member("verbose", given.verbose));
  MERIDIAN_CHECK(take_member("pedantic", given.pedantic));
  MERIDIAN_CHECK(take_member("echo", given.echo));
  MERIDIAN_CHECK(take_member("headers", given.headers));
  MERIDIAN_CHECK(take_member("no_responders", given.no_responders));
  MERIDIAN_CHECK(take_member("protocol", given.protocol));
  MERIDIAN_CHECK(take_member("name", given.name));
  MERIDIAN_CHECK(take_member("lang", given.language));
  MERIDIAN_CHECK(take_member("version", given.version));
  MERIDIAN_CHECK(take_member("user", given.user));
  MERIDIAN_CHECK(take_member("auth_token", given.auth_token));
  MERIDIAN_CHECK(take_member("pass", given.password));
  MERIDIAN_CHECK(take_member("jwt", given.jwt));
  return given;
}

void append_connect(std::string& out, const ConnectOptions& options) {
  json::Writer writer;
  writer.begin_object()
      .name("verbose")
      .boolean(options.verbose)
      .name("pedantic")
      .boolean(options.pedantic)
      .name("tls_required")
      .boolean(false)
      .name("echo")
      .boolean(options.echo)
      .name("headers")
      .boolean(options.headers)
      .name("no_responders")
      .boolean(options.no_responders)
      .name("protocol")
      .integer(options.protocol);
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) writer.member(name, value);
  };
  add("name", options.name);
  add("lang", options.language);
  add("version", options.version);
  add("user", options.user);
  add("proxy_sig", options.proxy_signature);
  add("auth_token", options.auth_token.reveal());
  add("pass", options.password.reveal());
  add("jwt", options.jwt.reveal());
  writer.end_object();
  out += "CONNECT ";
  out += writer.take();
  out += "\r\n";
}

}  // namespace meridian::nats
