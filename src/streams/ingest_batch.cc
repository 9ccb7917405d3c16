#include "streams/ingest_batch.h"

#include "base/escape.h"
#include "gate/trail/digest.h"
#include "wire/nats/subject.h"

#include <chrono>
#include <cstring>
#include <memory_resource>
#include <set>
#include <utility>

namespace meridian {
namespace {

constexpr std::string_view message_id = "Nats-Msg-Id";

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace

IngestMessage::IngestMessage(Delivery given) : delivery(std::move(given)) {
  place = {.sequence = delivery.sequence, .time = delivery.time};
}

std::string to_timestamp(std::int64_t nanoseconds) {
  return to_rfc3339(WallTime(std::chrono::floor<std::chrono::microseconds>(Duration(nanoseconds))));
}

bool IngestBatch::any_dead() const noexcept {
  for (const IngestMessage& message : messages_) {
    if (message.fate == Fate::dead) return true;
  }
  return false;
}

std::vector<StreamPlace> IngestBatch::places() const {
  std::vector<StreamPlace> places;
  places.reserve(messages_.size());
  for (const IngestMessage& message : messages_)
    places.push_back(message.place);
  return places;
}

void IngestBatch::put(std::string_view value) {
  values_.push_back({.begin = bytes_.size(), .size = value.size()});
  bytes_ += value;
}

void IngestBatch::read(const Rule& rule,
                       PayloadReader& fields,
                       const std::vector<ParameterKind>& kinds,
                       std::string_view batch_name,
                       const StampMac* mac) {
  fields_count_ = rule.fields().size();
  values_.clear();
  values_.reserve(fields_count_ * messages_.size());
  bytes_.clear();
  for (std::size_t i = 0; i < messages_.size(); ++i) {
    IngestMessage& message = messages_[i];
    message.fate = Fate::row;  // Also of one that was tried before.
    // Views into the delivery are made here, where the message no longer moves.
    message.id = find_header(message.delivery.headers(), message_id).value_or("");
    message.producer = {};
    auto producer = parse_producer({.headers = message.delivery.headers(),
                                    .subject = message.delivery.subject(),
                                    .message_id = message.id,
                                    .payload = message.delivery.payload()},
                                   mac);
    if (producer) {
      message.producer = *std::move(producer);
      const std::string refusal = rule.refusal(message.producer);
      if (!refusal.empty()) message.bury("unauthorised", refusal);
    } else if (rule.settings().identity_required) {
      message.bury("unauthorised", producer.error().detail());
    }
    const std::vector<json::Field>* found = nullptr;
    if (message.fate == Fate::row && fields.count() > 0) {
      auto read = fields.read(message.delivery.payload());
      if (read) {
        found = *read;
      } else {
        message.bury("unreadable", read.error().detail());
      }
    }
    std::size_t path = 0;
    for (std::size_t field = 0; field < fields_count_; ++field) {
      const MessageField& wanted = rule.fields()[field];
      const bool of_payload = wanted.source == FieldSource::payload_field;
      const std::size_t at = of_payload ? path++ : 0;
      if (message.fate != Fate::row) {
        put_null();
        continue;
      }
      const std::size_t before = values_.size();
      auto read = read_value(
          rule, i, wanted, kinds[field], of_payload ? &(*found)[at] : nullptr, batch_name);
      if (read) continue;
      values_.resize(before);
      put_null();
      message.bury("unreadable", read.error().detail());
    }
  }
}

Result<void> IngestBatch::read_value(const Rule& rule,
                                     std::size_t index,
                                     const MessageField& field,
                                     ParameterKind kind,
                                     const json::Field* found,
                                     std::string_view batch_name) {
  const IngestMessage& message = messages_[index];
  const Delivery& delivery = message.delivery;
  const auto put_or_null = [&](std::string_view value) {
    value.empty() ? put_null() : put(value);
    return Result<void>();
  };
  switch (field.source) {
    case FieldSource::payload_field:
      break;
    case FieldSource::payload:
      put(delivery.payload());
      return {};
    case FieldSource::producer_subject:
      return put_or_null(message.producer.subject);
    case FieldSource::producer_issuer:
      return put_or_null(message.producer.issuer);
    case FieldSource::producer_role:
      return put_or_null(message.producer.role);
    case FieldSource::request:
      return put_or_null(message.producer.request);
    case FieldSource::message_subject:
      return put_or_null(delivery.subject());
    case FieldSource::message_token: {
      std::string_view rest = delivery.subject();
      std::string_view token;
      for (std::size_t i = 0; i <= field.token; ++i)
        token = rest.empty() ? std::string_view() : nats::take_token(rest);
      if (token.empty() && !field.may_miss) {
        return fail(Errc::invalid, "its subject has no token " + std::to_string(field.token));
      }
      return put_or_null(token);
    }
    case FieldSource::message_id:
      return put_or_null(message.id);
    case FieldSource::header: {
      const auto value = find_header(delivery.headers(), field.path);
      if (!value && !field.may_miss) {
        return fail(Errc::invalid, "it has no header " + field.path);
      }
      value ? put(*value) : put_null();
      return {};
    }
    case FieldSource::stream:
      return put_or_null(rule.settings().stream);
    case FieldSource::sequence:
      put(std::to_string(delivery.sequence));
      return {};
    case FieldSource::time:
      put(to_timestamp(delivery.time));
      return {};
    case FieldSource::batch:
      put(batch_name);
      return {};
  }
  if (found->kind == json::FieldKind::missing) {
    if (!field.may_miss) return fail(Errc::invalid, "the payload has no " + quote(field.path));
    put_null();
    return {};
  }
  if (found->kind == json::FieldKind::null) {
    put_null();
    return {};
  }
  if (kind == ParameterKind::json) {
    put(found->raw);
    return {};
  }
  if (found->kind == json::FieldKind::bytes) {
    put(kind == ParameterKind::bytes ? found->text : found->alternative);
    return {};
  }
  if (found->kind == json::FieldKind::enumeration) {
    put(kind == ParameterKind::number ? found->alternative : found->text);
    return {};
  }
  const bool takes_list = kind == ParameterKind::array || kind == ParameterKind::number_array;
  if (takes_list && found->kind == json::FieldKind::array) {
    const bool numbers = kind == ParameterKind::number_array && !found->alternative.empty();
    auto array = json::to_sql_array(numbers ? found->alternative : found->raw);
    if (!array) return fail_while(field.path, array.error());
    put(*array);
    return {};
  }
  if (found->kind == json::FieldKind::object || found->kind == json::FieldKind::array) {
    return fail(Errc::invalid,
                quote(field.path) + " is an " + std::string(to_string(found->kind)) +
                    ", and the column takes " + (takes_list ? "an array" : "a plain value"));
  }
  // A text of the database has no NUL.
  if (found->text.contains('\0')) {
    return fail(Errc::invalid, quote(field.path) + " has a NUL character in it");
  }
  put(found->text);
  return {};
}

std::optional<IngestBatch::Ids> IngestBatch::hash_ids(std::string_view space) {
  bool any = false;
  for (const IngestMessage& message : messages_)
    any = any || !message.id.empty();
  if (!any) return std::nullopt;
  Ids ids;
  trail::Sha256 sha;
  // Freed as a whole: an allocation a message costs as much as its hash.
  std::pmr::monotonic_buffer_resource memory(messages_.size() * 64);
  std::pmr::set<std::pair<std::string_view, std::int64_t>> seen(&memory);
  std::string text;
  for (IngestMessage& message : messages_) {
    if (message.id.empty()) {
      ids.ids.add_null();
      ids.payloads.add_null();
      continue;
    }
    const auto payload_digest = sha.digest(bytes_of(message.delivery.payload()));
    std::int64_t payload = 0;
    std::memcpy(&payload, payload_digest.data(), sizeof payload);
    // One with another payload goes to the database too, which knows whose the id is: perhaps its
    // own, from an earlier batch.
    if (!seen.emplace(message.id, payload).second) {
      message.fate = Fate::duplicate;
      ids.ids.add_null();
      ids.payloads.add_null();
      continue;
    }
    text = space;
    text += '\0';
    text += message.id;
    const auto digest = sha.digest(bytes_of(text));
    ids.ids.add(std::string_view(reinterpret_cast<const char*>(digest.data()), 16));
    ids.payloads.add(payload);
  }
  return ids;
}

BinaryArray IngestBatch::column(std::size_t field,
                                ParameterKind kind,
                                const std::vector<std::size_t>& of) const {
  BinaryArray array(kind == ParameterKind::bytes ? oid::bytea : oid::text);
  for (const std::size_t message : of)
    array.add_or_null(value(message, field));
  return array;
}

std::optional<std::string_view> IngestBatch::value(std::size_t message, std::size_t field) const {
  const Span& span = values_[message * fields_count_ + field];
  if (span.null) return std::nullopt;
  return std::string_view(bytes_).substr(span.begin, span.size);
}

}  // namespace meridian
