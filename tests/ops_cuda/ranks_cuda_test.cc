// Several ranks with an emulated GPU each, as threads.
#include <gtest/gtest.h>

#include "comm/comm.h"
#include "ops_cuda/tested_device.h"
#include "parallel/layout_check.h"

namespace cria::test {
namespace {

/// Takes bytes from one device's memory to another's when it pleases, as NCCL does. An emulated device runs nothing before it is
/// waited for, so what a rank sends or overwrites too early shows.
class Direct : public Transport {
 public:
  explicit Direct(Transport& threads) : threads_(threads) {}
  [[nodiscard]] int rank() const override { return threads_.rank(); }
  [[nodiscard]] int size() const override { return threads_.size(); }
  [[nodiscard]] bool takes_device_memory() const override { return true; }
  std::unique_ptr<Transfer> send(int peer, int channel, std::span<const std::byte> bytes) override {
    return threads_.send(peer, channel, bytes);
  }
  std::unique_ptr<Transfer> receive(int peer, int channel, std::span<std::byte> bytes) override {
    return threads_.receive(peer, channel, bytes);
  }

 private:
  Transport& threads_;
};

/// Whether messages go straight from device to device, or by way of the host.
class RanksOnDevices : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Ways, RanksOnDevices, testing::Bool(), [](const auto& param) {
  return std::string(param.param ? "direct" : "staged");
});

// Layouts give the bits of one rank with one such device, tp its numbers. Every kind of message is in one of them.
TEST_P(RanksOnDevices, TrainAsOneRankDoes) {
  const std::vector<Layout> layouts = {
      {.dp = 2, .micros = 2, .tied = true},
      {.dp = 2, .zero = 1},
      {.dp = 4, .zero = 2, .shard = 2},
      {.dp = 2, .zero = 3, .micros = 2},
      {.tp = 2},
      {.tp = 2, .sequence = true, .vocab = true},
      {.tp = 4, .tied = true, .vocab_size = 61},
      {.pp = 2, .micros = 4, .tied = true},
      {.dp = 2, .pp = 2, .zero = 1, .chunks = 2, .micros = 4},
      {.dp = 2, .tp = 2, .zero = 1, .sequence = true},
  };
  int failures = 0, runs = 0;
  run_as_threads(4, [&](Transport& transport) {
    Direct direct(transport);
    LayoutCheck check(GetParam() ? direct : transport, 2, [] { return cuda::open_device(0); });
    for (Layout layout : layouts) {
      layout.small = true;
      layout.vocab_size = std::min<int64_t>(layout.vocab_size, 64);
      check.check(layout, true);
    }
    if (transport.rank() != 0) return;
    failures = check.failures();
    runs = check.runs();
  });
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(runs, std::ssize(layouts));
}

/// Three ranks' parts of a sum, of a dtype, with gaps between the rows.
class SumsOverDevices : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, SumsOverDevices,
                         testing::Values(DType::f32, DType::bf16, DType::f16),
                         [](const auto& param) { return std::string(name_of(param.param)); });

// The bits that ranks on the processor make of the same rows, with every way of summing.
TEST_P(SumsOverDevices, AreTheProcessorsBits) {
  for (const int64_t cols : {5, 64, 4099}) {
    for (const int64_t gap : {0, 3}) {
      run_as_threads(3, [&](Transport& transport) {
        const std::unique_ptr<ops::Device> device = cuda::open_device(0);
        CommWorld here(transport, {}), there(transport, {.memory = device.get()});
        Comm on_host(here, "host", {0, 1, 2}, 0), on_devices(there, "devices", {0, 1, 2}, 2);
        const auto seed = static_cast<uint64_t>(transport.rank());
        ops::Window rows(GetParam(), 7, cols, seed, gap);
        Tensor copy = rows.memory.copy_to(device.get());
        const View mine = copy.view().col_range(0, cols);
        on_host.all_reduce(rows.view());
        on_devices.all_reduce(mine);
        EXPECT_TRUE(ops::same_bits(copy.copy_to(nullptr), rows.memory));
        if (gap > 0) return;
        Tensor whole = rows.memory.clone(), whole_there = whole.copy_to(device.get());
        auto sum =
            on_host.start_reduce_scatter(whole, on_host.rows_of(whole.view(), on_host.rank()));
        auto sum_there = on_devices.start_reduce_scatter(
            whole_there, on_devices.rows_of(whole_there.view(), on_devices.rank()));
        sum.wait();
        sum_there.wait();
        on_host.start_all_gather(whole).wait();
        on_devices.start_all_gather(whole_there).wait();
        EXPECT_TRUE(ops::same_bits(whole_there.copy_to(nullptr), whole));
      });
    }
  }
}

}  // namespace
}  // namespace cria::test
