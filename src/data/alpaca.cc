#include "data/alpaca.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/side_manifest.h"

namespace cria {
namespace {

constexpr std::string_view kWithInput =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n";
constexpr std::string_view kWithoutInput =
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n";

// A JSON string as Python's json.dump(ensure_ascii=False) writes it.
void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void append_turn(std::string& out, std::string_view from, std::string_view value) {
  out += "      {\n        \"from\": ";
  append_json_string(out, from);
  out += ",\n        \"value\": ";
  append_json_string(out, value);
  out += "\n      }";
}

}  // namespace

AlpacaRecord parse_alpaca(const JsonRecords& records, const JsonRecord& record, Json object) {
  AlpacaRecord out;
  out.instruction = take_string(records, record, object, "instruction");
  out.output = take_string(records, record, object, "output");
  if (const auto input = object.find("input"); input != object.end() && !input->is_null())
    out.input = take_string(records, record, object, "input");
  return out;
}

std::string alpaca_prompt(std::string_view instruction, std::string_view input) {
  if (input.empty())
    return fmt::format("{}### Instruction:\n{}\n\n### Response:", kWithoutInput, instruction);
  return fmt::format("{}### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:", kWithInput,
                     instruction, input);
}

void append_conversation_json(std::string& out, const AlpacaRecord& record, int64_t number) {
  out += fmt::format("  {{\n    \"id\": \"{}\",\n    \"conversations\": [\n", number);
  append_turn(out, "human", alpaca_prompt(record.instruction, record.input));
  out += ",\n";
  append_turn(out, "gpt", record.output);
  out += "\n    ]\n  }";
}

int64_t convert_alpaca(const std::string& in_path, const std::string& out_path,
                       const ProgressCall& progress, BadRecords* bad) {
  BadRecords none;
  if (bad == nullptr) bad = &none;
  JsonRecords records(in_path, bad->first());
  AtomicFile file(out_path);
  int64_t count = 0;
  std::string text;
  for (JsonRecord record; records.next(record);) {
    AlpacaRecord alpaca;
    try {
      alpaca = parse_alpaca(records, record, records.parse(record));
    } catch (const FormatError& failure) {
      bad->skip(failure);
      continue;
    }
    text = count == 0 ? "[\n" : ",\n";
    append_conversation_json(text, alpaca, ++count);
    file.write(text);
    if (progress && count % 256 == 0) progress(records.position(), records.size());
  }
  file.write(count == 0 ? std::string_view("[]") : std::string_view("\n]"));
  remove_side_manifest(out_path);
  file.commit();
  write_side_manifest(out_path);
  if (progress) progress(records.size(), records.size());
  return count;
}

}  // namespace cria
