#pragma once
// For fuzz targets: a text of a given normalised form, with one literal of each class in the place
// of all.

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace meridian::postgres {

// No string stands behind UESCAPE; such a one is kept as it is.
inline bool keeps_no_string(std::string_view form) {
  constexpr std::string_view word = "uescape";
  return std::ranges::search(form, word, [](char a, char b) { return (a | 0x20) == b; }).empty();
}

// The literals stay themselves beside whatever can stand beside their placeholder. Requires
// keeps_no_string(form).
inline std::string sample_of(std::string_view form) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> samples = {{
      {"{int4}", "1"},
      {"{int8}", "3000000000"},
      {"{numeric}", ".5"},
      {"{string}", "$$x$$"},
      {"{bits}", "B'1'"},
      {"{hex}", "X'1'"},
  }};
  std::string text;
  while (!form.empty()) {
    std::size_t taken = 0;
    for (const auto& [placeholder, sample] : samples) {
      if (!form.starts_with(placeholder)) continue;
      // Right behind a word or a number, a dollar would belong to it.
      const bool behind_word = !text.empty() && (text.back() == '_' || text.back() == '$' ||
                                                 static_cast<unsigned char>(text.back()) >= 0x80 ||
                                                 (text.back() >= '0' && text.back() <= '9') ||
                                                 (text.back() >= 'a' && text.back() <= 'z') ||
                                                 (text.back() >= 'A' && text.back() <= 'Z'));
      text += placeholder == "{string}" && behind_word ? "'x'" : sample;
      taken = placeholder.size();
    }
    // Quoted names are kept whole: braces in them are no placeholders.
    if (taken == 0 && form[0] == '"') {
      const std::size_t close = form.find('"', 1);
      taken = close == std::string_view::npos ? form.size() : close + 1;
      text += form.substr(0, taken);
    }
    if (taken == 0) text += form[taken++];
    form.remove_prefix(taken);
  }
  return text;
}

}  // namespace meridian::postgres
