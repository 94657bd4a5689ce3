// The stack machine behind parse_pickle. pickle_machine.cc runs opcodes, pickle_reduce.cc says what
// the few known calls make.
#pragma once

#include <optional>
#include <unordered_map>

#include "formats/pickle.h"

namespace cria {

class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, const std::string& path, uint64_t base_offset);
  Pickle run();

 private:
  // pickle_machine.cc
  void step(uint8_t opcode);
  bool push_constant(uint8_t opcode);
  bool push_text_or_number(uint8_t opcode);
  bool build_container(uint8_t opcode);
  bool use_memo(uint8_t opcode);
  void push(PickleIndex value);
  void push_new(PickleValue value);
  PickleIndex pop();
  /// Pops the values above the last MARK, and the mark.
  std::vector<PickleIndex> pop_to_mark();
  void append_items(std::span<const PickleIndex> items);
  void set_items(std::span<const PickleIndex> items);
  void put(uint64_t memo_index);
  void get(uint64_t memo_index);
  void charge(uint64_t bytes);
  std::span<const std::byte> take(uint64_t count);
  template <class T>
  T number();
  std::string_view line();
  std::string_view utf8(uint64_t size);

  // pickle_reduce.cc
  void push_global();
  void reduce();
  void build();
  void load_storage();
  PickleTensor make_tensor(std::span<const PickleIndex> args);
  std::vector<int64_t> sizes(PickleIndex tuple, const char* what);
  bool is_empty_ordered_dict(PickleIndex value) const;
  template <class T>
  const T* as(PickleIndex value) const {
    return std::get_if<T>(&out_.values[value]);
  }

  [[noreturn]] void fail(std::string reason, std::string expected = {},
                         std::string found = {}) const;

  std::span<const std::byte> bytes_;
  const std::string& path_;
  uint64_t base_offset_, position_ = 0, opcode_at_ = 0, budget_;
  Pickle out_;
  std::vector<PickleIndex> stack_;
  std::vector<size_t> marks_;  // stack heights
  std::unordered_map<uint64_t, PickleIndex> memo_;
  std::unordered_map<std::string_view, uint32_t> storage_of_key_;
};

/// Throws FormatError at a cycle among the values that `root` reaches, and below depth 64.
void check_pickle_is_tree_like(const Pickle& pickle, const std::string& path, uint64_t offset);

}  // namespace cria
