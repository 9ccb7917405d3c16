#include "base/metrics.h"

#include "base/assert.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <memory>

namespace meridian {
namespace {

// Label values may hold anything; Prometheus wants \, " and newline escaped.
std::string escape_label(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    if (c == '\\' || c == '"') escaped += '\\';
    if (c == '\n') {
      escaped += "\\n";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string print_labels(const Labels& labels, std::string_view extra = {}) {
  std::string text;
  for (const auto& [name, value] : labels) {
    text += fmt::format("{}{}=\"{}\"", text.empty() ? "" : ",", name, escape_label(value));
  }
  if (!extra.empty()) text += fmt::format("{}{}", text.empty() ? "" : ",", extra);
  return text.empty() ? text : "{" + text + "}";
}

}  // namespace

std::uint64_t Histogram::count() const noexcept {
  std::uint64_t sum = 0;
  for (const Counter& bucket : buckets_)
    sum += bucket.value();
  return sum;
}

Duration Histogram::bound(std::size_t index) noexcept {
  if (index + 1 >= buckets_count) return Duration::max();
  const std::size_t next = index + 1;
  if (next < parts) return std::chrono::microseconds(next);
  const std::size_t doubling = next / parts + 1;
  const std::size_t part = next % parts;
  return std::chrono::microseconds((parts + part) << (doubling - 2));
}

Duration Histogram::quantile(double share) const noexcept {
  const std::uint64_t all = count();
  if (all == 0) return Duration::zero();
  const auto rank = static_cast<std::uint64_t>(share * static_cast<double>(all - 1)) + 1;
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_count; ++i) {
    seen += buckets_[i].value();
    if (seen >= rank) return i + 1 < buckets_count ? bound(i) : bound(i - 1);
  }
  return bound(buckets_count - 2);
}

void Histogram::merge(const Histogram& other) noexcept {
  for (std::size_t i = 0; i < buckets_count; ++i)
    buckets_[i].add(other.buckets_[i].value());
  sum_.add(other.sum_.value());
}

Metrics::Cell& Metrics::make(Kind kind,
                             std::string_view name,
                             std::string_view help,
                             Labels labels) {
  const std::lock_guard lock(mutex_);
  const auto family = std::ranges::find(families_, name, &Family::name);
  if (family == families_.end()) {
    families_.push_back({.kind = kind, .name = std::string(name), .help = std::string(help)});
  } else {
    MERIDIAN_ASSERT(family->kind == kind);
  }
  Cell& cell = cells_.emplace_back();
  cell.kind = kind;
  cell.name = name;
  cell.labels = std::move(labels);
  if (kind == Kind::histogram) cell.histogram = &histograms_.emplace_back();
  return cell;
}

Counter& Metrics::counter(std::string_view name, std::string_view help, Labels labels) {
  return make(Kind::counter, name, help, std::move(labels)).counter;
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, Labels labels) {
  return make(Kind::gauge, name, help, std::move(labels)).gauge;
}

void Metrics::gauge(std::string_view name,
                    std::string_view help,
                    Labels labels,
                    std::function<double()> read) {
  Cell& cell = make(Kind::gauge, name, help, std::move(labels));
  const std::lock_guard lock(mutex_);
  cell.read = std::move(read);
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, Labels labels) {
  return *make(Kind::histogram, name, help, std::move(labels)).histogram;
}

std::uint64_t Metrics::total(std::string_view name, const Labels& labels) const {
  const std::lock_guard lock(mutex_);
  std::uint64_t sum = 0;
  for (const Cell& cell : cells_) {
    if (cell.name != name || (!labels.empty() && cell.labels != labels)) continue;
    sum += cell.kind == Kind::gauge ? static_cast<std::uint64_t>(cell.gauge.value())
                                    : cell.counter.value();
  }
  return sum;
}

void Metrics::merge_into(Histogram& sum, std::string_view name, const Labels& labels) const {
  const std::lock_guard lock(mutex_);
  for (const Cell& cell : cells_) {
    if (cell.name == name && cell.histogram && (labels.empty() || cell.labels == labels)) {
      sum.merge(*cell.histogram);
    }
  }
}

std::string Metrics::to_prometheus() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const Family& family : families_) {
    constexpr std::array kinds{"counter", "gauge", "histogram"};
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n",
                        family.name,
                        family.help,
                        family.name,
                        kinds[static_cast<std::size_t>(family.kind)]);
    std::map<Labels, double> values;
    std::map<Labels, std::unique_ptr<Histogram>> merged;
    for (const Cell& cell : cells_) {
      if (cell.name != family.name) continue;
      if (cell.kind == Kind::histogram) {
        auto& sum = merged[cell.labels];
        if (!sum) sum = std::make_unique<Histogram>();
        sum->merge(*cell.histogram);
      } else if (cell.kind == Kind::counter) {
        values[cell.labels] += static_cast<double>(cell.counter.value());
      } else {
        values[cell.labels] += cell.read ? cell.read() : static_cast<double>(cell.gauge.value());
      }
    }
    for (const auto& [labels, value] : values) {
      text += fmt::format("{}{} {}\n", family.name, print_labels(labels), value);
    }
    for (const auto& [labels, sum] : merged) {
      std::uint64_t seen = 0;
      for (std::size_t i = 0; i < Histogram::buckets_count; ++i) {
        seen += sum->bucket_count(i);
        // One line for each doubling keeps the page short.
        if (i + 1 < Histogram::buckets_count && (i + 1) % Histogram::parts == 0) {
          const double seconds = std::chrono::duration<double>(Histogram::bound(i)).count();
          text += fmt::format("{}_bucket{} {}\n",
                              family.name,
                              print_labels(labels, fmt::format("le=\"{:.9g}\"", seconds)),
                              seen);
        }
      }
      text +=
          fmt::format("{}_bucket{} {}\n", family.name, print_labels(labels, "le=\"+Inf\""), seen);
      text += fmt::format("{}_sum{} {:.9g}\n",
                          family.name,
                          print_labels(labels),
                          std::chrono::duration<double>(sum->sum()).count());
      text += fmt::format("{}_count{} {}\n", family.name, print_labels(labels), seen);
    }
  }
  return text;
}

}  // namespace meridian
