// The recipe's own checkpoint files beside the native ones: weights alone, and on request the whole layout.
#pragma once

#include <string>

#include "comm/rank_grid.h"
#include "recipe/settings.h"

namespace cria::recipe {

/// Folders of a run; LOCAL_DEFAULT_PATH, then output_dir, is the root.
struct OutputFolders {
  explicit OutputFolders(const RecipeSettings& settings, int rank = 0);
  // .../checkpoint/rank_<r>, .../checkpoint_network/rank_<r>, .../log/rank_<r>; native checkpoints of all ranks are in rank_0's.
  std::string root, checkpoint, network, log;
  std::string shared_checkpoint;
  std::string strategy;  // .../strategy, of all ranks
  RankGrid grid;
  /// Native training checkpoints: `native`, `native_1`, ... below `checkpoint`. A fresh run takes the first unused one;
  /// a resumed run the last used one (or the first, when none is).
  [[nodiscard]] std::string native(bool resume) const;
};

/// Each rank writes its own slices, as the recipe does: of weights the rows that its optimizer state is for. Of several ranks, each
/// also writes the strategy file by which transform_ckpt joins them.
class CkptFiles {
 public:
  /// When files of the prefix exist already, a fresh run's prefix becomes `<prefix>_1`, `_2`, ... as MindSpore does; a resumed run
  /// keeps its own. `native` is the run's folder of native checkpoints: the number in its name tells the runs of one output apart.
  CkptFiles(const OutputFolders& folders, const SaveSettings& save, const std::string& native,
            bool resume);
  /// Writes what the settings ask for after batch `batch`; each file appears whole or not at all, and what a killed
  /// run left half-written goes. Throws IoError.
  void save(const TrainState& state, int64_t batch, int64_t steps_per_epoch, double loss_scale,
            bool data_begins_with_bos) const;
  /// The rank's strategy file alone: how its slices lie in the whole.
  void save_strategy(const TrainState& state) const;
  /// Whether all that save() writes after this batch is there: a run may die between the native checkpoint and these files.
  [[nodiscard]] bool saved(int64_t batch, int64_t steps_per_epoch) const;

 private:
  [[nodiscard]] std::string network_path() const;
  [[nodiscard]] std::string whole_path(int64_t batch, int64_t steps_per_epoch) const;
  void save_network(const TrainState& state, int64_t batch, bool data_begins_with_bos) const;
  void save_whole(const TrainState& state, int64_t batch, int64_t steps_per_epoch,
                  double loss_scale) const;
  void remove_old() const;
  OutputFolders folders_;
  SaveSettings save_;
  std::string prefix_;
};

/// The loss scale that a native training checkpoint goes on with.
double saved_loss_scale(const std::string& checkpoint_folder);

/// Whether the data that these weights were trained on began with bos: a note beside a network file, or the state of a
/// training checkpoint. False when nothing is known.
bool trained_with_bos(const std::string& weights_path);

}  // namespace cria::recipe
