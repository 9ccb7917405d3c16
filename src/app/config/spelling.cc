#include "app/config/spelling.h"

#include "base/escape.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace meridian::config {
namespace {

// Longer words are no slips of ours, and the distance costs the product of two sizes.
constexpr std::size_t word_size_max = 64;

// A shorter word is the beginning of too much.
constexpr std::size_t beginning_size_min = 4;

char fold(char c) noexcept {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  return c == '-' ? '_' : c;
}

// Edits between two words, two swapped neighbours counting once (optimal string alignment).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_previous(b.size() + 1);
  std::vector<std::size_t> previous(b.size() + 1);
  std::vector<std::size_t> current(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    previous[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const char left = fold(a[i - 1]);
      const char right = fold(b[j - 1]);
      current[j] = std::min({previous[j] + 1,
                             current[j - 1] + 1,
                             previous[j - 1] + static_cast<std::size_t>(left != right)});
      const bool swapped =
          i > 1 && j > 1 && left == fold(b[j - 2]) && right == fold(a[i - 2]) && left != right;
      if (swapped) current[j] = std::min(current[j], before_previous[j - 2] + 1);
    }
    before_previous.swap(previous);
    previous.swap(current);
  }
  return previous[b.size()];
}

}  // namespace

std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > word_size_max) return {};
  std::string_view best;
  // One slip in short words, a third of the letters in long ones.
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > word_size_max) continue;
    const std::size_t found = distance(word, candidate);
    if (found < best_distance && found < candidate.size()) {
      best = candidate;
      best_distance = found;
    }
  }
  if (!best.empty() || word.size() < beginning_size_min) return best;
  for (const std::string_view candidate : candidates) {
    if (!candidate.starts_with(word)) continue;
    if (!best.empty()) return {};  // Of two, nobody knows which.
    best = candidate;
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  const std::string_view nearest = nearest_word(word, candidates);
  return nearest.empty() ? std::string() : "; did you mean " + quote(nearest) + "?";
}

std::string list_words(std::span<const std::string_view> words,
                       std::string_view last_separator,
                       std::size_t count_max) {
  std::string text;
  const bool cut = words.size() > count_max;
  const std::size_t shown = cut ? count_max : words.size();
  for (std::size_t i = 0; i < shown; ++i) {
    if (i > 0) text += !cut && i + 1 == shown ? last_separator : ", ";
    text += words[i];
  }
  if (cut) text += ", ... (" + std::to_string(words.size()) + " in all)";
  return text;
}

}  // namespace meridian::config
