// The redis door's requests for views.

#include "base/escape.h"
#include "doors/redis/visit.h"

#include <fmt/format.h>
#include <utility>

namespace meridian {

RedisVisit::Next RedisVisit::take_view_request(ViewCommand command,
                                               const resp::Request& request,
                                               std::span<const resp::KeyUse> keys,
                                               const resp::KeyUse& use,
                                               const ViewKey& seen) {
  // While Redis owes replies, or has the visit's connection, those come first.
  if (redis_owes()) return Next::settle;
  if (in_transaction_) {
    transaction_failed_ = true;
    reply_error("ERR views cannot be read inside of MULTI: they are rows, not keys of Redis");
    return Next::go_on;
  }
  const Action action = command == ViewCommand::forget ? Action::forget : Action::read;
  if (keys.size() == 1 && command != ViewCommand::mget && command != ViewCommand::exists &&
      command != ViewCommand::forget) {
    const Decision decision = Gate::decide(*principal_, DoorName::redis, action, seen.text);
    if (!decision.allowed) return deny(action, seen.text, decision.rule);
    return read_one(command, seen, request.arguments.subspan(2));
  }
  const auto& set = shared_.view_set.get();
  std::vector<ViewKey> found;
  found.reserve(keys.size());
  for (const resp::KeyUse& each : keys) {
    const auto key = &each == &use ? std::optional(seen) : set->find(request.arguments[each.index]);
    if (!key) {
      reply_error("ERR the keys of one command must all be views, or none of them");
      return Next::go_on;
    }
    const Decision decision = Gate::decide(*principal_, DoorName::redis, action, key->text);
    if (!decision.allowed) return deny(action, key->text, decision.rule);
    found.push_back(*key);
  }
  return command == ViewCommand::forget ? forget(found) : read_many(command, found);
}

bool RedisVisit::note_view_read(const ViewKey& key, bool hit) {
  shared_.view_reads.add();
  return note_read(key.view->name, key.text, hit ? trail::KeyRead::hit : trail::KeyRead::miss);
}

RedisVisit::Next RedisVisit::read_one(ViewCommand command,
                                      const ViewKey& key,
                                      std::span<const std::string_view> fields) {
  if (const Entry* const entry = shared_.parts.views.hit(key)) {
    if (!note_view_read(key, true)) return Next::leave;
    reply([&](resp::ReplyWriter& writer) {
      write_view_reply(writer, command, ShownValue(*entry), fields);
    });
    return Next::go_on;
  }
  if (!note_view_read(key, false)) return Next::leave;
  Owed owed{.command = command, .passengers = {}, .ready = {}, .fields = {}, .text = {}};
  owed.since = shared_.parts.loop.now();
  owed.fields.assign(fields.begin(), fields.end());
  owed.passengers.push_back(shared_.parts.views.board(key));
  owed_.push_back(std::move(owed));
  return Next::go_on;
}

// MGET and EXISTS: what is there is taken at once, what is not is asked for all together.
RedisVisit::Next RedisVisit::read_many(ViewCommand command, const std::vector<ViewKey>& keys) {
  Owed owed{.command = command, .passengers = {}, .ready = {}, .fields = {}, .text = {}};
  owed.since = shared_.parts.loop.now();
  for (const ViewKey& key : keys) {
    const Entry* const entry = shared_.parts.views.hit(key);
    if (!note_view_read(key, entry != nullptr)) return Next::leave;
    std::string ready;
    if (!entry) {
      owed.passengers.push_back(shared_.parts.views.board(key));
    } else {
      owed.passengers.push_back(nullptr);
      if (command == ViewCommand::exists) {
        owed.counted += entry->present() ? 1 : 0;
      } else {
        resp::ReplyWriter writer(ready, protocol_);
        write_view_reply(writer, ViewCommand::get, ShownValue(*entry), {});
      }
    }
    owed.ready.push_back(std::move(ready));
  }
  owed_.push_back(std::move(owed));
  return Next::go_on;
}

// DEL and UNLINK: the kept value is dropped; the row is not touched.
RedisVisit::Next RedisVisit::forget(const std::vector<ViewKey>& keys) {
  const trail::RecordContext context{visit_.id(), visit_.request()};
  for (const ViewKey& key : keys) {
    if (!shared_.parts.trail.add_write(context, "FORGET", key.text)) return Next::leave;
  }
  shared_.parts.trail.flush_writes();
  visit_.counters.writes += keys.size();
  std::int64_t count = 0;
  for (const ViewKey& key : keys) {
    count += shared_.parts.views.forget(key) ? 1 : 0;
  }
  reply([&](resp::ReplyWriter& writer) { writer.integer(count); });
  return Next::go_on;
}

Async<bool> RedisVisit::settle_views() {
  if (owed_.empty()) co_return true;
  const Deadline deadline = shared_.parts.loop.after(shared_.parts.limits.request_timeout);
  std::vector<Owed> owed = std::exchange(owed_, {});
  std::string text;
  for (Owed& one : owed) {
    if (one.passengers.empty()) {
      text += one.text;
      continue;
    }
    // All of a reply's values, or one error in its place.
    std::optional<Error> failure;
    for (const auto& passenger : one.passengers) {
      if (!passenger) continue;
      if (passenger->result) continue;
      const Wake wake = co_await passenger->landed.wait(deadline);
      if (wake == Wake::cancelled) co_return false;
      if (wake == Wake::timeout) failure = Error(Errc::timeout, "the view's query took too long");
    }
    for (const auto& passenger : one.passengers) {
      if (passenger && passenger->result && !*passenger->result)
        failure = passenger->result->error();
    }
    shared_.miss_seconds.observe(shared_.parts.loop.now() - one.since);
    resp::ReplyWriter writer(text, protocol_);
    if (failure) {
      writer.error(fmt::format(
          "{} {}",
          failure->code() == Errc::invalid || failure->code() == Errc::denied ? "ERR" : "TRYAGAIN",
          failure->detail()));
      continue;
    }
    if (one.command == ViewCommand::exists) {
      std::int64_t count = one.counted;
      for (const auto& passenger : one.passengers) {
        if (passenger && (**passenger->result)->present) ++count;
      }
      writer.integer(count);
    } else if (one.command == ViewCommand::mget) {
      writer.array(one.passengers.size());
      for (std::size_t i = 0; i < one.passengers.size(); ++i) {
        if (one.passengers[i]) {
          write_view_reply(writer, ViewCommand::get, ShownValue(***one.passengers[i]->result), {});
        } else {
          text += one.ready[i];
        }
      }
    } else {
      const std::vector<std::string_view> fields(one.fields.begin(), one.fields.end());
      write_view_reply(writer, one.command, ShownValue(***one.passengers.front()->result), fields);
    }
  }
  // A message of the visit's own link may have begun meanwhile.
  co_return co_await between_messages() && co_await send(text);
}

}  // namespace meridian
