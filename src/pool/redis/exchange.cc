#include "pool/redis/exchange.h"

#include "base/assert.h"
#include "pool/redis/link.h"

#include <utility>

namespace meridian::redis {
namespace {

// A buffer that a large reply left behind is given back rather than kept by an idle visit.
constexpr std::size_t kept_bytes_max = 16 * 1024;

}  // namespace

Exchange::~Exchange() {
  reset();
}

void Exchange::reset() noexcept {
  MERIDIAN_ASSERT(wait_ == nullptr);
  if (link_) link_->forget(*this);
  link_ = nullptr;
  replies_left_ = 0;
  failure_.reset();
  torn_ = part_taken_ = false;
  release_held();
}

void Exchange::release_held() noexcept {
  if (budget_) budget_->remove(held_.size());
  held_.clear();
  whole_size_ = 0;
  if (held_.capacity() > kept_bytes_max) held_.shrink_to_fit();
}

void Exchange::take(std::string& out) {
  if (held_.empty()) return;
  part_taken_ = part_taken_ || held_.size() > whole_size_;
  if (out.empty()) {
    budget_->remove(held_.size());
    out.swap(held_);
    whole_size_ = 0;
  } else {
    out += held_;
    release_held();
  }
  if (link_) link_->on_taken(*this);
}

bool Exchange::enough_for(Until until) const noexcept {
  if (failure_) return true;
  if (until == Until::bytes) return !held_.empty();
  return replies_left_ == 0 || held_.size() >= part_bytes;
}

void Exchange::wake_if_enough() noexcept {
  if (!wait_ || !enough_for(wait_->until_)) return;
  std::exchange(wait_, nullptr)->wake(Wake::ready);
}

void Exchange::hold(std::string_view bytes, bool ends_reply, ReplyBudget& budget) {
  held_ += bytes;
  budget_ = &budget;
  budget.add(bytes.size());
  if (!ends_reply) return;
  whole_size_ = held_.size();
  part_taken_ = false;
}

void Exchange::fail(Error error) noexcept {
  if (failure_) {
    // Of several requests one that may have had an effect decides.
    if (error.code() == Errc::outcome_unknown) failure_ = std::move(error);
    return;
  }
  failure_ = std::move(error);
  link_ = nullptr;
  torn_ = part_taken_;
  if (budget_) budget_->remove(held_.size() - whole_size_);
  held_.resize(whole_size_);
  wake_if_enough();
}

void Exchange::drop(std::string_view limit) {
  release_held();
  fail(Error(Errc::exhausted,
             "the client takes its replies too slowly: those that wait for it exceed " +
                 std::string(limit)));
  torn_ = true;
}

}  // namespace meridian::redis
