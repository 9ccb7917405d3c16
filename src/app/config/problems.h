#pragma once
// What is wrong with a configuration, all of it in one go, each with its place in the file.

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace meridian::config {

// What reading one value gives; the error is half a sentence that goes on after the setting's path.
template <class T>
using Parsed = std::expected<T, std::string>;

// A line and a column of the file, from 1. Line 0: the file as a whole.
struct Place {
  int line = 0;
  int column = 0;

  friend auto operator<=>(const Place&, const Place&) = default;
};

// "roles" and "checkout" give "roles.checkout". A key that is no plain word stands in quotes.
std::string path_of_key(std::string_view parent, std::string_view key);

// "roles.checkout.bind" and 0 give "roles.checkout.bind[0]".
std::string path_of_item(std::string_view parent, std::size_t index);

struct Problem {
  Place place;
  std::string path;  // Of the setting: "roles.checkout.bind[0].issuer". Empty: the whole file.
  std::string text;
};

class Problems {
 public:
  // More are counted, not kept: whoever has twenty mistakes corrects some and looks again.
  static constexpr std::size_t kept_max = 20;

  void add(Place place, std::string_view path, std::string text);

  bool empty() const noexcept { return count_ == 0; }

  // Whether something was wrong with this very setting, so that what follows from it need not be
  // said too.
  bool has(std::string_view path) const noexcept;

  std::size_t count() const noexcept { return count_; }

  // One line each, in the order of the file: "meridian.yaml:12:9: listen.http: ...".
  std::string to_text(std::string_view file) const;

 private:
  std::vector<Problem> kept_;  // In the order of the file.
  std::size_t count_ = 0;
};

}  // namespace meridian::config
