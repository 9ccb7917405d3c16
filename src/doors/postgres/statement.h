#pragma once
// What a node knows of the statements that clients send: their shape for the trail, and whether
// they are proven to leave all rows alone, so that their acknowledgement need not wait for the
// feed.
//
// Never confidently wrong: what is not understood is taken to write. No security boundary; that is
// the database's own.

#include "base/hash.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "runtime/published.h"
#include "timeline/read_only_catalog.h"
#include "wire/postgres/sql/analysis.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace meridian {

// True when no statement of the analysis can change a row.
bool is_proven_read_only(const postgres::Analysis& analysis, const ReadOnlyCatalog& catalog);

// What statements that differ in literals alone have in common. Immutable but for the proof, which
// is made again when the catalogue changes.
struct StatementShape {
  std::uint64_t fingerprint = 0;
  std::string text;                   // Without literals; for the trail.
  bool known = false;                 // The text was understood.
  bool may_commit_unflushed = false;  // It may change synchronous_commit.
  bool copies = false;                // COPY from or to the client.
  bool listens = false;               // It asks for messages, which may come at any time.
  bool resets_settings = false;       // RESET or DISCARD ALL: settings go back to the server's own.
  bool turns_writable = false;        // It may lift the read-only mode of a session.
  postgres::Analysis analysis;

  bool proven = false;  // As of proven_at.
  std::uint64_t proven_at = UINT64_MAX;
};

// For what is no text, or one that is not looked at: it may do anything.
StatementShape make_opaque_shape(std::string_view text);

// Knows the statements of one loop. A shape is good until the next call of classify().
class StatementClassifier {
 public:
  // The oldest half goes when there are more, or when they take more memory. That is an estimate.
  static constexpr std::size_t shapes_max = 8'192;
  static constexpr std::size_t shapes_bytes_max = std::size_t{16} << 20;
  static constexpr std::size_t text_bytes_max = 64 * 1024;  // Longer texts are not looked at.

  // `bytes_known` counts what the shapes take; it may be shared with other loops.
  explicit StatementClassifier(const Published<ReadOnlyCatalog>& catalog,
                               Gauge* bytes_known = nullptr);

  struct Classified {
    std::shared_ptr<StatementShape> shape;
    RequestId request;  // From a traceparent comment; or nil.
  };

  // `strings` is what '...' means in the session.
  Classified classify(std::string_view sql, postgres::StringSyntax strings);

  // What is said of a text that is not looked at.
  Classified opaque() const { return {.shape = opaque_, .request = {}}; }

  StatementShape& opaque_shape() const noexcept { return *opaque_; }

  // Whether it is proven by the catalogue of now, which is that of the timeline's database: what is
  // done in others changes nothing that a view depends on, and need not be asked about.
  bool proven_read_only(StatementShape& shape);

  std::size_t count() const noexcept { return shapes_.size(); }
  std::size_t bytes() const noexcept { return bytes_ + older_bytes_; }

 private:
  struct KeyHash {
    std::size_t operator()(const Hash128& key) const noexcept { return key.low; }
  };
  using Shapes = std::unordered_map<Hash128, std::shared_ptr<StatementShape>, KeyHash>;

  std::shared_ptr<StatementShape> make_shape(std::string_view sql,
                                             std::string_view normalised,
                                             postgres::StringSyntax strings) const;
  std::shared_ptr<StatementShape> find_or_make(const Hash128& key,
                                               std::string_view sql,
                                               postgres::StringSyntax strings);
  void forget_older();

  Shapes shapes_;
  Shapes older_;  // Those of before the last time that shapes_ was full.
  std::size_t bytes_ = 0;
  std::size_t older_bytes_ = 0;
  Gauge* bytes_known_;
  std::string normalised_;
  std::shared_ptr<StatementShape> opaque_;
  Published<ReadOnlyCatalog>::Reader catalog_;
};

}  // namespace meridian
