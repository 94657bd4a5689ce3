// NCCL's part over a stand-in for NCCL and CUDA (fake_nccl/fake_nccl.h), with ranks as threads. What a GPU does is not tested.
#include "comm/nccl_transport.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "comm/collectives.h"
#include "comm/fake_nccl/fake_nccl.h"
#include "comm/local_device.h"

extern "C" const CriaNcclTable* cria_nccl_table();

namespace cria {
namespace {

using testing::HasSubstr;

void run_over_nccl(int ranks, const std::function<void(Transport&)>& body) {
  run_as_threads(ranks, [&](Transport& control) {
    const auto transport = nccl_transport(control, *cria_nccl_table(), control.rank());
    body(*transport);
  });
}

/// Each test begins with a stand-in that works; what went wrong in it is a failure of the test.
class Nccl : public testing::Test {
 protected:
  void SetUp() override { fake_nccl::reset(); }
  void TearDown() override {
    const fake_nccl::Seen seen = fake_nccl::seen();
    EXPECT_EQ(seen.mistakes, 0) << seen.first_mistake;
    EXPECT_LE(seen.most_work_of_a_stream, 1) << "work that waits may hold up another stream's";
    EXPECT_EQ(seen.live_communicators, 0);
    EXPECT_EQ(seen.live_streams + seen.live_events, 0);
    EXPECT_EQ(seen.live_blocks, 0);
  }
};

std::vector<std::byte> pattern(size_t size, int seed) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<std::byte>((i * 31 + (i >> 8) + static_cast<size_t>(seed) * 97) & 0xff);
  return bytes;
}

/// Waits; what takes too long is an error of the test.
void finish(Transfer& transfer) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!transfer.done()) {
    if (std::chrono::steady_clock::now() > end) throw std::runtime_error("a transfer never ends");
    std::this_thread::yield();
  }
}

/// The error that waiting for a transfer ends with.
Error failure(Transfer& transfer) {
  try {
    finish(transfer);
  } catch (const Error& e) {
    return e;
  }
  return {ExitCode::ok, "it was done"};
}

