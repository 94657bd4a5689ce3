// Any bytes as Alpaca data; of an accepted record the converter's conversation reads back the same.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "data/alpaca.h"
#include "data/conversation.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    cria::JsonRecords records(text, "fuzz.json");
    for (cria::JsonRecord record; records.next(record);) {
      const cria::AlpacaRecord alpaca = cria::parse_alpaca(records, record, records.parse(record));
      std::string converted = "[\n";
      cria::append_conversation_json(converted, alpaca, record.index + 1);
      converted += "\n]";
      cria::JsonRecords again(converted, "converted.json");
      cria::JsonRecord one;
      cria::check(again.next(one), "there is one conversation");
      const cria::Conversation c = cria::parse_conversation(again, one);
      cria::check(!again.next(one), "and no other");
      cria::check(c.turns.size() == 2 && c.turns[1].value == alpaca.output &&
                      c.turns[0].value == cria::alpaca_prompt(alpaca.instruction, alpaca.input),
                  "the conversation holds the record's texts");
    }
  } catch (const cria::FormatError&) {
  }
  return 0;
}
