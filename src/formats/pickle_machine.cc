#include "formats/pickle_machine.h"

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"

namespace cria {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxSteps = 10'000'000;
constexpr size_t kMaxStack = 1'000'000;
constexpr uint64_t kMaxMemo = uint64_t{1} << 24;

// Letters of protocol 2, as Python's pickle.py names them.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kNone = 'N',
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = 0x8a,
  kBinFloat = 'G',
  kBinUnicode = 'X',
  kShortBinString = 'U',
  kEmptyTuple = ')',
  kTuple = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kEmptyList = ']',
  kAppend = 'a',
  kAppends = 'e',
  kEmptyDict = '}',
  kSetItem = 's',
  kSetItems = 'u',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kGlobal = 'c',
  kReduce = 'R',
  kBuild = 'b',
  kBinPersId = 'Q',
};

// The three that need no new value each time come first in Pickle::values.
constexpr PickleIndex kNoneValue = 0, kFalseValue = 1, kTrueValue = 2;

}  // namespace

PickleMachine::PickleMachine(std::span<const std::byte> bytes, const std::string& path,
                             uint64_t base_offset)
    : bytes_(bytes),
      path_(path),
      base_offset_(base_offset),
      budget_(8 * bytes.size() + (uint64_t{16} << 20)) {
  out_.values = {std::monostate{}, false, true};
}

void PickleMachine::fail(std::string reason, std::string expected, std::string found) const {
  throw FormatError(describe({.what = "read PyTorch file",
                              .path = path_,
                              .offset = static_cast<int64_t>(base_offset_ + opcode_at_),
                              .reason = "pickle: " + std::move(reason),
                              .expected = std::move(expected),
                              .found = std::move(found)}));
}

Pickle PickleMachine::run() {
  if (bytes_.size() > kMaxBytes)
    fail("too long", fmt::format("at most {} bytes", kMaxBytes), std::to_string(bytes_.size()));
  if (const auto head = take(2); head[0] != std::byte{0x80} || head[1] != std::byte{2})
    fail("not protocol 2", "80 02", escaped(text_of(head)));
  for (uint64_t steps = 0;; ++steps) {
    if (steps > kMaxSteps) fail("too many opcodes", fmt::format("at most {}", kMaxSteps));
    opcode_at_ = position_;
    const auto opcode = number<uint8_t>();
    if (opcode == kStop) break;
    step(opcode);
  }
  if (!marks_.empty() || stack_.size() != 1)
    fail("it must end with one value", "1", std::to_string(stack_.size()));
  opcode_at_ = position_;
  if (position_ != bytes_.size()) fail("bytes behind its end");
  out_.root = stack_[0];
  return std::move(out_);
}

void PickleMachine::step(uint8_t opcode) {
  if (push_constant(opcode) || push_text_or_number(opcode) || build_container(opcode) ||
      use_memo(opcode))
    return;
  switch (opcode) {
    case kGlobal:
      return push_global();
    case kReduce:
      return reduce();
    case kBuild:
      return build();
    case kBinPersId:
      return load_storage();
    default:
      fail("opcode that a state dict does not need", "one of protocol 2's",
           fmt::format("{:#04x}", opcode));
  }
}

bool PickleMachine::push_constant(uint8_t opcode) {
  switch (opcode) {
    case kNone:
      push(kNoneValue);
      return true;
    case kNewTrue:
      push(kTrueValue);
      return true;
    case kNewFalse:
      push(kFalseValue);
      return true;
    case kEmptyTuple:
      push_new(PickleTuple{});
      return true;
    case kEmptyList:
      push_new(PickleList{});
      return true;
    case kEmptyDict:
      push_new(PickleDict{});
      return true;
    case kMark:
      if (marks_.size() >= kMaxStack) fail("too many marks");
      marks_.push_back(stack_.size());
      return true;
    default:
      return false;
  }
}

bool PickleMachine::push_text_or_number(uint8_t opcode) {
  switch (opcode) {
    case kBinInt:
      push_new(int64_t{number<int32_t>()});
      return true;
    case kBinInt1:
      push_new(int64_t{number<uint8_t>()});
      return true;
    case kBinInt2:
      push_new(int64_t{number<uint16_t>()});
      return true;
    case kLong1: {
      const auto size = number<uint8_t>();
      if (size > 8) fail("integer too long", "at most 8 bytes", std::to_string(size));
      const auto digits = take(size);
      uint64_t value = 0;
      for (size_t i = 0; i < size; ++i) value |= std::to_integer<uint64_t>(digits[i]) << (8 * i);
      if (size > 0 && size < 8 && (digits[size - 1] & std::byte{0x80}) != std::byte{0})
        value |= UINT64_MAX << (8 * size);
      push_new(static_cast<int64_t>(value));
      return true;
    }
    case kBinFloat:
      push_new(load_be<double>(take(8), 0));
      return true;
    case kBinUnicode:
      push_new(utf8(number<uint32_t>()));
      return true;
    case kShortBinString: {
      const auto text = text_of(take(number<uint8_t>()));
      for (const char c : text) {
        if (static_cast<unsigned char>(c) >= 0x80) fail("byte string that is not ASCII");
      }
      push_new(text);
      return true;
    }
    default:
      return false;
  }
}

