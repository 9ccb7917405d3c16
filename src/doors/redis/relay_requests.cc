// The redis door's requests for Redis itself: who may run what, and on which link.

#include "base/escape.h"
#include "doors/redis/commands.h"
#include "doors/redis/visit.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace meridian {
namespace {

using resp::CommandCategory;
using resp::CommandFlag;

constexpr std::size_t recorded_keys_max = 64;  // Of one command; the rest are counted.

}  // namespace

RedisVisit::Next RedisVisit::deny(Action action, std::string_view resource, std::string_view rule) {
  if (owes()) return Next::settle;
  shared_.denied.add();
  transaction_failed_ = in_transaction_;
  auto recorded = shared_.parts.trail.append(
      {visit_.id(), visit_.request()},
      trail::Denied{
          .door = "redis", .action = to_string(action), .resource = resource, .rule = rule});
  reply_error(fmt::format("NOPERM role {} may not {} {}: {}",
                          principal_->role_name,
                          action == Action::command ? "run" : to_string(action),
                          quote(resource, 128),
                          rule));
  return recorded ? Next::go_on : Next::leave;
}

RedisVisit::Next RedisVisit::relay(const resp::Command& command, const resp::Request& request) {
  const auto arguments = request.arguments;
  std::vector<resp::KeyUse>& keys = shared_.keys;
  const resp::KeysFound found = command.keys(arguments, keys);
  // Views first: they are what most requests are about.
  const auto& views = shared_.view_set.get();
  if (!keys.empty() && !views->empty()) {
    for (const resp::KeyUse& use : keys) {
      const auto view = views->find(arguments[use.index]);
      if (!view) continue;
      if (const auto view_command = find_view_command(command.name)) {
        return take_view_request(*view_command, request, keys, use, *view);
      }
      return refuse_on_view(command, *view);
    }
  }
  if (found == resp::KeysFound::invalid) {
    if (owes()) return Next::settle;
    reply_error("ERR syntax error");
    return Next::go_on;
  }
  const ChannelUse channels = channel_use(command.name);
  const bool by_name = needs_grant(command, found, channels, arguments);
  if (by_name) {
    const Decision decision =
        Gate::decide(*principal_, DoorName::redis, Action::command, command.name);
    if (!decision.allowed) return deny(Action::command, command.name, decision.rule);
  }
  if (const auto next = decide_resources(channels, arguments)) return *next;
  const bool subscribes =
      channels == ChannelUse::subscribe || channels == ChannelUse::subscribe_pattern;
  const std::size_t subscriptions_max = shared_.parts.limits.subscriptions_max;
  if (subscribes && subscriptions_.size() + arguments.size() - 1 > subscriptions_max) {
    if (owes()) return Next::settle;
    reply_error(fmt::format("ERR a connection has at most {} subscriptions", subscriptions_max));
    return Next::go_on;
  }
  const bool shares = !needs_lease() && command.may_share_connection(arguments);
  if (!shares && !owed_.empty()) return Next::settle;
  if (!shares && !lease_) return want(Act::Kind::lease, request);
  if (!lease_) {
    if (!redis_owes()) relayed_at_ = shared_.parts.loop.batch_time();
    link_ = shared_.parts.links.link_for(exchange_, protocol_);
    if (!link_) return want(Act::Kind::link, request);
  }
  if (lease_ && in_transaction_ && transaction_failed_ && command.name == "exec") {
    // As Redis does after a command that it refused: the whole is given up.
    act_ = make_act(Act::Kind::abort_transaction);
    return Next::act;
  }
  if (!record(command, channels, by_name, arguments)) return Next::leave;
  shared_.relayed.add();
  return lease_ ? send_leased(command, request) : send_shared(command, request);
}

// A view has not all commands of a value in Redis, and cannot be written. What stands behind it is
// for who may read it.
RedisVisit::Next RedisVisit::refuse_on_view(const resp::Command& command, const ViewKey& key) {
  const Decision decision = Gate::decide(*principal_, DoorName::redis, Action::read, key.text);
  if (!decision.allowed) return deny(Action::read, key.text, decision.rule);
  if (owes()) return Next::settle;
  transaction_failed_ = in_transaction_;
  const bool writes = std::ranges::any_of(shared_.keys, &resp::KeyUse::writes);
  reply_error(writes ? fmt::format("ERR {} is a view of table {}; change it with SQL",
                                   quote(key.text, 128),
                                   key.view->dependencies.empty()
                                       ? "(none)"
                                       : key.view->dependencies.front().table)
                     : fmt::format("ERR {} is a view and does not answer {}; it answers {}",
                                   quote(key.text, 128),
                                   command.name,
                                   view_commands_text));
  return Next::go_on;
}

