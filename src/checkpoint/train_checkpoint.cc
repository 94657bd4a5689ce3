// Saving by the commit protocol: every rank's share into a temporary folder, synced; the manifest last; then one rename.
#include "checkpoint/train_checkpoint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <exception>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "checkpoint/agreement.h"
#include "checkpoint/checkpoint_root.h"
#include "checkpoint/checkpoint_share.h"

namespace cria {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kManifest = "manifest.json";

}  // namespace

std::string checkpoint_folder(const std::string& root, int64_t step) {
  return join_path(root, fmt::format("step-{:010}", step));
}

std::vector<int64_t> checkpoint_steps(const std::string& root) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    int64_t step = 0;
    if (name.size() != 15 || !name.starts_with("step-")) continue;
    const auto [at, bad] = std::from_chars(name.data() + 5, name.data() + name.size(), step);
    if (bad != std::errc() || at != name.data() + name.size()) continue;
    if (is_file(join_path(it->path().string(), kManifest))) steps.push_back(step);
  }
  std::ranges::sort(steps);
  return steps;
}

namespace {

Comm reports_group(Groups& groups) {
  return {groups.shared, "reports", groups.grid.all_ranks(), kReportsChannel};
}

}  // namespace

/// A checkpoint whose shares are being written.
struct CheckpointStore::Pending {
  int64_t step;
  LlamaConfig config;
  CheckpointContent content;
  int keep, threads;
  std::vector<Share> shares;
  std::string temporary;  // the folder
  Manifest mine;
  std::exception_ptr failure;
  std::thread writer;

  Pending(int64_t s, const LlamaConfig& c, const CheckpointContent& what, int k, int t)
      : step(s), config(c), content(what), keep(k), threads(t) {}
  ~Pending() { wait(); }
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

  void write() noexcept {
    try {
      ThreadPool pool(threads);
      for (const Share& share : shares) write_share(temporary, share, mine, pool);
    } catch (...) {
      failure = std::current_exception();
    }
  }
  void write_manifest(const std::vector<std::string>& parts, const RankGrid& grid) const {
    Manifest m;
    for (const std::string& part : parts)
      merge_manifest(m, parse_manifest(part, join_path(temporary, kManifest)));
    m.step = step;
    m.dp = grid.dp;
    m.tp = grid.tp;
    m.pp = grid.pp;
    m.state_json = content.state_json;
    const auto weights = content.groups.find("weights");
    const DType stored = weights == content.groups.end() ? DType::f32 : weights->second->dtype();
    cria::write_manifest(temporary, std::move(m), hf_config_json(config, stored));
  }
  void wait() {
    if (writer.joinable()) writer.join();
  }
};

CheckpointStore::CheckpointStore(std::string root, Groups& groups)
    : groups_(&groups), reports_(reports_group(groups)), root_(std::move(root)) {
  open_root();
}
CheckpointStore::CheckpointStore(std::string root)
    : alone_(std::make_unique<OneRank>()),
      groups_(&alone_->groups),
      reports_(reports_group(*groups_)),
      root_(std::move(root)) {
  open_root();
}
CheckpointStore::~CheckpointStore() { abandon(); }

void CheckpointStore::open_root() {
  run_together(groups_->world, [&] {
    if (!leads()) return;
    make_folders(root_);
    lock_ = std::make_unique<FolderLock>(root_);
    clear_leftovers(root_);
    const std::string test = join_path(root_, ".tmp-test");
    write_file(test, "test");
    fs::remove(test);
  });
}

void CheckpointStore::begin(int64_t step, const LlamaConfig& config,
                            const CheckpointContent& content, int keep, int threads) {
  check(!pending(), "one checkpoint is written at a time");
  Comm& world = groups_->world;
  auto next = std::make_unique<Pending>(step, config, content, keep, threads);
  next->shares = shares_of(content, *groups_);
  std::array<int64_t, 1> bytes = {static_cast<int64_t>(bytes_of_shares(next->shares))};
  world.all_reduce(bytes);
  next->temporary =
      share_text(world, join_path(root_, fmt::format(".tmp-step-{:010}-{}", step, random_id())));
  pending_ = std::move(next);
  try {
    run_together(world, [&] {
      if (!leads()) return;
      check_free_space(root_, static_cast<uint64_t>(bytes[0]) + (1 << 20));
      make_folders(pending_->temporary);
      sync_folder(root_);
    });
    run_together(world, [&] {
      require<IoError>(is_folder(pending_->temporary),
                       "save: {}: what rank 0 makes is not seen here; try: an output folder that "
                       "all ranks share",
                       root_);
      pending_->writer = std::thread(&Pending::write, pending_.get());
    });
  } catch (...) {
    abandon();
    throw;
  }
}

std::string CheckpointStore::finish() {
  check(pending(), "a checkpoint was begun");
  Comm& world = groups_->world;
  Pending& p = *pending_;
  try {
    run_together(world, [&] {
      p.wait();
      if (p.failure) std::rethrow_exception(p.failure);
    });
    const std::vector<std::string> parts = gather_texts(reports_, manifest_text(p.mine));
    run_together(world, [&] {
      if (!leads()) return;
      p.write_manifest(parts, groups_->grid);
      commit_step(root_, p.temporary, p.step);
    });
  } catch (...) {
    abandon();
    throw;
  }
  const std::string folder = checkpoint_folder(root_, p.step);
  const int keep = p.keep;
  pending_.reset();
  run_together(world, [&] {
    if (!leads()) return;
    write_file(join_path(root_, "latest"), base_name(folder) + "\n");  // for people; resuming scans
    remove_old_steps(root_, keep);
  });
  return folder;
}

/// Nothing of the checkpoint that is pending stays.
void CheckpointStore::abandon() {
  if (!pending()) return;
  pending_->wait();
  std::error_code error;
  if (leads()) fs::remove_all(pending_->temporary, error);
  pending_.reset();
}

std::string CheckpointStore::save(int64_t step, const LlamaConfig& config,
                                  const CheckpointContent& content, int keep) {
  begin(step, config, content, keep, 0);
  return finish();
}

}  // namespace cria
