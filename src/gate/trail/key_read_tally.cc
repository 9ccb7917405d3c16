#include "gate/trail/key_read_tally.h"

namespace meridian::trail {

// Strings keep their memory from one flush to the next.
void KeyReadTally::View::begin(std::string_view view_name) {
  name.assign(view_name);
  reads_count = hits_count = misses_count = other_reads_count = 0;
  keys_count = 0;
}

void KeyReadTally::View::count(std::string_view key, KeyRead outcome) {
  ++reads_count;
  if (outcome == KeyRead::hit) ++hits_count;
  if (outcome == KeyRead::miss) ++misses_count;
  const Text bounded(key);
  // Keys of one view are alike in size and beginning: most differ in their last byte.
  const char last = bounded.bytes.empty() ? '\0' : bounded.bytes.back();
  for (std::size_t i = 0; i < keys_count; ++i) {
    if (keys[i].last != last) continue;
    if (keys[i].text == bounded.bytes && keys[i].cut == bounded.cut) {
      ++keys[i].reads_count;
      return;
    }
  }
  if (keys_count == keys_max) {
    ++other_reads_count;
    return;
  }
  Key& place = keys[keys_count++];
  place.text.assign(bounded.bytes);
  place.last = last;
  place.cut = bounded.cut;
  place.reads_count = 1;
}

Result<void> KeyReadTally::read(std::string_view view, std::string_view key, KeyRead outcome) {
  if (!writer_.has_room()) [[unlikely]] {
    MERIDIAN_CHECK(writer_.ready());
  }
  const std::string_view bounded = Text(view).bytes;
  for (std::size_t i = 0; i < views_count_; ++i) {
    View& place = (*views_)[i];
    if (place.name != bounded) continue;
    place.count(key, outcome);
    return {};
  }
  MERIDIAN_TRY(View * place, begin(bounded));
  place->count(key, outcome);
  return {};
}

Result<KeyReadTally::View*> KeyReadTally::begin(std::string_view view) {
  if (!views_) views_ = std::make_unique<std::array<View, views_max>>();
  if (views_count_ == views_max) {
    MERIDIAN_CHECK(flush());
  }
  View& place = (*views_)[views_count_++];
  place.begin(view);
  return &place;
}

Result<void> KeyReadTally::flush() {
  const Time now = writer_.loop().now();
  while (views_count_ > 0) {
    const View& view = (*views_)[views_count_ - 1];
    KeyReads record{.view = view.name,
                    .reads_count = view.reads_count,
                    .hits_count = view.hits_count,
                    .misses_count = view.misses_count,
                    .keys = {},
                    .other_reads_count = view.other_reads_count,
                    .interval = now - since_};
    for (std::size_t i = 0; i < view.keys_count; ++i) {
      KeyCount count{.key = view.keys[i].text, .reads_count = view.keys[i].reads_count};
      count.key.cut = view.keys[i].cut;
      record.keys.push_back(count);
    }
    MERIDIAN_CHECK(writer_.append(context_, record));
    --views_count_;
  }
  since_ = now;
  return {};
}

}  // namespace meridian::trail
