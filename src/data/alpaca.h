// Alpaca data: records {"instruction", "input", "output"}, and the recipe's converter to
// conversations.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "data/bad_records.h"
#include "data/json_records.h"

namespace cria {

struct AlpacaRecord {
  std::string instruction;
  std::string input;  // empty when the record has none
  std::string output;
};

/// Called now and then with the bytes of input done and in all.
using ProgressCall = std::function<void(uint64_t done, uint64_t total)>;

/// Reads one record; `object` is what records.parse(record) gave and is used up. `instruction` and
/// `output` must be strings, `input` a string, null or absent; other keys are ignored. Throws
/// FormatError naming the record and where it begins.
AlpacaRecord parse_alpaca(const JsonRecords& records, const JsonRecord& record, Json object);

/// The recipe's prompt around an instruction, with an "### Input:" part unless `input` is empty
/// (a single space is not empty). Braces in the texts are plain text.
std::string alpaca_prompt(std::string_view instruction, std::string_view input);

/// Appends the conversation made of a record, as convert_alpaca writes it: two turns, id `number`.
void append_conversation_json(std::string& out, const AlpacaRecord& record, int64_t number);

/// Alpaca records (a JSON array or JSON lines) to the recipe's conversations file, byte for byte as
/// the recipe's alpaca_converter writes it: indent 2, UTF-8 as it is, ids "1", "2", ... Holds one
/// record at a time. Returns the number of records. An older file of that name is replaced when all
/// went well; `<out_path>.sum.json` gets its sums. Records that `bad` takes are left out, and the ids of those behind them close the gap.
/// Throws FormatError (nothing is written) or IoError.
int64_t convert_alpaca(const std::string& in_path, const std::string& out_path,
                       const ProgressCall& progress = {}, BadRecords* bad = nullptr);

}  // namespace cria
