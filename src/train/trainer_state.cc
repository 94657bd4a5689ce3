// What a training checkpoint keeps besides tensors, and back.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "train/trainer_impl.h"

namespace cria {
namespace {

constexpr double kSaveDeadline = 600;  // seconds
constexpr double kSlowDisk = 20e6;     // bytes a second

}  // namespace

/// A limit that the user gave holds for saving too, with time for a slow disk.
void Trainer::Impl::set_save_deadline() {
  const double writing = static_cast<double>(state.size_bytes()) / kSlowDisk;
  set_deadline(settings.step_timeout > 0 ? settings.step_timeout + writing : kSaveDeadline);
}

CheckpointContent Trainer::Impl::content() {
  CheckpointContent c;
  c.groups = {{"weights", &state.weights}, {"adam_m", &state.m}, {"adam_v", &state.v}};
  if (state.low) c.groups["master_lo"] = &*state.low;
  if (state.master) c.groups["master"] = &*state.master;
  return c;
}

void Trainer::Impl::save(bool go_on) {
  set_save_deadline();
  if (!store) {
    if (extra_save) extra_save(batches_done);
    return;
  }
  reporter.saving(batches_done);
  CheckpointContent c = content();
  Json json = Json::object();
  const LossScale::State& scale = loss_scale.state();
  json["batches_done"] = batches_done;
  json["updates"] = state.step;
  json["skipped"] = skipped;
  json["skipped_in_a_row"] = skipped_in_a_row;
  json["samples_seen"] = samples_seen;
  json["tokens_seen"] = tokens_seen;
  json["seed"] = settings.seed;
  json["global_batch"] = global_batch();
  json["steps_per_epoch"] = steps_per_epoch();
  json["dataset"] = source.fingerprint();
  json["loss_scale"] = {
      {"scale", scale.scale}, {"counter", scale.counter}, {"last_overflow", scale.last_overflow},
      {"rung", scale.rung},   {"rises", scale.rises},     {"falls", scale.falls}};
  json["identity"] = settings.identity;
  c.state_json = json.dump();
  store->begin(batches_done, config, c, settings.keep, go_on ? 1 : 0);
  if (!go_on) finish_save();
}

void Trainer::Impl::finish_save() {
  if (!store || !store->pending()) return;
  set_save_deadline();
  reporter.saved(store->finish());
  if (extra_save) extra_save(batches_done);
  set_step_deadline();
}

void Trainer::Impl::restore(const std::string& state_json) {
  const Json json = parse_json(state_json, "resume", "checkpoint state");
  // The JSON library itself would take fractions and cut them.
  const auto count = [](const Json& in, const char* key) {
    const Json& value = in.at(key);
    require<FormatError>(value.is_number_integer() && value.get<int64_t>() >= 0,
                         "resume: checkpoint state: {} is {}, expected a count", key,
                         escaped(value.dump(), 40));
    return value.get<int64_t>();
  };
  const auto same = [&](std::string_view field, const std::string& saved, const std::string& now) {
    require<MismatchError>(saved == now, "resume: {} of the checkpoint is {}, of this run {}",
                           field, saved, now);
  };
  try {
    if (json.contains("data")) {
      require<FormatError>(json["data"] == "unknown", "resume: checkpoint state: data is {}",
                           escaped(json["data"].dump(), 40));
      if (groups.grid.rank == 0)
        warn(
            "resume: the checkpoint was made from files that do not tell seed, data and global "
            "batch; "
            "this run's are taken for those of the run before");
    } else {
      same("the dataset fingerprint", json.at("dataset").get<std::string>(), source.fingerprint());
      same("the seed", std::to_string(json.at("seed").get<uint64_t>()),
           std::to_string(settings.seed));
      same("the global batch", std::to_string(count(json, "global_batch")),
           std::to_string(global_batch()));
      for (const auto& [name, value] : settings.identity) {
        same(name, json.at("identity").value(name, std::string("(none)")), value);
      }
    }
    batches_done = count(json, "batches_done");
    state.step = count(json, "updates");
    skipped = count(json, "skipped");
    skipped_in_a_row = count(json, "skipped_in_a_row");
    samples_seen = count(json, "samples_seen");
    tokens_seen = count(json, "tokens_seen");
    const Json& s = json.at("loss_scale");
    loss_scale.restore({s.at("scale").get<double>(), count(s, "counter"), count(s, "last_overflow"),
                        count(s, "rung"), count(s, "rises"), count(s, "falls")});
  } catch (const nlohmann::json::exception& e) {
    throw FormatError(fmt::format("resume: checkpoint state: {}", escaped(e.what(), 120)));
  }
}

}  // namespace cria
