#include "gate/trail/publication_tally.h"

#include <algorithm>

namespace meridian::trail {

// Strings keep their memory from one flush to the next.
void PublicationTally::Rule::begin(std::string_view rule_name) {
  name.assign(rule_name);
  messages_count = bytes = other_messages_count = 0;
  subjects_count = 0;
  requests.clear();
}

bool PublicationTally::Rule::has_room_for(RequestId request) const {
  return request.nil() || requests.size() < requests_max ||
         std::ranges::find(requests, request) != requests.end();
}

void PublicationTally::Rule::count(std::string_view subject, std::uint64_t message_bytes) {
  ++messages_count;
  bytes += message_bytes;
  const Text bounded(subject);
  for (std::size_t i = 0; i < subjects_count; ++i) {
    if (subjects[i].text == bounded.bytes && subjects[i].cut == bounded.cut) {
      ++subjects[i].messages_count;
      return;
    }
  }
  if (subjects_count == subjects_max) {
    ++other_messages_count;
    return;
  }
  Subject& place = subjects[subjects_count++];
  place.text.assign(bounded.bytes);
  place.cut = bounded.cut;
  place.messages_count = 1;
}

Result<void> PublicationTally::count(std::string_view rule,
                                     std::string_view subject,
                                     std::uint64_t bytes,
                                     RequestId request) {
  MERIDIAN_CHECK(writer_.ready());
  MERIDIAN_TRY(Rule * place, find(rule, request));
  place->count(subject, bytes);
  auto& requests = place->requests;
  if (!request.nil() && std::ranges::find(requests, request) == requests.end()) {
    requests.push_back(request);
  }
  return {};
}

Result<PublicationTally::Rule*> PublicationTally::find(std::string_view rule, RequestId request) {
  if (!rules_) rules_ = std::make_unique<std::array<Rule, rules_max>>();
  const std::string_view bounded = Text(rule).bytes;
  for (std::size_t i = 0; i < rules_count_; ++i) {
    if ((*rules_)[i].name != bounded) continue;
    if ((*rules_)[i].has_room_for(request)) return &(*rules_)[i];
    MERIDIAN_CHECK(flush());
  }
  if (rules_count_ == rules_max) {
    MERIDIAN_CHECK(flush());
  }
  // Counted from here on, not from a flush long ago.
  if (rules_count_ == 0) since_ = writer_.loop().now();
  Rule& place = (*rules_)[rules_count_++];
  place.begin(bounded);
  return &place;
}

Result<void> PublicationTally::flush() {
  const Time now = writer_.loop().now();
  while (rules_count_ > 0) {
    const Rule& rule = (*rules_)[rules_count_ - 1];
    std::string requests;
    for (const RequestId& request : rule.requests) {
      if (!requests.empty()) requests += ' ';
      requests += request.to_hex();
    }
    Publications record{.rule = rule.name,
                        .messages_count = rule.messages_count,
                        .bytes = rule.bytes,
                        .subjects = {},
                        .other_messages_count = rule.other_messages_count,
                        .interval = now - since_,
                        .requests = requests};
    for (std::size_t i = 0; i < rule.subjects_count; ++i) {
      SubjectCount count{.key = rule.subjects[i].text,
                         .messages_count = rule.subjects[i].messages_count};
      count.key.cut = rule.subjects[i].cut;
      record.subjects.push_back(count);
    }
    MERIDIAN_CHECK(writer_.append(context_, record));
    --rules_count_;
  }
  return {};
}

}  // namespace meridian::trail
