#pragma once
// How far a rule has come in its stream: a floor up to which every message is done, and which of
// those beyond it are.
//
// Pure bookkeeping. A consumer that begins behind the floor delivers in order, so what was
// delivered for the first time says that nothing before it is still to come.

#include <cstddef>
#include <cstdint>
#include <deque>

namespace meridian {

// A message's place: a sequence is used again when a stream has lost its end, a pair is not.
struct StreamPlace {
  std::uint64_t sequence = 0;
  std::int64_t time = 0;  // Nanoseconds since 1970, when the stream stored it.
  friend bool operator==(const StreamPlace&, const StreamPlace&) = default;
};

class Progress {
 public:
  Progress() = default;
  explicit Progress(StreamPlace floor) : floor_(floor) {}

  // Known from before to be done.
  void restore(StreamPlace place);

  enum class Arrival : std::uint8_t {
    fresh,      // To be worked on.
    under_way,  // It came before and is being worked on.
    done,       // Its effect is committed.
    reused,     // Another message had this sequence; this one is to be worked on.
  };
  Arrival arrive(StreamPlace place);

  // Its effect is committed. Requires that it arrived.
  void finish(std::uint64_t sequence);

  // The last place up to which all is done.
  StreamPlace floor() const noexcept { return floor_; }
  // The first sequence behind the floor that is not known to be done.
  std::uint64_t first_open() const noexcept;
  // Nothing is left of what the stream has up to there. Requires idle().
  void advance(StreamPlace place);

  bool idle() const noexcept { return under_way_ == 0; }
  std::size_t under_way() const noexcept { return under_way_; }
  // Places that are remembered beyond the floor.
  std::size_t ahead() const noexcept { return places_.size(); }

 private:
  struct Entry {
    StreamPlace place;
    bool done = false;
  };

  std::deque<Entry>::iterator find(std::uint64_t sequence);
  void raise_floor();

  StreamPlace floor_;
  std::deque<Entry> places_;  // By sequence.
  // The highest sequence that arrived. What was done before, is not above it and does not come
  // again has left the stream.
  std::uint64_t newest_ = 0;
  std::size_t under_way_ = 0;
};

}  // namespace meridian
