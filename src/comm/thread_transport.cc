// Ranks as threads of one process, and the rank that is alone. A message is a pointer: the receiver copies from the sender's
// memory and tells it so.
#include <condition_variable>
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

struct Message {
  std::span<const std::byte> bytes;
  bool taken = false;
};

/// Where all ranks put their messages: one queue for each (from, to, channel).
class Mailboxes {
 public:
  using Key = std::tuple<int, int, int>;

  std::shared_ptr<Message> post(const Key& key, std::span<const std::byte> bytes) {
    auto message = std::make_shared<Message>(Message{bytes});
    const std::lock_guard lock(mutex_);
    boxes_[key].push_back(message);
    return message;
  }
  /// The oldest message, or none yet.
  std::shared_ptr<Message> take(const Key& key) {
    const std::lock_guard lock(mutex_);
    throw_if_failed();
    auto& box = boxes_[key];
    if (box.empty()) return nullptr;
    auto message = box.front();
    box.pop_front();
    return message;
  }
  void mark_taken(Message& message) {
    const std::lock_guard lock(mutex_);
    message.taken = true;
  }
  bool taken(const Message& message) {
    const std::lock_guard lock(mutex_);
    if (!message.taken) throw_if_failed();
    return message.taken;
  }
  void fail(int rank) {
    const std::lock_guard lock(mutex_);
    if (failed_ < 0) failed_ = rank;
  }

 private:
  void throw_if_failed() const {
    if (failed_ >= 0)
      throw Error(ExitCode::rank_died, fmt::format("rank {} ended while others wait", failed_));
  }
  std::mutex mutex_;
  std::map<Key, std::deque<std::shared_ptr<Message>>> boxes_;
  int failed_ = -1;
};

class ThreadSend : public Transfer {
 public:
  ThreadSend(Mailboxes& boxes, std::shared_ptr<Message> message)
      : boxes_(boxes), message_(std::move(message)) {}
  bool done() override { return boxes_.taken(*message_); }

 private:
  Mailboxes& boxes_;
  std::shared_ptr<Message> message_;
};

class ThreadReceive : public Transfer {
 public:
  ThreadReceive(Mailboxes& boxes, const Mailboxes::Key& key, std::span<std::byte> bytes)
      : boxes_(boxes), key_(key), bytes_(bytes) {}
  bool done() override {
    if (done_) return true;
    const auto message = boxes_.take(key_);
    if (message == nullptr) return false;
    const bool fits = message->bytes.size() == bytes_.size();
    if (fits && !bytes_.empty()) std::memcpy(bytes_.data(), message->bytes.data(), bytes_.size());
    const size_t sent = message->bytes.size();
    boxes_.mark_taken(*message);
    if (!fits)
      throw Error(ExitCode::rank_died,
                  fmt::format("a message of {} bytes from rank {}, expected {}", sent,
                              std::get<0>(key_), bytes_.size()));
    return done_ = true;
  }

 private:
  Mailboxes& boxes_;
  Mailboxes::Key key_;
  std::span<std::byte> bytes_;
  bool done_ = false;
};

class ThreadTransport : public Transport {
 public:
  ThreadTransport(Mailboxes& boxes, int rank, int size) : boxes_(boxes), rank_(rank), size_(size) {}
  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return size_; }
  std::unique_ptr<Transfer> send(int peer, int channel, std::span<const std::byte> bytes) override {
    return std::make_unique<ThreadSend>(boxes_, boxes_.post({rank_, peer, channel}, bytes));
  }
  std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) override {
    return std::make_unique<ThreadReceive>(boxes_, Mailboxes::Key{peer, rank_, channel}, bytes);
  }

 private:
  Mailboxes& boxes_;
  int rank_, size_;
};

/// Also sends to itself.
class SelfTransport : public Transport {
 public:
  [[nodiscard]] int rank() const override { return 0; }
  [[nodiscard]] int size() const override { return 1; }
  std::unique_ptr<Transfer> send(int peer, int channel, std::span<const std::byte> bytes) override {
    return inner_.send(peer, channel, bytes);
  }
  std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) override {
    return inner_.receive(peer, channel, bytes);
  }

 private:
  Mailboxes boxes_;
  ThreadTransport inner_{boxes_, 0, 1};
};

}  // namespace

std::unique_ptr<Transport> self_transport() { return std::make_unique<SelfTransport>(); }

void run_as_threads(int ranks, const std::function<void(Transport&)>& body) {
  Mailboxes boxes;
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      ThreadTransport transport(boxes, r, ranks);
      try {
        body(transport);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
        boxes.fail(r);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace cria
