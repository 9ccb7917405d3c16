#pragma once
// Which of the known words a misspelt one was meant to be.

#include <span>
#include <string>
#include <string_view>

namespace meridian::config {

// The candidate that the fewest slips (a letter added, left out, replaced, or two swapped) lead to,
// when they are few for the word's size; else the one that the word is the beginning of; else
// empty. Letter case, and - for _, do not count.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates);

// "; did you mean \"postgres\"?", or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

// "a, b or c". Cut after `count_max` words: "a, b, ... (40 in all)".
std::string list_words(std::span<const std::string_view> words,
                       std::string_view last_separator,
                       std::size_t count_max = 24);

}  // namespace meridian::config
