// cria transform, the recipe's transform_ckpt: checkpoints from one layout over devices to another, the optimizer's state included.
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
  std::string format = "ckpt";
  Flags flags(
      name,
      "Cuts a checkpoint for many devices, joins the parts again, or goes from one layout "
      "to another: MindSpore's .ckpt files and cria's training checkpoints, the optimizer's "
      "state included.",
      "  transform_ckpt --src_ckpt_dir full/ --dst_ckpt_strategy strategy/ "
      "--dst_ckpt_dir cut/\n"
      "  transform_ckpt --src_ckpt_strategy strategy/ --src_ckpt_dir cut/ "
      "--dst_ckpt_dir full/\n"
      "  cria transform --src_ckpt_dir output/checkpoint/rank_0/native "
      "--dst_ckpt_strategy strategy/ --dst_ckpt_dir cut/\n"
      "  cria transform --src_ckpt_dir native/step-0000000100 --dst_format native "
      "--dst_ckpt_dir whole/\n"
      "  cria transform --src_ckpt_strategy strategy/ --src_ckpt_dir cut/ --dst_format "
      "native --config config.json --dst_ckpt_dir native/");
  flags.text("src_ckpt_strategy", options.src_strategy,
             "how the source is cut: a strategy file, a folder of them; empty or None: whole");
  flags.text("dst_ckpt_strategy", options.dst_strategy, "how to cut the result, likewise");
  flags.text("src_ckpt_dir", options.src,
             "holds rank_N/*.ckpt; or one whole .ckpt file; or a training "
             "checkpoint (step-N, or the folder of several: the newest valid one)");
  flags.text("dst_ckpt_dir", options.dst,
             "gets rank_N/<prefix>N.ckpt, or step-N; made when missing");
  flags.text("dst_format", format, "ckpt, or native: a training checkpoint, to resume from");
  flags.text("config", options.config, "for .ckpt to native: the model's config.json");
  flags.text("prefix", options.prefix, "of the names of the result");
  flags.integer("transform_process_num", threads,
                "ranks, or files of a training checkpoint, written at the same time");
  flags.require_flag("src_ckpt_dir");
  flags.require_flag("dst_ckpt_dir");
  if (!flags.parse(arguments)) return 0;
  require(threads >= 1 && threads <= 1024, "{}: --transform_process_num is {}, expected 1 to 1024",
          name, threads);
  require(format == "ckpt" || format == "native",
          "{}: --dst_format is \"{}\", expected ckpt or native", name, escaped(format, 40));
  if (format == "native") options.format = CheckpointFormat::native;
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