/// Memory of the stand-in's device of this thread.
class DeviceBytes {
 public:
  explicit DeviceBytes(size_t size) : size_(size) { cudaMalloc(&data_, size); }
  ~DeviceBytes() { cudaFree(data_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  [[nodiscard]] std::span<std::byte> span() const {
    return {static_cast<std::byte*>(data_), size_};
  }

 private:
  void* data_ = nullptr;
  size_t size_;
};

constexpr size_t kLarge = 100'000;  // above what goes over the control transport

TEST_F(Nccl, SumsHaveTheBitsOfTheOrderOfTheRanks) {
  for (const int ranks : {1, 2, 3, 5})
    for (const Shape s : {Shape{1, 1, 1}, {13, 33, 40}, {301, 129, 129}, {2, 9000, 9001}})
      check_all_sums(run_over_nccl, ranks, s);
  check_sums<float, float>(run_over_nccl, DType::f32, 3, {1, 1'000'003, 1'000'003});
  EXPECT_GT(fake_nccl::seen().calls, 0);
  EXPECT_EQ(fake_nccl::seen().aborted, 0);
}

TEST_F(Nccl, CarriesAllThatCommDoes) {
  check_started_collectives(run_over_nccl, std::array{1, 2, 3, 4});
  check_gathers(run_over_nccl, std::array{1, 2, 3, 4});
  check_messages(run_over_nccl);
  check_groups(run_over_nccl);
}

TEST_F(Nccl, SmallMessagesOfHostsNeedNoCommunicator) {
  check_messages(run_over_nccl);
  EXPECT_EQ(fake_nccl::seen().communicators, 0);
}

TEST_F(Nccl, MovesFromDeviceAndHostToDeviceAndHost) {
  // Up to three pieces of staging memory, one byte, and nothing at all.
  for (const size_t size : {size_t{0}, size_t{1}, kLarge, size_t{9'000'001}}) {
    for (const int where : {0, 1, 2, 3}) {
      run_over_nccl(2, [&](Transport& t) {
        const bool sends = t.rank() == 0;
        const bool device = ((where >> t.rank()) & 1) != 0;
        const std::vector<std::byte> want = pattern(size, where);
        const DeviceBytes there(std::max<size_t>(size, 1));
        std::vector<std::byte> here(size);
        const std::span<std::byte> mine = device ? there.span().first(size) : std::span(here);
        if (sends) std::ranges::copy(want, mine.begin());
        auto x = sends ? t.send(1, 3, mine) : t.receive(0, 3, mine);
        finish(*x);
        EXPECT_TRUE(std::ranges::equal(mine, want)) << size << " bytes, " << where;
        // Two devices speak directly: no memory but the test's own.
        const int blocks = fake_nccl::seen().live_blocks;
        EXPECT_TRUE(where != 3 || blocks <= 2) << blocks;
      });
    }
  }
}

TEST_F(Nccl, MessagesOfAChannelKeepTheirOrder) {
  run_over_nccl(2, [](Transport& t) {
    constexpr std::array sizes = {kLarge, size_t{5}, size_t{0}, kLarge, size_t{20'000}, size_t{7}};
    std::vector<std::vector<std::byte>> bytes;
    std::vector<std::unique_ptr<Transfer>> transfers;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto sent = pattern(sizes[i], static_cast<int>(i));
      bytes.push_back(t.rank() == 0 ? sent : std::vector<std::byte>(sizes[i]));
    }
    for (auto& b : bytes) transfers.push_back(t.rank() == 0 ? t.send(1, 0, b) : t.receive(0, 0, b));
    for (size_t i = sizes.size(); i-- > 0;) finish(*transfers[i]);
    for (size_t i = 0; i < sizes.size(); ++i)
      EXPECT_EQ(bytes[i], pattern(sizes[i], static_cast<int>(i)));
  });
}

/// Two channels between two ranks, whose ends ask in different orders; true when each got its own.
bool channels_stay_apart() {
  bool right = true;
  run_over_nccl(2, [&](Transport& t) {
    std::array<std::vector<std::byte>, 2> bytes;
    std::array<std::unique_ptr<Transfer>, 2> transfers;
    for (int round = 0; round < 8; ++round) {
      for (size_t i = 0; i < 2; ++i) {
        const size_t c = t.rank() == 0 ? i : 1 - i;
        const int channel = static_cast<int>(c);
        bytes[c] = t.rank() == 0 ? pattern(kLarge, channel) : std::vector<std::byte>(kLarge);
        transfers[c] =
            t.rank() == 0 ? t.send(1, channel, bytes[c]) : t.receive(0, channel, bytes[c]);
      }
      // The ends also look at them in different orders.
      for (size_t i = 0; i < 2; ++i) finish(*transfers[t.rank() == 0 ? i : 1 - i]);
      if (t.rank() == 1)
        for (size_t c = 0; c < 2; ++c)
          right = right && bytes[c] == pattern(kLarge, static_cast<int>(c));
    }
  });
  return right;
}

TEST_F(Nccl, ChannelsStayApart) {
  EXPECT_TRUE(channels_stay_apart());
  EXPECT_EQ(fake_nccl::seen().communicators, 2);
}

TEST_F(Nccl, OneCommunicatorForTwoChannelsWouldMixThem) {
  fake_nccl::reset({.shared_by_channels = true});
  EXPECT_FALSE(channels_stay_apart());
}

TEST_F(Nccl, OneCommunicatorForBothDirectionsWouldWaitForEver) {
  const auto exchange = [](std::chrono::milliseconds deadline) {
    run_over_nccl(2, [&](Transport& transport) {
      CommWorld world(transport, {.deadline = deadline});
      Comm comm(world, "dp", first_ranks(2), 0);
      Tensor x(DType::f32, 300, 100);
      for (int i = 0; i < 5; ++i) comm.all_reduce(x.view());
    });
  };
  EXPECT_NO_THROW(exchange(std::chrono::seconds(20)));
  fake_nccl::reset({.shared_by_directions = true});
  try {
    exchange(std::chrono::milliseconds(400));
    ADD_FAILURE() << "both ends send first, and it ended";
  } catch (const Error& e) {
    EXPECT_EQ(e.code, ExitCode::no_progress) << e.what();
  }
  EXPECT_GT(fake_nccl::seen().aborted, 0);
}

TEST_F(Nccl, ASendGoesOnWhileItsRankWaitsForAnother) {
  run_over_nccl(3, [](Transport& t) {
    const int next = (t.rank() + 1) % 3, before = (t.rank() + 2) % 3;
    const std::vector<std::byte> mine = pattern(kLarge, t.rank());
    std::vector<std::byte> theirs(kLarge);
    const auto out = t.send(next, 0, mine);
    const auto in = t.receive(before, 0, theirs);
    finish(*in);  // nobody looks at `out` until all have what they wait for
    EXPECT_EQ(theirs, pattern(kLarge, before));
    finish(*out);
  });
}

TEST_F(Nccl, SizesThatDifferAreToldAtBothEnds) {
  std::array<std::string, 2> told;
  run_over_nccl(2, [&](Transport& t) {
    std::vector<std::byte> bytes(t.rank() == 0 ? kLarge : kLarge + 1);
    const auto x = t.rank() == 0 ? t.send(1, 0, bytes) : t.receive(0, 0, bytes);
    const Error e = failure(*x);
    EXPECT_EQ(e.code, ExitCode::rank_died);
    told[static_cast<size_t>(t.rank())] = e.what();
  });
  EXPECT_EQ(told[0], "a message of 100000 bytes to rank 1, which expects 100001");
  EXPECT_EQ(told[1], "a message of 100000 bytes from rank 0, expected 100001");
  EXPECT_EQ(fake_nccl::seen().calls, 0);
}

TEST_F(Nccl, AnEndThatIsGoneEndsTheMessageWithNcclsWords) {
  fake_nccl::reset({.dies_at_call = 3});
  run_over_nccl(2, [](Transport& t) {
    std::vector<std::byte> bytes = pattern(kLarge, 0);
    const auto post = [&] { return t.rank() == 0 ? t.send(1, 0, bytes) : t.receive(0, 0, bytes); };
    finish(*post());
    const auto second = post();
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(300)) {
      try {
        EXPECT_FALSE(second->done());
      } catch (const Error& e) {
        EXPECT_EQ(e.code, ExitCode::rank_died);
        EXPECT_THAT(e.what(), HasSubstr("on channel 0: remote process exited"));
        EXPECT_THAT(e.what(), HasSubstr("said by the stand-in"));
        // Later ones of the link say the same at once.
        EXPECT_THROW(post()->done(), Error);
        return;
      }
    }
    // The stand-in told one end; the other would wait until its deadline.
  });
  EXPECT_EQ(fake_nccl::seen().aborted, 2);
}

TEST_F(Nccl, ALinkThatIsRefusedSaysWhy) {
  fake_nccl::reset({.refuses = 1});
  run_over_nccl(2, [](Transport& t) {
    std::vector<std::byte> bytes(kLarge);
    const auto x = t.rank() == 0 ? t.send(1, 5, bytes) : t.receive(0, 5, bytes);
    const Error e = failure(*x);
    EXPECT_EQ(e.code, ExitCode::rank_died);
    EXPECT_THAT(e.what(), HasSubstr("on channel 5: unhandled system error"));
  });
}

TEST_F(Nccl, ALinkThatNeverConnectsEndsAtTheDeadline) {
  fake_nccl::reset({.never_connects = 1});
  std::array<std::string, 2> told;
  const auto start = std::chrono::steady_clock::now();
  run_over_nccl(2, [&](Transport& transport) {
    CommWorld world(transport, {.deadline = std::chrono::milliseconds(300)});
    Comm comm(world, "tp", first_ranks(2), 0);
    Tensor x(DType::f32, 300, 100);
    try {
      comm.all_reduce(x.view());
    } catch (const Error& e) {
      EXPECT_EQ(e.code, ExitCode::no_progress);
      told[static_cast<size_t>(comm.rank())] = e.what();
    }
  });
  EXPECT_THAT(told[0], HasSubstr("all_reduce number 1 of group tp"));
  EXPECT_THAT(told[0], HasSubstr("for rank 1"));
  EXPECT_THAT(told[1], HasSubstr("for rank 0"));
  EXPECT_GT(fake_nccl::seen().aborted, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
}

TEST_F(Nccl, ADroppedTransferEndsItsLinkAndNothingTouchesItsBytes) {
  run_over_nccl(2, [](Transport& t) {
    std::vector<std::byte> bytes(kLarge, static_cast<std::byte>(7));
    const auto first = t.rank() == 0 ? t.send(1, 0, bytes) : t.receive(0, 0, bytes);
    finish(*first);
    if (t.rank() == 0) {
      const auto other = t.receive(1, 1, bytes);
      finish(*other);  // rank 1 has given up by now
      return;
    }
    {
      const auto dropped = t.receive(0, 0, bytes);
    }
    const Error e = failure(*t.receive(0, 0, bytes));
    EXPECT_EQ(e.code, ExitCode::rank_died);
    EXPECT_THAT(e.what(), HasSubstr("given up"));
    // Other links work.
    finish(*t.send(0, 1, bytes));
  });
  // Rank 1 leaves neither of its links in order; rank 0 saw nothing fail.
  EXPECT_EQ(fake_nccl::seen().aborted, 2);
}

TEST_F(Nccl, ADeviceThatIsNotThereIsNamed) {
  fake_nccl::reset({.devices = 2});
  const auto control = self_transport();
  try {
    nccl_transport(*control, *cria_nccl_table(), 2);
    ADD_FAILURE() << "there are two devices, 0 and 1";
  } catch (const Error& e) {
    EXPECT_EQ(e.code, ExitCode::rank_died);
    EXPECT_STREQ(e.what(), "nccl: device 2: invalid device ordinal");
  }
  fake_nccl::reset({.no_driver = true});
  EXPECT_EQ(cria_nccl_table()->devices(), -1);
  EXPECT_STREQ(cria_nccl_table()->error(), "the driver is too old");
  fake_nccl::reset({.devices = 0});
  EXPECT_EQ(cria_nccl_table()->devices(), 0);
}

/// Sets environment variables, and takes them back.
class Environment {
 public:
  using Values = std::vector<std::pair<const char*, const char*>>;
  explicit Environment(const Values& values) {
    for (const char* name : {"CRIA_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID",
                             "CUDA_VISIBLE_DEVICES", "CRIA_TRANSPORT", "CRIA_NCCL_LIBRARY"}) {
      const char* const was = std::getenv(name);
      before_.emplace_back(name, was == nullptr ? std::nullopt : std::optional<std::string>(was));
      unsetenv(name);
    }
    for (const auto& [name, value] : values) setenv(name, value, 1);
  }
  ~Environment() {
    for (const auto& [name, value] : before_) {
      unsetenv(name);
      if (value) setenv(name, value->c_str(), 1);
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::vector<std::pair<const char*, std::optional<std::string>>> before_;
};

TEST_F(Nccl, EachProcessOfAHostHasADeviceOfItsOwn) {
  EXPECT_EQ((Environment(Environment::Values{}), local_device(4)), 0);
  {
    const Environment set(Environment::Values{{"OMPI_COMM_WORLD_LOCAL_RANK", "3"}});
    EXPECT_EQ(local_device(4), 3);
    EXPECT_THROW(local_device(3), Error);
    EXPECT_THROW(local_device(0), Error);
  }
  {
    const Environment set(
        Environment::Values{{"OMPI_COMM_WORLD_LOCAL_RANK", "3"}, {"CRIA_LOCAL_RANK", "1"}});
    EXPECT_EQ(local_device(4), 1);
  }
  {
    // A scheduler that shows each process one device.
    const Environment set(
        Environment::Values{{"SLURM_LOCALID", "3"}, {"CUDA_VISIBLE_DEVICES", "3"}});
    EXPECT_EQ(local_device(1), 0);
    EXPECT_THROW(local_device(2), Error);
  }
  for (const char* bad : {"", "-1", "2x", "99999999999"}) {
    const Environment set(Environment::Values{{"CRIA_LOCAL_RANK", bad}});
    EXPECT_THROW(local_device(4), UsageError) << bad;
  }
}

TEST_F(Nccl, ALibraryThatIsNotThereAndAnUnknownTransportAreSaid) {
  const Environment set(Environment::Values{{"CRIA_NCCL_LIBRARY", "/nonexistent/libcria_nccl.so"},
                                            {"CRIA_TRANSPORT", "infiniband"}});
  try {
    nccl_transport(self_transport());
    ADD_FAILURE() << "there is no such library";
  } catch (const Error& e) {
    EXPECT_EQ(e.code, ExitCode::rank_died);
    EXPECT_THAT(e.what(), HasSubstr("nccl: /nonexistent/libcria_nccl.so: cannot open"));
    EXPECT_THAT(e.what(), HasSubstr("try: ./dev setup --cuda"));
  }
  EXPECT_THROW(open_transport(), UsageError);
}

}  // namespace
}  // namespace cria
