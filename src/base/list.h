#pragma once
// An intrusive doubly linked list. A node unlinks itself when it ends, so what waits in a list may
// vanish at any time. One thread.

#include "base/assert.h"

#include <cstddef>

namespace meridian {

// Derive from ListNode<Tag>, once for each list that an object can be in.
template <class Tag>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { unlink(); }

  bool linked() const noexcept { return next_ != nullptr; }

  void unlink() noexcept {
    if (!next_) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

 private:
  template <class T, class U>
  friend class List;

  ListNode* previous_ = nullptr;
  ListNode* next_ = nullptr;
};

// T derives from ListNode<Tag>. Holds nothing: the nodes belong to others.
template <class T, class Tag>
class List {
 public:
  List() noexcept { head_.previous_ = head_.next_ = &head_; }
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() {
    clear();
    head_.previous_ = head_.next_ = nullptr;
  }

  bool empty() const noexcept { return head_.next_ == &head_; }

  void push_back(T& item) noexcept {
    ListNode<Tag>& node = item;
    MERIDIAN_ASSERT(!node.linked());
    node.previous_ = head_.previous_;
    node.next_ = &head_;
    head_.previous_->next_ = &node;
    head_.previous_ = &node;
  }

  // Requires !empty().
  T& front() noexcept { return static_cast<T&>(*head_.next_); }

  T& pop_front() noexcept {
    T& item = front();
    static_cast<ListNode<Tag>&>(item).unlink();
    return item;
  }

  void clear() noexcept {
    while (!empty())
      static_cast<ListNode<Tag>&>(front()).unlink();
  }

  // Moves all nodes of `other` to the end of this list.
  void take_all(List& other) noexcept {
    while (!other.empty())
      push_back(other.pop_front());
  }

  // `visit` may unlink or destroy the item that it is given, and no other.
  template <class F>
  void for_each(F&& visit) {
    for (ListNode<Tag>* node = head_.next_; node != &head_;) {
      ListNode<Tag>* const next = node->next_;
      visit(static_cast<T&>(*node));
      node = next;
    }
  }

  std::size_t count() const noexcept {
    std::size_t count = 0;
    for (const ListNode<Tag>* node = head_.next_; node != &head_; node = node->next_)
      ++count;
    return count;
  }

 private:
  ListNode<Tag> head_;
};

}  // namespace meridian
