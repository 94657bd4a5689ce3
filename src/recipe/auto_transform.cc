#include "recipe/auto_transform.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/agreement.h"
#include "checkpoint/sliced_ckpt.h"
#include "checkpoint/transform.h"
#include "recipe/ckpt_files.h"
#include "recipe/own_layout.h"

namespace cria::recipe {
namespace {

namespace fs = std::filesystem;

// As long as the recipe's own ranks wait for a transform.
constexpr auto kTransformDeadline = std::chrono::seconds(7200);

std::string text_of(const StrategyFile& file) {
  const std::vector<std::byte> bytes = encode_strategy(file);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Another run's folder goes to the first free `<folder>_1`, `_2`, ...
void move_aside(const std::string& folder, RecipeLog& log) {
  if (!is_folder(folder)) return;
  int number = 1;
  while (fs::exists(fmt::format("{}_{}", folder, number))) ++number;
  const std::string kept = fmt::format("{}_{}", folder, number);
  std::error_code failed;
  fs::rename(folder, kept, failed);
  require<IoError>(!failed, "transform: {}: cannot be moved to {}: {}", folder, kept,
                   failed.message());
  log.info(fmt::format("{} of another run is now {}", folder, kept));
}

/// The .ckpt of every rank of the source; none when it is something else.
std::vector<std::string> source_files(const std::string& path, const Strategy& from) {
  if (is_folder(join_path(path, "rank_0"))) return files_of_ranks(path, from.ranks());
  std::vector<std::string> files;
  if (is_file(path) && path.ends_with(".ckpt")) files.push_back(path);
  if (is_folder(path) && !is_file(join_path(path, "config.json"))) {
    for (const std::string& name : list_files(path))
      if (name.ends_with(".ckpt")) files.push_back(join_path(path, name));
  }
  return files.size() == 1 ? files : std::vector<std::string>();
}

/// <root>/transformed_checkpoint/<name of the source>. The source must not lie there: it would be moved.
std::string result_folder(const RecipeSettings& s, const std::vector<std::string>& files,
                          const std::string& root) {
  fs::path source = fs::path(s.load_checkpoint).lexically_normal();
  if (!source.has_filename()) source = source.parent_path();
  const fs::path name = source.extension() == ".ckpt" ? source.stem() : source.filename();
  const std::string folder = join_path(join_path(root, "transformed_checkpoint"), name.string());
  const std::string inside = fs::weakly_canonical(folder).string() + "/";
  for (const std::string& file : files) {
    require(!fs::weakly_canonical(file).string().starts_with(inside),
            "transform: {}: auto_trans_ckpt would write where load_checkpoint is; try: "
            "--auto_trans_ckpt False, which loads it as it is",
            file);
  }
  return folder;
}

std::string bar_at(int64_t percent) {
  std::string bar;
  for (int64_t cell = 0; cell < 50; ++cell) bar += cell * 2 < percent ? "▮" : " ";
  return fmt::format("|{}|{}%", bar, percent);
}

void write_strategies(const RecipeSettings& s, const LlamaConfig& config, const std::string& folder,
                      Groups& groups, RecipeLog& log) {
  const int rank = groups.grid.rank, ranks = groups.grid.size();
  const auto path_of = [&](int r) {
    return join_path(folder, fmt::format("ckpt_strategy_rank_{}.ckpt", r));
  };
  run_together(groups.world, [&] {
    if (rank != 0) return;
    bool same = !is_file(path_of(ranks));
    for (int r = 0; same && r < ranks; ++r)
      same =
          is_file(path_of(r)) && read_text(path_of(r)) == text_of(strategy_of_rank(s, config, r));
    if (!same) move_aside(folder, log);
  });
  run_together(groups.world, [&] {
    make_folders(folder);
    write_file(path_of(rank), text_of(strategy_of_rank(s, config, rank)));
    if (rank == 0 && groups.grid.pp > 1)
      write_file(join_path(folder, "merged_ckpt_strategy.ckpt"),
                 text_of(merged_strategy_of_run(s, config)));
  });
  log.info("Collecting strategy: " + bar_at(100));
}

/// This rank's share of the work, with a line each tenth of the way.
void transform_share(TransformOptions options, const Strategy& from,
                     const std::vector<std::string>& files, const Strategy& to, RecipeLog& log) {
  int64_t shown = 0;
  options.progress = [&](int64_t done, int64_t total) {
    const int64_t percent = done * 10 / total * 10;
    if (percent > shown) log.info("Transforming checkpoint: " + bar_at(percent));
    shown = percent;
  };
  transform_checkpoint(options, from, files, to);
  write_file(
      join_path(options.dst, fmt::format("transform_succeed_rank_{}.txt", options.first_rank)), "");
}

}  // namespace

void use_transformed(const RecipeSettings& s, const LlamaConfig& config, Groups& groups,
                     RecipeLog& log, std::optional<WeightSource>& weights) {
  const Strategy to = strategy_of_run(s, config);
  Strategy from;
  std::vector<std::string> files;
  // By all ranks before one of them moves a folder: it may hold the source's strategy.
  run_together(groups.world, [&] {
    from = read_strategy(s.src_strategy);
    files = source_files(s.load_checkpoint, from);
  });
  if (files.empty()) {
    log.info("auto_trans_ckpt: these weights are no .ckpt files and are cut while they load");
    return;
  }
  const int rank = groups.grid.rank;
  const OutputFolders folders(s, rank);
  const std::string folder = result_folder(s, files, folders.root);
  const auto deadline = groups.shared.settings.deadline;
  groups.shared.settings.deadline = kTransformDeadline;
  if (groups.grid.size() > 1) write_strategies(s, config, folders.strategy, groups, log);
  run_together(groups.world, [&] {
    if (rank == 0) move_aside(folder, log);
  });
  const int64_t each = to.ranks() / s.transform_processes;
  try {
    run_together(groups.world, [&] {
      if (rank % each == 0)
        transform_share(
            {.src = s.load_checkpoint, .dst = folder, .first_rank = rank, .rank_count = each}, from,
            files, to, log);
    });
  } catch (...) {
    // The files of ranks that succeeded: half a checkpoint, all of this run.
    std::error_code ignored;
    if (rank == 0) fs::remove_all(folder, ignored);
    throw;
  }
  groups.shared.settings.deadline = deadline;
  log.info(fmt::format("The transformed checkpoint is {}", folder));
  weights = WeightSource::open_slices(folder, to, config);
}

}  // namespace cria::recipe
