// Headers, INFO and CONNECT of anybody do no harm, and no line of a header block has a bare CR, LF
// or NUL; subjects: subset and overlap never contradict matching.

#include "base/assert.h"
#include "wire/nats/handshake.h"
#include "wire/nats/headers.h"
#include "wire/nats/subject.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace {

using namespace meridian::nats;

void check_headers(std::string_view bytes) {
  std::string lines;
  const auto done = each_header(bytes, [&](const HeaderLine& line) {
    lines += line.raw;
    for (const std::string_view part : {line.name, line.value})
      MERIDIAN_ASSERT(part.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos);
  });
  if (!done) return;
  // All lines but the first and the last were seen.
  MERIDIAN_ASSERT(bytes.ends_with(lines + "\r\n"));
}

void check_handshake(std::string_view bytes) {
  if (const auto info = parse_info(bytes)) {
    std::string line;
    append_info(line, *info);
    const std::string_view json = std::string_view(line).substr(5, line.size() - 8);
    MERIDIAN_ASSERT(parse_info(json).has_value());
    MERIDIAN_ASSERT(line.find_first_of("\r\n") == line.size() - 2);
  }
  if (const auto options = parse_connect(bytes, 4'096)) {
    std::string line;
    append_connect(line, *options);
    MERIDIAN_ASSERT(line.find_first_of("\r\n") == line.size() - 2);
  }
}

// Three subjects on a line each.
void check_subjects(std::string_view bytes) {
  const std::size_t first = bytes.find('\n');
  if (first == std::string_view::npos) return;
  const std::size_t second = bytes.find('\n', first + 1);
  if (second == std::string_view::npos) return;
  const std::string_view a = bytes.substr(0, first);
  const std::string_view b = bytes.substr(first + 1, second - first - 1);
  const std::string_view subject = bytes.substr(second + 1);
  (void)matches(a, subject);
  if (!is_pattern(a) || !is_pattern(b)) return;
  MERIDIAN_ASSERT(is_subset(a, a) && overlaps(a, a) && overlaps(a, b) == overlaps(b, a));
  const bool in_a = matches(a, subject);
  const bool in_b = matches(b, subject);
  if (is_subset(a, b)) MERIDIAN_ASSERT(!in_a || in_b);
  if (!overlaps(a, b)) MERIDIAN_ASSERT(!in_a || !in_b);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_headers(bytes);
  check_handshake(bytes);
  check_subjects(bytes);
  return 0;
}
