// cria transform, the recipe's transform_ckpt: checkpoints from one layout over devices to another.
#include "checkpoint/transform.h"

#include <memory>

#include "base/error.h"
#include "base/flags.h"
#include "base/progress.h"
#include "cli/commands.h"

namespace cria::cli {
namespace {

void print_arguments(const TransformOptions& options) {
  fmt::print("src_ckpt_strategy: {}\n", options.src_strategy);
  fmt::print("dst_ckpt_strategy: {}\n", options.dst_strategy);
  fmt::print("src_ckpt_dir: {}\n", options.src);
  fmt::print("dst_ckpt_dir: {}\n", options.dst);
  fmt::print("prefix: {}\n", options.prefix);
}

}  // namespace

int transform(const std::string& name, const std::vector<std::string>& arguments) {
  TransformOptions options;
  int64_t threads = 1;
  Flags flags(name,
              "Cuts a MindSpore checkpoint for many devices, joins the parts again, or goes from "
              "one layout to another.",
              "  transform_ckpt --src_ckpt_dir full/ --dst_ckpt_strategy strategy/ "
              "--dst_ckpt_dir cut/\n"
              "  transform_ckpt --src_ckpt_strategy strategy/ --src_ckpt_dir cut/ "
              "--dst_ckpt_dir full/");
  flags.text("src_ckpt_strategy", options.src_strategy,
             "how the source is cut: a strategy file, a folder of them; empty or None: whole");
  flags.text("dst_ckpt_strategy", options.dst_strategy, "how to cut the result, likewise");
  flags.text("src_ckpt_dir", options.src, "holds rank_N/*.ckpt; or one whole .ckpt file");
  flags.text("dst_ckpt_dir", options.dst, "gets rank_N/<prefix>N.ckpt; made when missing");
  flags.text("prefix", options.prefix, "of the names of the result");
  flags.integer("transform_process_num", threads, "ranks written at the same time");
  flags.require_flag("src_ckpt_dir");
  flags.require_flag("dst_ckpt_dir");
  if (!flags.parse(arguments)) return 0;
  require(threads >= 1 && threads <= 1024, "{}: --transform_process_num is {}, expected 1 to 1024",
          name, threads);
  options.threads = static_cast<int>(threads);

  print_arguments(options);
  fmt::print("......Start transform......\n");
  std::unique_ptr<Progress> progress;
  options.progress = [&progress](int64_t /*done*/, int64_t total) {
    if (!progress) progress = std::make_unique<Progress>("transform", total, "tensors");
    progress->advance();
  };
  transform_checkpoint(options);
  progress.reset();
  fmt::print("......Transform succeed!......\n");
  return 0;
}

}  // namespace cria::cli
