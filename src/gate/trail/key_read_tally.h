#pragma once
// Gathers what one visit reads by key, so that a read costs a count and not a record.
//
//   MERIDIAN_CO_CHECK(tally.read("order", "order:1", KeyRead::hit));
//
// The owner, a visit's fibre, calls flush() each interval and before visit_ended. Between two
// flushes four views, or patterns, have a place; a fifth flushes by itself. Costs an idle visit
// nothing but itself: places are made at the first read.
//
// What was read is recorded after it was read. So that nothing is read that could not be recorded,
// a read fails as soon as the trail is known to take no more.

#include "base/ids.h"
#include "base/result.h"
#include "gate/trail/trail_writer.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace meridian::trail {

enum class KeyRead : std::uint8_t { hit, miss, neither };  // neither: the key is of no view.

class KeyReadTally {
 public:
  // `writer` outlives it. Counts from now on.
  KeyReadTally(TrailWriter& writer, RecordContext context)
      : writer_(writer), context_(context), since_(writer.loop().now()) {}

  // `view` is the view's name or the permitted pattern, `key` as the client names it. Errors:
  // exhausted, unavailable: the read must be refused.
  Result<void> read(std::string_view view, std::string_view key, KeyRead outcome);

  // Records what has gathered. Errors: exhausted, unavailable; what was not recorded stays.
  Result<void> flush();

  bool empty() const noexcept { return views_count_ == 0; }

 private:
  static constexpr std::size_t views_max = 4;
  static constexpr std::size_t keys_max = decltype(KeyReads::keys)::count_max;

  struct Key {
    std::string text;
    std::uint64_t reads_count = 0;
    char last = '\0';  // Of the text.
    bool cut = false;
  };
  struct View {
    std::string name;
    std::uint64_t reads_count = 0;
    std::uint64_t hits_count = 0;
    std::uint64_t misses_count = 0;
    std::uint64_t other_reads_count = 0;
    std::array<Key, keys_max> keys;
    std::size_t keys_count = 0;

    void begin(std::string_view view_name);
    void count(std::string_view key, KeyRead outcome);
  };

  // For a view that has no place yet.
  Result<View*> begin(std::string_view view);

  TrailWriter& writer_;
  RecordContext context_;
  Time since_;
  std::unique_ptr<std::array<View, views_max>> views_;
  std::size_t views_count_ = 0;
};

}  // namespace meridian::trail