// Keyless and dangerous commands are for roles that were granted them by name.
bool RedisVisit::needs_grant(const resp::Command& command,
                             resp::KeysFound found,
                             ChannelUse channels,
                             std::span<const std::string_view> arguments) const {
  if (command.name == "client|tracking") {
    // Broadcasting tells of keys that the role may not read.
    return std::ranges::any_of(
        arguments, [](std::string_view argument) { return resp::is_keyword(argument, "bcast"); });
  }
  if (command.name.starts_with("client|") || is_free_command(command.name)) return false;
  if (channels == ChannelUse::subscribe_pattern) return true;
  if (channels != ChannelUse::none) return false;
  return shared_.keys.empty() || found == resp::KeysFound::some ||
         command.flags.has(CommandFlag::admin) ||
         command.categories.has(CommandCategory::dangerous) ||
         command.categories.has(CommandCategory::scripting);
}

// Keys by what happens to them; channels like keys. Nothing when all is allowed.
std::optional<RedisVisit::Next> RedisVisit::decide_resources(
    ChannelUse channels, std::span<const std::string_view> arguments) {
  const auto refuse = [&](Action action, std::string_view resource) -> std::optional<Next> {
    const Decision decision = Gate::decide(*principal_, DoorName::redis, action, resource);
    if (decision.allowed) return std::nullopt;
    return deny(action, resource, decision.rule);
  };
  for (const resp::KeyUse& use : shared_.keys) {
    const std::string_view key = arguments[use.index];
    if (use.reads()) {
      if (const auto next = refuse(Action::read, key)) return next;
    }
    if (use.writes()) {
      if (const auto next = refuse(Action::write, key)) return next;
    }
  }
  if (channels == ChannelUse::publish) return refuse(Action::write, arguments[1]);
  if (channels == ChannelUse::subscribe) {
    for (const std::string_view channel : arguments.subspan(1)) {
      if (const auto next = refuse(Action::read, channel)) return next;
    }
  }
  return std::nullopt;
}

// Writes gather until take_bytes() has them appended; reads together, and later. False when the
// trail cannot take it.
bool RedisVisit::record(const resp::Command& command,
                        ChannelUse channels,
                        bool by_name,
                        std::span<const std::string_view> arguments) {
  const trail::RecordContext context{visit_.id(), visit_.request()};
  const auto write = [&](std::string_view key) {
    return shared_.parts.trail.add_write(context, command.name, key).has_value();
  };
  std::size_t written = 0;
  for (const resp::KeyUse& use : shared_.keys) {
    const std::string_view key = arguments[use.index];
    if (use.writes()) {
      if (++written <= recorded_keys_max && !write(key)) return false;
    } else if (use.reads()) {
      const Decision decision = Gate::decide(*principal_, DoorName::redis, Action::read, key);
      if (!note_read(decision.rule, key, trail::KeyRead::neither)) return false;
    }
  }
  if (written > recorded_keys_max &&
      !write(fmt::format("(and {} keys more)", written - recorded_keys_max))) {
    return false;
  }
  const bool changes = command.flags.has(CommandFlag::write) || channels == ChannelUse::publish;
  if (changes) ++visit_.counters.writes;
  // What has no key of its own is recorded by its name.
  if (written == 0 && (changes || by_name)) {
    return write(channels == ChannelUse::publish ? arguments[1] : std::string_view());
  }
  return true;
}

RedisVisit::Next RedisVisit::send_shared(const resp::Command& command,
                                         const resp::Request& request) {
  const redis::Effect effect =
      command.flags.has(CommandFlag::write) ? redis::Effect::writes : redis::Effect::reads;
  if (request.is_inline) {
    link_->request(exchange_, to_request_bytes(request), effect);
  } else {
    link_->request(exchange_, request.bytes, effect);
  }
  return Next::go_on;
}

