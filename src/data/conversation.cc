#include "data/conversation.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/alpaca.h"

namespace cria {
namespace {

Turn parse_turn(const JsonRecords& records, const JsonRecord& record, Json& json, size_t number) {
  if (!json.is_object())
    records.fail(record, fmt::format("turn {} is broken", number), "an object", json.type_name());
  Turn turn;
  turn.from = take_string(records, record, json, "from");
  if (turn.from != "human" && turn.from != "gpt")
    records.fail(record, fmt::format("turn {} has an unknown `from`", number), "human or gpt",
                 fmt::format("\"{}\"", escaped(turn.from)));
  turn.value = take_string(records, record, json, "value");
  return turn;
}

void take_turns(const JsonRecords& records, const JsonRecord& record, Json& list,
                std::vector<Turn>& turns) {
  if (!list.is_array())
    records.fail(record, "`conversations` has the wrong type", "an array", list.type_name());
  if (list.empty()) records.fail(record, "`conversations` is empty", "at least one turn");
  for (size_t i = 0; i < list.size(); ++i) {
    Turn turn = parse_turn(records, record, list[i], i);
    if (i == 0 && turn.from == "gpt") continue;
    const std::string_view due = turns.size() % 2 == 0 ? "human" : "gpt";
    if (turn.from != due)
      records.fail(record, fmt::format("turn {} is out of order", i), std::string(due), turn.from);
    turns.push_back(std::move(turn));
  }
}

}  // namespace

Conversation parse_conversation(const JsonRecords& records, const JsonRecord& record) {
  Json json = records.parse(record);
  Conversation out;
  if (const auto id = json.find("id"); id != json.end()) {
    if (id->is_string()) {
      out.id = id->get<std::string>();
    } else if (id->is_number_integer()) {
      out.id = id->dump();
    }
  }
  const auto list = json.find("conversations");
  if (list != json.end()) {
    take_turns(records, record, *list, out.turns);
  } else if (json.contains("instruction")) {
    AlpacaRecord alpaca = parse_alpaca(records, record, std::move(json));
    out.turns.push_back({"human", alpaca_prompt(alpaca.instruction, alpaca.input)});
    out.turns.push_back({"gpt", std::move(alpaca.output)});
  } else {
    records.fail(record, "`conversations` is missing");
  }
  return out;
}

bool ConversationReader::next(Conversation& conversation) {
  JsonRecord record;
  if (!records_.next(record)) return false;
  conversation = parse_conversation(records_, record);
  return true;
}

}  // namespace cria
