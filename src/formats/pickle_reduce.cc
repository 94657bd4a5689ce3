// What a state dict's pickle may mention and call, and the walk over its result.
#include <array>

#include "base/checked.h"
#include "base/error.h"
#include "formats/pickle_machine.h"

namespace cria {
namespace {

using Kind = PickleGlobal::Kind;

struct KnownGlobal {
  std::string_view module, name;
  PickleGlobal value;
};
constexpr std::array kGlobals = {
    KnownGlobal{"collections", "OrderedDict", {Kind::ordered_dict}},
    KnownGlobal{"torch._utils", "_rebuild_tensor_v2", {Kind::rebuild_tensor}},
    KnownGlobal{"torch._utils", "_rebuild_parameter", {Kind::rebuild_parameter}},
    KnownGlobal{"torch", "Size", {Kind::size}},
    KnownGlobal{"torch", "DoubleStorage", {Kind::storage, DType::f64}},
    KnownGlobal{"torch", "FloatStorage", {Kind::storage, DType::f32}},
    KnownGlobal{"torch", "HalfStorage", {Kind::storage, DType::f16}},
    KnownGlobal{"torch", "BFloat16Storage", {Kind::storage, DType::bf16}},
    KnownGlobal{"torch", "LongStorage", {Kind::storage, DType::i64}},
    KnownGlobal{"torch", "IntStorage", {Kind::storage, DType::i32}},
    KnownGlobal{"torch", "ShortStorage", {Kind::storage, DType::i16}},
    KnownGlobal{"torch", "CharStorage", {Kind::storage, DType::i8}},
    KnownGlobal{"torch", "ByteStorage", {Kind::storage, DType::u8}},
    KnownGlobal{"torch", "BoolStorage", {Kind::storage, DType::boolean}},
};

// The last element's index, plus one; nothing when that overflows.
std::optional<uint64_t> extent(const PickleTensor& t) {
  std::optional<uint64_t> last = t.offset;
  for (size_t i = 0; i < t.shape.size() && last; ++i) {
    const auto step =
        checked_mul(static_cast<uint64_t>(t.shape[i] - 1), static_cast<uint64_t>(t.strides[i]));
    last = step ? checked_add(*last, *step) : std::nullopt;
  }
  return last ? checked_add(*last, 1) : std::nullopt;
}

bool is_key(std::string_view key) {
  return !key.empty() && key.size() <= 20 &&
         key.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

void PickleMachine::push_global() {
  const auto module = line(), name = line();
  for (const KnownGlobal& g : kGlobals) {
    if (g.module == module && g.name == name) return push_new(g.value);
  }
  fail(fmt::format("it asks for {}.{}, which no state dict needs; refused", escaped(module),
                   escaped(name)));
}

void PickleMachine::reduce() {
  const PickleIndex args_at = pop(), callee_at = pop();
  const auto* callee = as<PickleGlobal>(callee_at);
  const auto* args = as<PickleTuple>(args_at);
  if (callee == nullptr || args == nullptr || callee->kind == Kind::storage)
    fail("calls what cannot be called");
  const std::vector<PickleIndex> items = args->items;
  switch (callee->kind) {
    case Kind::ordered_dict:
      if (!items.empty()) fail("arguments of OrderedDict", "none", std::to_string(items.size()));
      return push_new(PickleDict{.items = {}, .ordered = true});
    case Kind::size:
      if (items.size() != 1) fail("arguments of Size", "1", std::to_string(items.size()));
      (void)sizes(items[0], "Size");
      return push(items[0]);
    case Kind::rebuild_parameter:
      if (items.size() != 3 || as<PickleTensorRef>(items[0]) == nullptr ||
          as<bool>(items[1]) == nullptr || !is_empty_ordered_dict(items[2]))
        fail("arguments of _rebuild_parameter", "(tensor, bool, OrderedDict())");
      return push(items[0]);
    default: {
      PickleTensor tensor = make_tensor(items);
      charge(sizeof(PickleTensor) + 16 * tensor.shape.size());
      out_.tensors.push_back(std::move(tensor));
      return push_new(PickleTensorRef{static_cast<uint32_t>(out_.tensors.size() - 1)});
    }
  }
}

PickleTensor PickleMachine::make_tensor(std::span<const PickleIndex> args) {
  const char* expected = "(storage, offset, size, stride, bool, OrderedDict() [, None or {}])";
  if (args.size() != 6 && args.size() != 7)
    fail("arguments of _rebuild_tensor_v2", expected, std::to_string(args.size()));
  const auto* storage = as<PickleStorageRef>(args[0]);
  const auto* offset = as<int64_t>(args[1]);
  bool metadata_empty = true;
  if (args.size() == 7) {
    const auto* dict = as<PickleDict>(args[6]);
    metadata_empty = as<std::monostate>(args[6]) != nullptr || (dict && dict->items.empty());
  }
  if (storage == nullptr || offset == nullptr || *offset < 0 || as<bool>(args[4]) == nullptr ||
      !is_empty_ordered_dict(args[5]) || !metadata_empty)
    fail("arguments of _rebuild_tensor_v2", expected);
  PickleTensor tensor{.storage = storage->index,
                      .offset = static_cast<uint64_t>(*offset),
                      .shape = sizes(args[2], "size"),
                      .strides = sizes(args[3], "stride")};
  if (tensor.shape.size() != tensor.strides.size())
    fail("a tensor's size and stride differ in length", std::to_string(tensor.shape.size()),
         std::to_string(tensor.strides.size()));
  for (const int64_t dim : tensor.shape) {
    if (dim == 0) return tensor;  // no element, nothing to be outside
  }
  const auto end = extent(tensor);
  const uint64_t elements = out_.storages[storage->index].elements;
  if (!end || *end > elements)
    fail("a tensor reaches out of its storage", fmt::format("at most {} elements", elements),
         end ? std::to_string(*end) : "overflow");
  return tensor;
}

std::vector<int64_t> PickleMachine::sizes(PickleIndex tuple, const char* what) {
  const auto* items = as<PickleTuple>(tuple);
  if (items == nullptr || items->items.size() > 8)
    fail(fmt::format("bad {} of a tensor", what), "a tuple of at most 8 integers");
  std::vector<int64_t> out;
  for (const PickleIndex item : items->items) {
    const auto* number = as<int64_t>(item);
    if (number == nullptr || *number < 0)
      fail(fmt::format("bad {} of a tensor", what), "integers of 0 or more");
    out.push_back(*number);
  }
  return out;
}

bool PickleMachine::is_empty_ordered_dict(PickleIndex value) const {
  const auto* dict = as<PickleDict>(value);
  return dict != nullptr && dict->ordered && dict->items.empty();
}

// An OrderedDict's attributes (Hugging Face puts module versions there) are of no use to us.
void PickleMachine::build() {
  pop();
  const PickleIndex target = pop();
  const auto* dict = as<PickleDict>(target);
  if (dict == nullptr || !dict->ordered) fail("sets attributes of what is no OrderedDict");
  push(target);
}

void PickleMachine::load_storage() {
  const char* expected = "(\"storage\", kind, key, device, numel)";
  const auto* id = as<PickleTuple>(pop());
  if (id == nullptr || id->items.size() != 5) fail("bad reference to a storage", expected);
  const auto* tag = as<std::string_view>(id->items[0]);
  const auto* kind = as<PickleGlobal>(id->items[1]);
  const auto* key = as<std::string_view>(id->items[2]);
  const auto* device = as<std::string_view>(id->items[3]);
  const auto* count = as<int64_t>(id->items[4]);
  if (tag == nullptr || *tag != "storage" || kind == nullptr || kind->kind != Kind::storage ||
      key == nullptr || !is_key(*key) || device == nullptr || count == nullptr || *count < 0)
    fail("bad reference to a storage", expected);
  const PickleStorage storage{*key, kind->dtype, static_cast<uint64_t>(*count)};
  const auto next = static_cast<uint32_t>(out_.storages.size());
  const auto [it, fresh] = storage_of_key_.emplace(storage.key, next);
  if (fresh) {
    charge(sizeof(PickleStorage) + 64);
    out_.storages.push_back(storage);
  } else if (const PickleStorage& old = out_.storages[it->second];
             old.dtype != storage.dtype || old.elements != storage.elements) {
    fail(fmt::format("storage {} is described in two ways", storage.key),
         fmt::format("{} x {}", old.elements, name_of(old.dtype)),
         fmt::format("{} x {}", storage.elements, name_of(storage.dtype)));
  }
  push_new(PickleStorageRef{it->second});
}

namespace {

std::span<const PickleIndex> children(const PickleValue& value) {
  if (const auto* tuple = std::get_if<PickleTuple>(&value)) return tuple->items;
  if (const auto* list = std::get_if<PickleList>(&value)) return list->items;
  if (const auto* dict = std::get_if<PickleDict>(&value)) return dict->items;
  return {};
}

}  // namespace

// Depth first with our own stack. A value met again while it is still open is a cycle; one that is
// done need not be visited twice, unless deeper than before: depth is bounded by the open path.
void check_pickle_is_tree_like(const Pickle& pickle, const std::string& path, uint64_t offset) {
  const auto fail = [&](const char* reason) {
    throw FormatError(describe({.what = "read PyTorch file",
                                .path = path,
                                .offset = static_cast<int64_t>(offset),
                                .reason = reason}));
  };
  struct Open {
    PickleIndex value;
    size_t next_child;
  };
  enum class State : uint8_t { fresh, open, done };
  std::vector<State> states(pickle.values.size(), State::fresh);
  std::vector<uint8_t> heights(pickle.values.size(), 0);  // of done values
  std::vector<Open> open{{pickle.root, 0}};
  states[pickle.root] = State::open;
  while (!open.empty()) {
    Open& top = open.back();
    const auto items = children(pickle.values[top.value]);
    if (top.next_child < items.size()) {
      const PickleIndex child = items[top.next_child++];
      if (states[child] == State::open) fail("pickle: a value contains itself");
      if (open.size() + heights[child] >= 64) fail("pickle: values deeper than 64");
      if (states[child] == State::done) continue;
      states[child] = State::open;
      open.push_back({child, 0});
      continue;
    }
    states[top.value] = State::done;
    for (const PickleIndex child : items)
      heights[top.value] = std::max<uint8_t>(heights[top.value], heights[child] + 1);
    open.pop_back();
  }
}

}  // namespace cria
