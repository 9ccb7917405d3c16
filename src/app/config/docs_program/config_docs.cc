// Writes what the setting table says for people: config_docs reference|example, to standard output.
// script/docs runs it.

#include "app/config/documentation.h"

#include <cstdio>
#include <string>
#include <string_view>

int main(int count, char** arguments) {
  const std::string_view what = count == 2 ? arguments[1] : "";
  std::string text;
  if (what == "reference") {
    text = meridian::config::reference_page();
  } else if (what == "example") {
    text = meridian::config::example_file();
  } else {
    std::fputs("usage: config_docs reference|example\n", stderr);
    return 2;
  }
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
}
