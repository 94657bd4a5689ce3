#include <algorithm>

#include "comm/pending.h"

namespace cria {

// Everybody sends everything to everybody and adds in the order of the ranks.
template <class T, class Merge>
void Comm::exchange(std::string_view kind, std::span<T> data, Merge merge) {
  const auto bytes = static_cast<int64_t>(data.size_bytes());
  const int64_t number = world_.log.begin(kind, name_, bytes);
  counters_.calls += 1;
  std::vector<std::vector<T>> parts(ranks_.size(), std::vector<T>(data.begin(), data.end()));
  std::vector<Piece> pieces;
  for (size_t r = 0; r < ranks_.size(); ++r) {
    const int peer = ranks_[r];
    if (static_cast<int>(r) == rank_) continue;
    counters_.bytes_sent += bytes;
    pieces.push_back({world_.transport.send(peer, channel_, std::as_bytes(data)), peer});
    pieces.push_back(
        {world_.transport.receive(peer, channel_, std::as_writable_bytes(std::span(parts[r]))),
         peer});
  }
  wait(pieces, number, kind, bytes);
  std::ranges::copy(parts[0], data.begin());
  for (size_t r = 1; r < parts.size(); ++r) {
    for (size_t i = 0; i < data.size(); ++i) data[i] = merge(data[i], parts[r][i]);
  }
  world_.log.end(number);
}

void Comm::barrier() {
  std::byte token{};
  exchange("barrier", std::span(&token, 1), [](std::byte a, std::byte) { return a; });
}
void Comm::all_reduce(std::span<double> data) {
  exchange("all_reduce", data, [](double a, double b) { return a + b; });
}
void Comm::all_reduce(std::span<int64_t> data) {
  exchange("all_reduce", data, [](int64_t a, int64_t b) { return a + b; });
}
void Comm::all_reduce_max(std::span<float> data) {
  exchange("all_reduce_max", data, [](float a, float b) { return std::max(a, b); });
}

}  // namespace cria
