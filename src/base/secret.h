#pragma once
// Secret: text that must not reach a log, an error or a core dump. It is wiped when it ends,
// cannot be printed, and is compared in constant time.

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace meridian {

// Overwrites memory in a way that the compiler keeps.
void wipe(char* data, std::size_t size) noexcept;

// The time taken depends on the sizes alone.
bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}
  Secret(Secret&& other) noexcept : text_(std::move(other.text_)) { other.clear(); }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      clear();
      text_ = std::move(other.text_);
      other.clear();
    }
    return *this;
  }
  Secret(const Secret&) = default;
  Secret& operator=(const Secret& other) {
    if (this != &other) {
      clear();
      text_ = other.text_;
    }
    return *this;
  }
  ~Secret() { clear(); }

  // The one way out, so that every use can be found. Valid while the Secret lives unchanged.
  std::string_view reveal() const noexcept { return text_; }
  bool empty() const noexcept { return text_.empty(); }

  friend bool operator==(const Secret& a, const Secret& b) noexcept {
    return equal_in_constant_time(a.text_, b.text_);
  }

 private:
  // The whole capacity, because a short text that was moved away leaves its bytes behind.
  void clear() noexcept {
    text_.resize(text_.capacity());
    wipe(text_.data(), text_.size());
    text_.clear();
  }

  std::string text_;
};

}  // namespace meridian
