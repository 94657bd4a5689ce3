// A model's weights in the .ckpt files of several ranks, seen as one file of whole tensors: nothing is joined on disk or in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/strategy.h"
#include "formats/tensor_file.h"

namespace cria {

/// One .ckpt file of each of `folder/rank_0`, `rank_1`, ... Where folders hold several, the newest that all ranks have: the highest
/// `-<epoch>_<step>` in the name, never by clock. Throws IoError (no such folder) and MismatchError: a rank's folder or file is
/// missing, a folder is left over, or no file can be told to be the one.
std::vector<std::string> files_of_ranks(const std::string& folder, int64_t ranks);

/// Opens all files; of a rank's file only the pieces that cover what is read are touched, after a comparison of that file with its
/// sums. Throws as TransformSource and files_of_ranks do.
std::shared_ptr<const TensorReader> open_sliced_ckpt(const std::string& folder, Strategy strategy);

}  // namespace cria
