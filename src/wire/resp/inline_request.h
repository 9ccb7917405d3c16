#pragma once
// Inline requests: a line of words as a person types them, "SET greeting \"hello\\n\"".

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::resp {

// Where an argument lies in its request's bytes.
struct Extent {
  std::size_t offset = 0;
  std::size_t size = 0;
};

// Splits a line, given without its end, as redis-server does: words stand between blanks; inside
// double quotes \n \r \t \b \a \\ \" and \xHH are escapes; inside single quotes \' alone is. The
// words go to `text`, one behind the other, and `words` says where each is. False when a quote is
// not closed or is not followed by a blank; what is in both is unspecified then.
bool split_inline(std::string_view line, std::string& text, std::vector<Extent>& words);

}  // namespace meridian::resp
