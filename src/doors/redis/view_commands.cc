#include "doors/redis/view_commands.h"

#include "base/assert.h"

#include <array>
#include <utility>

namespace meridian {

std::optional<ViewCommand> find_view_command(std::string_view name) noexcept {
  constexpr std::array<std::pair<std::string_view, ViewCommand>, 16> commands{{
      {"get", ViewCommand::get},
      {"mget", ViewCommand::mget},
      {"exists", ViewCommand::exists},
      {"strlen", ViewCommand::strlen},
      {"type", ViewCommand::type},
      {"ttl", ViewCommand::ttl},
      {"pttl", ViewCommand::pttl},
      {"hgetall", ViewCommand::hgetall},
      {"hget", ViewCommand::hget},
      {"hmget", ViewCommand::hmget},
      {"hkeys", ViewCommand::hkeys},
      {"hvals", ViewCommand::hvals},
      {"hlen", ViewCommand::hlen},
      {"hexists", ViewCommand::hexists},
      {"del", ViewCommand::forget},
      {"unlink", ViewCommand::forget},
  }};
  for (const auto& [known, command] : commands) {
    if (known == name) return command;
  }
  return std::nullopt;
}

std::optional<std::string_view> ShownValue::field(std::string_view name) const {
  std::optional<std::string_view> found;
  for_each_field([&](std::string_view known, std::string_view text) {
    if (known != name) return true;
    found = text;
    return false;
  });
  return found;
}

void write_view_reply(resp::ReplyWriter& writer,
                      ViewCommand command,
                      const ShownValue& value,
                      std::span<const std::string_view> fields) {
  const auto write_optional = [&](std::optional<std::string_view> text) {
    if (text) {
      writer.bulk(*text);
    } else {
      writer.null();
    }
  };
  switch (command) {
    case ViewCommand::get:
    case ViewCommand::mget:
      if (value.present()) {
        writer.bulk(value.json());
      } else {
        writer.null();
      }
      return;
    case ViewCommand::exists:
    case ViewCommand::forget:
      writer.integer(value.present() ? 1 : 0);
      return;
    case ViewCommand::strlen:
      writer.integer(static_cast<std::int64_t>(value.json().size()));
      return;
    case ViewCommand::type:
      // A view answers to string and to hash commands; its JSON text is what GET gives.
      writer.simple(value.present() ? "string" : "none");
      return;
    case ViewCommand::ttl:
    case ViewCommand::pttl:
      // -1: it does not expire; -2: there is no such key (redis.io, TTL).
      writer.integer(value.present() ? -1 : -2);
      return;
    case ViewCommand::hgetall:
      writer.map(value.fields_count());
      value.for_each_field([&](std::string_view name, std::string_view text) {
        writer.bulk(name);
        writer.bulk(text);
        return true;
      });
      return;
    case ViewCommand::hkeys:
    case ViewCommand::hvals:
      writer.array(value.fields_count());
      value.for_each_field([&](std::string_view name, std::string_view text) {
        writer.bulk(command == ViewCommand::hkeys ? name : text);
        return true;
      });
      return;
    case ViewCommand::hlen:
      writer.integer(static_cast<std::int64_t>(value.fields_count()));
      return;
    case ViewCommand::hget:
      write_optional(value.field(fields.front()));
      return;
    case ViewCommand::hmget:
      writer.array(fields.size());
      for (const std::string_view field : fields)
        write_optional(value.field(field));
      return;
    case ViewCommand::hexists:
      writer.integer(value.field(fields.front()) ? 1 : 0);
      return;
  }
}

}  // namespace meridian