Async<bool> RedisVisit::settle_relay() {
  if (lease_) {
    // Its own fibre passes them on.
    while (lease_ && redis_owes()) {
      if (co_await settled_.wait() != Wake::ready) co_return false;
    }
    co_return true;
  }
  if (!redis_owes()) co_return true;
  const Deadline deadline = shared_.parts.loop.after(shared_.parts.limits.request_timeout);
  std::string text;
  // All may have come while something else was waited for; then it is still to be passed on.
  while (!exchange_.failed() && (exchange_.replies_left() > 0 || !exchange_.held().empty())) {
    const Wake wake = co_await exchange_.answers(deadline);
    if (wake == Wake::cancelled) co_return false;
    text.clear();
    exchange_.take(text);
    if (!co_await send(text)) co_return false;
    if (wake == Wake::timeout && exchange_.replies_left() > 0) {
      visit_.note_end("Redis did not answer within request_timeout");
      co_return false;
    }
  }
  if (!exchange_.held().empty()) {
    text.clear();
    exchange_.take(text);
    if (!co_await send(text)) co_return false;
  }
  shared_.relay_seconds.observe(shared_.parts.loop.now() - relayed_at_);
  if (exchange_.failed()) {
    text.clear();
    exchange_.take(text);
    if (!co_await send(text)) co_return false;
    if (exchange_.torn()) {
      visit_.note_end("a reply of Redis was cut off: " + exchange_.failure().detail());
      co_return false;
    }
    // Each request that got no answer gets this one.
    const Error failure = exchange_.failure();
    const std::uint64_t unanswered = exchange_.replies_left();
    exchange_.reset();
    text.clear();
    resp::ReplyWriter writer(text, protocol_);
    for (std::uint64_t i = 0; i < unanswered; ++i) {
      writer.error(failure.code() == Errc::outcome_unknown
                       ? "UNKNOWNOUTCOME the connection to Redis was lost; the command may have "
                         "been executed"
                       : "TRYAGAIN the connection to Redis was lost; nothing was changed");
    }
    if (!co_await send(text)) co_return false;
  }
  co_return true;
}

// Messages of the visit's own link come at any time, and in parts: a reply of ours goes between
// two.
Async<bool> RedisVisit::between_messages() {
  while (lease_ && !leased_.between()) {
    if (co_await settled_.wait() != Wake::ready) co_return false;
  }
  co_return true;
}

// A request waits for what it needs, a link, and is then looked at again.
RedisVisit::Next RedisVisit::want(Act::Kind kind, const resp::Request& request) {
  if (owes()) return Next::settle;
  act_ = make_act(kind);
  act_.bytes = to_request_bytes(request);
  return Next::act;
}

// Redis is being started, or takes no more at the moment.
Async<bool> RedisVisit::wait_for_link() {
  const std::string bytes = std::move(act_.bytes);
  auto link = co_await shared_.parts.links.wait_for_link(
      exchange_, protocol_, shared_.parts.loop.after(shared_.parts.limits.link_timeout));
  if (!link) {
    if (link.error().code() == Errc::cancelled) co_return false;
    reply_error(Error(link.error().code(), link.error().detail() + "; nothing was changed"));
    co_return co_await flush();
  }
  input_.insert(0, bytes);
  co_return true;
}

Async<bool> RedisVisit::take_lease() {
  std::string bytes = std::move(act_.bytes);
  auto lease = co_await shared_.parts.links.lease(
      protocol_, shared_.parts.loop.after(shared_.parts.limits.lease_timeout));
  if (!lease) {
    if (lease.error().code() == Errc::cancelled) co_return false;
    reply_error(lease.error());
    co_return co_await flush();
  }
  lease_ = std::move(*lease);
  exchange_.reset();
  leased_ = {};
  lease_.link().set_owner(exchange_);
  pump_.emplace(visit_.loop());
  pump_->spawn(pump_lease());
  // The request goes in front of what follows it.
  input_.insert(0, bytes);
  co_return true;
}

RedisVisit::Next RedisVisit::send_leased(const resp::Command& command,
                                         const resp::Request& request) {
  if (exchange_.failed()) return Next::leave;
  const bool queued = in_transaction_ && command.name != "exec" && command.name != "discard";
  const std::size_t replies_count = queued ? 1 : confirmations_of(command, request.arguments);
  const bool subscribed = !subscriptions_.empty();
  note_session_state(command, request.arguments);
  const ChannelUse use = channel_use(command.name);
  const bool by_messages = !queued && use != ChannelUse::none && use != ChannelUse::publish;
  leased_.expect(replies_count, by_messages, subscribed);
  if (monitoring_) leased_.give_up();
  // The link counts what it can tell from messages.
  const bool told_apart = protocol_ == resp::Protocol::resp3 || subscriptions_.empty();
  const bool counted = !by_messages && told_apart && !monitoring_;
  lease_.link().request(
      exchange_,
      to_request_bytes(request),
      command.flags.has(CommandFlag::write) ? redis::Effect::writes : redis::Effect::reads,
      counted ? 1 : 0);
  return Next::go_on;
}