bool PickleMachine::build_container(uint8_t opcode) {
  const auto tuple = [&](size_t count) {
    std::vector<PickleIndex> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_new(PickleTuple{std::move(items)});
  };
  switch (opcode) {
    case kTuple:
      push_new(PickleTuple{pop_to_mark()});
      return true;
    case kTuple1:
      tuple(1);
      return true;
    case kTuple2:
      tuple(2);
      return true;
    case kTuple3:
      tuple(3);
      return true;
    case kAppend:
      append_items(std::array{pop()});
      return true;
    case kAppends:
      append_items(pop_to_mark());
      return true;
    case kSetItem: {
      const PickleIndex value = pop();
      set_items(std::array{pop(), value});
      return true;
    }
    case kSetItems:
      set_items(pop_to_mark());
      return true;
    default:
      return false;
  }
}

bool PickleMachine::use_memo(uint8_t opcode) {
  switch (opcode) {
    case kBinPut:
      put(number<uint8_t>());
      return true;
    case kLongBinPut:
      put(number<uint32_t>());
      return true;
    case kBinGet:
      get(number<uint8_t>());
      return true;
    case kLongBinGet:
      get(number<uint32_t>());
      return true;
    default:
      return false;
  }
}

void PickleMachine::push(PickleIndex value) {
  if (stack_.size() >= kMaxStack) fail("stack too high", fmt::format("at most {}", kMaxStack));
  stack_.push_back(value);
}

void PickleMachine::push_new(PickleValue value) {
  charge(sizeof(PickleValue));
  if (const auto* tuple = std::get_if<PickleTuple>(&value))
    charge(tuple->items.size() * sizeof(PickleIndex));
  out_.values.push_back(std::move(value));
  push(static_cast<PickleIndex>(out_.values.size() - 1));
}

PickleIndex PickleMachine::pop() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail("takes from an empty stack");
  const PickleIndex value = stack_.back();
  stack_.pop_back();
  return value;
}

std::vector<PickleIndex> PickleMachine::pop_to_mark() {
  if (marks_.empty()) fail("no mark on the stack");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<PickleIndex> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

void PickleMachine::append_items(std::span<const PickleIndex> items) {
  charge(items.size() * 2 * sizeof(PickleIndex));
  const PickleIndex target = pop();
  auto* list = std::get_if<PickleList>(&out_.values[target]);
  if (list == nullptr) fail("appends to what is no list");
  list->items.insert(list->items.end(), items.begin(), items.end());
  push(target);
}

void PickleMachine::set_items(std::span<const PickleIndex> items) {
  charge(items.size() * 2 * sizeof(PickleIndex));
  const PickleIndex target = pop();
  auto* dict = std::get_if<PickleDict>(&out_.values[target]);
  if (dict == nullptr) fail("sets an item of what is no dict");
  if (items.size() % 2 != 0) fail("a dict's key without a value");
  for (size_t i = 0; i < items.size(); i += 2) {
    if (as<std::string_view>(items[i]) == nullptr && as<int64_t>(items[i]) == nullptr)
      fail("a dict's key is neither text nor integer");
  }
  dict->items.insert(dict->items.end(), items.begin(), items.end());
  push(target);
}

void PickleMachine::put(uint64_t memo_index) {
  if (memo_index > kMaxMemo)
    fail("memo index too high", fmt::format("at most {}", kMaxMemo), std::to_string(memo_index));
  const PickleIndex value = pop();
  push(value);
  if (memo_.insert_or_assign(memo_index, value).second) charge(64);
}

void PickleMachine::get(uint64_t memo_index) {
  const auto it = memo_.find(memo_index);
  if (it == memo_.end()) fail("memo that was never put", "", std::to_string(memo_index));
  push(it->second);
}

// Values may take 8 times the pickle and 16 MiB; a hostile one could ask for a value each byte.
void PickleMachine::charge(uint64_t bytes) {
  if (bytes > budget_) fail("more values than its length allows");
  budget_ -= bytes;
}

std::span<const std::byte> PickleMachine::take(uint64_t count) {
  const uint64_t left = bytes_.size() - position_;
  if (count > left)
    fail("ends too early", fmt::format("{} more bytes", count), std::to_string(left));
  position_ += count;
  return bytes_.subspan(position_ - count, count);
}

template <class T>
T PickleMachine::number() {
  return load_le<T>(take(sizeof(T)), 0);
}

std::string_view PickleMachine::line() {
  const auto rest = text_of(bytes_.subspan(position_));
  const size_t end = rest.find('\n');
  if (end == std::string_view::npos) fail("ends within a name");
  position_ += end + 1;
  return rest.substr(0, end);
}

std::string_view PickleMachine::utf8(uint64_t size) {
  const auto text = text_of(take(size));
  if (find_invalid_utf8(text)) fail("text that is not UTF-8");
  return text;
}

Pickle parse_pickle(std::span<const std::byte> bytes, const std::string& path,
                    uint64_t base_offset) {
  Pickle pickle = PickleMachine(bytes, path, base_offset).run();
  check_pickle_is_tree_like(pickle, path, base_offset);
  return pickle;
}

}  // namespace cria
