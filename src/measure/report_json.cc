// A measurement for programs.
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "measure/bench.h"
#include "measure/timing.h"

namespace cria {
namespace {

Json summary_json(const std::vector<double>& values) {
  const Summary s = summary(values);
  return {{"median", s.median},
          {"least", s.least},
          {"most", s.most},
          {"spread", s.spread()},
          {"runs", values}};
}

std::string text_of(DType dtype) { return dtype == DType::f32 ? "fp32" : "bf16"; }

Json peak_json(const PeakResult& p, int threads) {
  Json json = {{"peak", name_of(p.peak)}, {"unit", p.peak == Peak::read ? "bytes" : "operations"}};
  if (p.method.bits > 0)
    json.update({{"instruction", p.method.instruction}, {"bits", p.method.bits}});
  json["per_s"] = Json::array({{{"threads", 1}, {"rate", summary_json(p.one)}}});
  if (threads > 1) json["per_s"].push_back({{"threads", threads}, {"rate", summary_json(p.all)}});
  return json;
}

Json job_json(const JobResult& j) {
  const bool tokens = j.tokens > 0;
  return {{"job", name_of(j.job)},
          {"tokens", j.tokens},
          {"tokens_per_s", tokens ? Json(j.tokens_per_s()) : Json()},
          {"seconds", summary_json(j.seconds)},
          {"processor_seconds", summary_json(j.processor_seconds)},
          {"unit", j.peak == Peak::read ? "bytes" : "operations"},
          {"work", j.work},
          {"work_per_token", tokens ? Json(j.work / static_cast<double>(j.tokens)) : Json()},
          {"work_per_s", j.work / summary(j.seconds).median},
          {"peak", name_of(j.peak)},
          {"peak_per_s", summary_json(j.peaks)},
          {"share_of_peak", summary_json(j.shares())},
          {"best_share_of_peak", j.best_share()},
          {"peak_memory_bytes", j.peak_memory_bytes}};
}

Json machine_json(const Machine& m) {
  return {{"processor", m.processor},
          {"cores", m.cores},
          {"isa", m.isa},
          {"l3_bytes", m.l3_bytes},
          {"available_memory_bytes", m.available_bytes},
          {"system", m.system},
          {"load_before", m.load}};
}

}  // namespace

std::string bench_json(const BenchReport& r, std::string_view version) {
  const BenchSettings& s = r.settings;
  Json json = {{"cria", version},
               {"compiler", r.machine.compiler},
               {"date", r.machine.date},
               {"machine", machine_json(r.machine)},
               {"threads", r.threads},
               {"repeat", s.repeat},
               {"read_memory_bytes", r.read_bytes}};
  if (!r.device.empty()) json["device"] = r.device;
  if (!r.model.empty()) {
    json["model"] = {{"name", r.model}, {"random", r.random}, {"parameters", r.parameters}};
    json["settings"] = {{"dtype", text_of(s.dtype)},
                        {"prompt", s.prompt},
                        {"tokens", s.tokens},
                        {"depth", s.depth},
                        {"batch", s.batch}};
    if (s.storage != DType::f32) json["settings"]["storage"] = text_of(s.storage);
    if (s.recompute) json["settings"]["recompute"] = true;
    if (s.weights) json["settings"]["weights"] = name_of(*s.weights);
    if (s.cache_type() == DType::i8) json["settings"]["cache"] = "int8";
  }
  json["peaks"] = Json::array();
  for (const PeakResult& p : r.peaks) json["peaks"].push_back(peak_json(p, r.threads));
  json["jobs"] = Json::array();
  for (const JobResult& j : r.jobs) json["jobs"].push_back(job_json(j));
  return json.dump(1) + "\n";
}

}  // namespace cria
