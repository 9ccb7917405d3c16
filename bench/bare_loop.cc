// The least that a server on sockets can do, as a floor beside what a door takes. Threads that each
// wait with epoll, take a connection's bytes with one recv and answer with one send; nothing is
// understood.
//
//   bare_loop answer LISTEN_PORT THREADS REPLY   one REPLY (its \r and \n escaped) for each '*'
//   received:
//                                                a Redis server that need not look anything up
//   bare_loop relay LISTEN_PORT THREADS SOCKET   bytes handed to a Unix socket and back: a pooler
//   in
//                                                session mode that need not read them
//
// Prints "ready" when it listens, and ends with its standard input.

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

constexpr std::size_t buffer_size = 16 * 1024;  // What a door reads at once.
constexpr int events_max = 64;
constexpr int backlog = 512;

[[noreturn]] void stop(const char* what) {
  std::fprintf(stderr, "bare_loop: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

// One side of a connection; what it receives goes to `other`, or is answered where there is none.
struct Side {
  int file = -1;
  Side* other = nullptr;
};

class Worker {
 public:
  Worker(std::string reply, std::string target)
      : epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        reply_(std::move(reply)),
        target_(std::move(target)) {
    if (epoll_ < 0) stop("epoll_create1");
  }

  // Any thread.
  void take(int client) {
    auto* near = new Side{client, nullptr};
    if (!target_.empty()) {
      near->other = new Side{connect_to_target(), near};
      watch(*near->other);
    }
    watch(*near);
  }

  [[noreturn]] void run() {
    std::array<epoll_event, events_max> events{};
    while (true) {
      const int count = ::epoll_wait(epoll_, events.data(), events_max, -1);
      if (count < 0 && errno != EINTR) stop("epoll_wait");
      for (int i = 0; i < count; ++i)
        serve(*static_cast<Side*>(events[static_cast<std::size_t>(i)].data.ptr));
    }
  }

 private:
  int connect_to_target() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (target_.size() >= sizeof(address.sun_path)) stop("the socket's path is too long");
    std::ranges::copy(target_, address.sun_path);
    const int file = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0) stop("socket");
    if (::connect(file, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
      stop("connect");
    return file;
  }

  void watch(Side& side) const {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = &side}};
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, side.file, &event) != 0) stop("epoll_ctl");
  }

  void serve(Side& side) {
    if (side.file < 0) return;  // Its other side ended among the same events.
    const ssize_t count = ::recv(side.file, buffer_.data(), buffer_.size(), 0);
    if (count <= 0) return end(side);
    if (side.other != nullptr)
      return send_all(*side.other, {buffer_.data(), static_cast<std::size_t>(count)});
    answers_.clear();
    for (auto left = std::count(buffer_.data(), buffer_.data() + count, '*'); left > 0; --left)
      answers_ += reply_;
    send_all(side, answers_);
  }

  // A blocking send: a client that does not read stops its loop, which is none of a floor's
  // concern.
  void send_all(Side& side, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(side.file, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return end(side);
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  // The sides stay in memory: events of this round may name them still, and a bench has few.
  static void end(Side& side) {
    for (Side* each : {&side, side.other}) {
      if (each == nullptr || each->file < 0) continue;
      ::close(each->file);
      each->file = -1;
    }
  }

  int epoll_;
  std::string reply_;
  std::string target_;
  std::string answers_;
  std::array<char, buffer_size> buffer_{};
};

std::string unescaped(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      ++i;
      result += text[i] == 'r' ? '\r' : text[i] == 'n' ? '\n' : text[i];
    } else {
      result += text[i];
    }
  }
  return result;
}

int listen_on(std::uint16_t port) {
  const int file = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (file < 0) stop("socket");
  const int yes = 1;
  ::setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(file, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) stop("bind");
  if (::listen(file, backlog) != 0) stop("listen");
  return file;
}

}  // namespace

int main(int count, char** words) {
  const std::string_view kind = count == 5 ? words[1] : "";
  if (kind != "answer" && kind != "relay") {
    std::fputs("bare_loop answer PORT THREADS REPLY | bare_loop relay PORT THREADS SOCKET\n",
               stderr);
    return 2;
  }
  const int listener = listen_on(static_cast<std::uint16_t>(std::atoi(words[2])));
  std::vector<std::unique_ptr<Worker>> workers;
  for (int i = 0; i < std::max(1, std::atoi(words[3])); ++i) {
    workers.push_back(kind == "answer" ? std::make_unique<Worker>(unescaped(words[4]), "")
                                       : std::make_unique<Worker>("", words[4]));
    std::thread([worker = workers.back().get()] { worker->run(); }).detach();
  }
  std::thread([listener, &workers] {
    for (std::size_t next = 0;; next = (next + 1) % workers.size()) {
      const int client = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) stop("accept4");
      const int yes = 1;
      ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
      workers[next]->take(client);
    }
  }).detach();
  std::puts("ready");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  std::_Exit(0);
}