namespace {

// Channels, patterns and sharded channels are apart.
char sort_of(std::string_view name) {
  if (name == "ssubscribe" || name == "sunsubscribe") return 's';
  return name.front() == 'p' ? 'p' : 'c';
}

}  // namespace

// One for each channel; who leaves all gets one for each that there is, and at least one.
std::size_t RedisVisit::confirmations_of(const resp::Command& command,
                                         std::span<const std::string_view> arguments) const {
  const ChannelUse use = channel_use(command.name);
  if (use == ChannelUse::none || use == ChannelUse::publish) return 1;
  if (arguments.size() > 1) return arguments.size() - 1;
  const char sort = sort_of(command.name);
  const auto count = std::ranges::count_if(
      subscriptions_, [sort](const std::string& known) { return known.front() == sort; });
  return std::max<std::size_t>(1, static_cast<std::size_t>(count));
}

void RedisVisit::note_session_state(const resp::Command& command,
                                    std::span<const std::string_view> arguments) {
  const std::string_view name = command.name;
  if (name == "multi") in_transaction_ = true;
  if (name == "exec" || name == "discard")
    in_transaction_ = transaction_failed_ = watching_ = false;
  if (name == "watch") watching_ = true;
  if (name == "unwatch" && !in_transaction_) watching_ = false;
  if (name == "monitor") monitoring_ = true;
  if (name == "client|tracking" && arguments.size() > 2)
    tracking_ = resp::is_keyword(arguments[2], "on");
  const ChannelUse use = channel_use(name);
  if (use == ChannelUse::none || use == ChannelUse::publish) return;
  const bool leaves = use == ChannelUse::unsubscribe;
  const char sort = sort_of(name);
  if (leaves && arguments.size() == 1) {
    std::erase_if(subscriptions_, [&](const std::string& known) { return known.front() == sort; });
  }
  for (const std::string_view channel : arguments.subspan(1)) {
    const std::string known = sort + std::string(channel);
    if (leaves) {
      subscriptions_.erase(known);
    } else {
      subscriptions_.insert(known);
    }
  }
}

bool RedisVisit::needs_lease() const noexcept {
  return in_transaction_ || watching_ || tracking_ || monitoring_ || !subscriptions_.empty() ||
         (lease_ && !leased_.settled());
}

// Passes on all that comes over the visit's own link, as it comes; gives the link back when nothing
// needs it any more.
Async<> RedisVisit::pump_lease() {
  std::string text;
  for (;;) {
    if (co_await exchange_.bytes() != Wake::ready) co_return;
    text.clear();
    exchange_.take(text);
    if (auto passed = leased_.pass(text, !subscriptions_.empty()); !passed) {
      visit_.end("Redis is out of step: " + passed.error().detail());
      co_return;
    }
    if (!text.empty() && !co_await send(text)) {
      visit_.end("the client left");
      co_return;
    }
    if (exchange_.failed()) {
      visit_.end("the connection to Redis was lost: " + exchange_.failure().detail());
      co_return;
    }
    if (!needs_lease() && exchange_.held().empty()) {
      exchange_.reset();
      lease_.give_back();
      lease_ = {};
    }
    settled_.notify_all();
    if (!lease_) co_return;
  }
}

Async<bool> RedisVisit::drop_lease() {
  if (pump_) {
    co_await pump_->close();
    pump_.reset();
  }
  const bool torn = lease_ && !leased_.between();
  if (lease_) {
    exchange_.reset();
    lease_.give_back();
    lease_ = {};
  }
  in_transaction_ = transaction_failed_ = watching_ = tracking_ = monitoring_ = false;
  subscriptions_.clear();
  if (torn) visit_.note_end("a message of Redis was cut off");
  co_return !torn;
}

Async<bool> RedisVisit::abort_transaction() {
  const bool loses_state = tracking_ || !subscriptions_.empty();
  if (!co_await drop_lease()) co_return false;
  reply_error("EXECABORT Transaction discarded because of previous errors.");
  if (!co_await flush()) co_return false;
  if (loses_state) visit_.note_end("a transaction was given up on a connection with subscriptions");
  co_return !loses_state;
}

}  // namespace meridian
