// The plan for programs.
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "plan/report.h"

namespace cria {
namespace {

Json layout_json(const Layout& l, int64_t available) {
  return {{"data_parallel", l.run.grid.dp},
          {"model_parallel", l.run.grid.tp},
          {"pipeline_stage", l.run.grid.pp},
          {"batch_size", l.run.batch_size},
          {"micro_batches", l.run.micro_batches},
          {"bytes", l.memory.total()},
          {"fits", fits(l.memory.total(), available)},
          {"sent_bytes", l.sent_bytes},
          {"waiting", l.bubble},
          {"time_in_flops", l.time}};
}

Json memory_json(const RankMemory& memory) {
  Json items = Json::object();
  for (const MemoryItem& i : memory.items) items[std::string(i.name)] = i.bytes;
  return {{"rank", memory.rank}, {"bytes", memory.total()}, {"items", items}};
}

}  // namespace

std::string plan_json(const PlanReport& report) {
  const RankMemory memory = fullest_rank(report.run);
  Json sent = Json::array();
  for (const Traffic& t : step_traffic(report.run, memory.rank).sent)
    sent.push_back({{"group", t.group}, {"purpose", t.purpose}, {"bytes", t.bytes}});
  Json layouts = Json::array();
  for (const Layout& l : report.layouts) layouts.push_back(layout_json(l, report.available));
  Json json = {{"parameters", count_parameters(report.run.config)},
               {"ranks", report.run.ranks()},
               {"available_bytes", report.available},
               {"fits", fits(memory.total(), report.available)},
               {"fullest_rank", memory_json(memory)},
               {"sent_in_a_step", sent},
               {"layouts", layouts}};
  if (!fits(memory.total(), report.available)) {
    const auto change = cheapest_change(report.run, report.available);
    json["change"] =
        change ? Json{{"text", change->text}, {"bytes", change->memory.total()}} : Json();
  }
  return json.dump(1) + "\n";
}

}  // namespace cria
