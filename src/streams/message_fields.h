#pragma once
// What a field in braces of an ingest rule stands for: something of the payload, or something that
// is known about the message.

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace meridian {

enum class FieldSource : std::uint8_t {
  payload_field,     // {total}, {address.city}, {lines[0].sku}
  payload,           // {meridian.payload}: its bytes.
  producer_subject,  // {meridian.subject}: the verified identity of who published it.
  producer_issuer,
  producer_role,
  request,          // {meridian.request_id}
  message_subject,  // {meridian.message_subject}: of NATS.
  message_token,    // {meridian.token[1]}: a token of that, from 0.
  message_id,       // {meridian.message_id}: Nats-Msg-Id.
  header,           // {meridian.header.Name}
  stream,           // {meridian.stream}
  sequence,         // {meridian.sequence}
  time,             // {meridian.time}: when the stream stored it.
  batch,            // {meridian.batch}: the batch that brought it in.
};

struct MessageField {
  FieldSource source{};
  std::string path{};     // Of the payload's field; a header's name.
  std::size_t token = 0;  // Which token.
  bool may_miss = false;  // {note?}: missing is NULL.
};

// Of the text between the braces. Errors: invalid.
Result<MessageField> parse_message_field(std::string_view text);

}  // namespace meridian
