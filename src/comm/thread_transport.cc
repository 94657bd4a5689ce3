#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>

#include "base/error.h"
#include "comm/transport.h"

namespace cria {
namespace {

/// One side of a message: bytes to read (a send) or to fill (a receive).
struct Post {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  size_t size = 0;
  bool done = false, wrong_size = false;
};

/// Where sends and receives meet. Whoever comes second copies, under the lock.
struct Mailroom {
  struct Box {
    std::deque<Post*> sends, receives;
  };
  using Key = std::tuple<int, int, int>;  // from, to, channel
  std::mutex mutex;
  std::map<Key, Box> boxes;
  bool failed = false;

  void match(Box& box) {
    while (!box.sends.empty() && !box.receives.empty()) {
      Post &s = *box.sends.front(), &r = *box.receives.front();
      box.sends.pop_front();
      box.receives.pop_front();
      if (s.size != r.size) {
        s.wrong_size = r.wrong_size = true;
      } else {
        if (s.size > 0) std::memcpy(r.to, s.from, s.size);
        s.done = r.done = true;
      }
    }
  }
};

class ThreadTransfer : public Transfer {
 public:
  ThreadTransfer(Mailroom& room, Mailroom::Key key, Post post)
      : room_(room), key_(key), post_(post) {
    const std::lock_guard lock(room_.mutex);
    Mailroom::Box& box = room_.boxes[key_];
    (post_.to != nullptr ? box.receives : box.sends).push_back(&post_);
    room_.match(box);
  }
  ~ThreadTransfer() override {
    const std::lock_guard lock(room_.mutex);
    Mailroom::Box& box = room_.boxes[key_];
    std::erase(box.sends, &post_);
    std::erase(box.receives, &post_);
  }
  bool done() override {
    const std::lock_guard lock(room_.mutex);
    require<RankDied>(!post_.wrong_size,
                      "a message from rank {} to rank {} has another size than the "
                      "{} bytes agreed on",
                      std::get<0>(key_), std::get<1>(key_), post_.size);
    require<RankDied>(post_.done || !room_.failed, "another rank of this run failed");
    return post_.done;
  }

 private:
  struct RankDied : Error {
    explicit RankDied(const std::string& m) : Error(ExitCode::rank_died, m) {}
  };
  Mailroom& room_;
  Mailroom::Key key_;
  Post post_;
};

class ThreadTransport : public Transport {
 public:
  ThreadTransport(Mailroom& room, int rank, int size) : room_(room), rank_(rank), size_(size) {}
  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return size_; }
  std::unique_ptr<Transfer> send(int peer, int channel, std::span<const std::byte> bytes) override {
    const Post post{.from = bytes.data(), .size = bytes.size()};
    return std::make_unique<ThreadTransfer>(room_, Mailroom::Key{rank_, peer, channel}, post);
  }
  std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) override {
    static std::byte nowhere;  // marks a receive of nothing as a receive
    const Post post{.to = bytes.empty() ? &nowhere : bytes.data(), .size = bytes.size()};
    return std::make_unique<ThreadTransfer>(room_, Mailroom::Key{peer, rank_, channel}, post);
  }
  void abort(int /*exit_code*/) override {}

 private:
  Mailroom& room_;
  int rank_, size_;
};

}  // namespace

std::unique_ptr<Transport> self_transport() {
  struct Alone : Mailroom, ThreadTransport {
    Alone() : ThreadTransport(static_cast<Mailroom&>(*this), 0, 1) {}
  };
  return std::make_unique<Alone>();
}

void run_as_threads(int ranks, const std::function<void(Transport&)>& body) {
  Mailroom room;
  std::exception_ptr first;
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadTransport transport(room, rank, ranks);
      try {
        body(transport);
      } catch (...) {
        const std::lock_guard lock(room.mutex);
        if (!first) first = std::current_exception();
        room.failed = true;
      }
    });
  }
  threads.clear();
  if (first) std::rethrow_exception(first);
}

}  // namespace cria
