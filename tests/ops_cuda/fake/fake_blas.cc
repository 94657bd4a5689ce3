// cuBLASLt for tests: computes each product plainly, and refuses what the library's manual does not allow: shapes that do not fit
// together, columns that overlap, types that do not go together, an algorithm chosen for another product or for better aligned
// addresses, workspace that is missing, and matrices that reach beyond the device's memory.
#include <cublasLt.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "ops_cuda/fake/fake_cuda.h"
#include "tensor/dtype.h"

namespace {

struct Layout {
  uint64_t type, rows, cols;
  int64_t ld;
};
struct Desc {
  int32_t compute, transpose_a, transpose_b;
};
struct Preference {
  uint64_t workspace;
  uint32_t reduction, align[4];  // of a, b, c, d
};

/// What an algorithm was chosen for.
struct Algorithm {
  uint64_t shapes;
  uint32_t workspace, align[4];
  int32_t number;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

// Of the algorithms; one is not to be had.
constexpr float kMs[cria::kFakeAlgorithms] = {2, 1, 0, 1.5};
constexpr int kMissing = 2;
std::atomic<int64_t> products[cria::kFakeAlgorithms];

template <class Own, class Opaque>
Own of(const Opaque* opaque) {
  static_assert(sizeof(Own) <= sizeof(Opaque));
  Own own;
  std::memcpy(&own, opaque, sizeof(own));
  return own;
}
template <class Own, class Opaque>
void put(Opaque* opaque, const Own& own) {
  std::memcpy(opaque, &own, sizeof(own));
}

size_t size_of(uint64_t type) { return type == CUDA_R_32F ? 4 : 2; }

bool valid(const Layout& l) {
  return l.rows > 0 && l.cols > 0 && l.ld >= static_cast<int64_t>(l.rows);
}

/// op(a) [m, k] op(b) [k, n] = d [m, n], and types that the library multiplies with sums in f32.
bool fits(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  const uint64_t m = desc.transpose_a ? a.cols : a.rows, k = desc.transpose_a ? a.rows : a.cols;
  const uint64_t n = desc.transpose_b ? b.rows : b.cols, bk = desc.transpose_b ? b.cols : b.rows;
  const bool shapes = d.rows == m && d.cols == n && bk == k && c.rows == m && c.cols == n;
  const bool types =
      a.type == b.type && c.type == d.type && (d.type == a.type || d.type == CUDA_R_32F);
  return valid(a) && valid(b) && valid(c) && valid(d) && shapes && types &&
         desc.compute == CUBLAS_COMPUTE_32F;
}

uint64_t mixed(uint64_t h, uint64_t x) { return (h ^ x) * 0x9e3779b97f4a7c15ull + (h >> 29); }
uint64_t shapes_of(const Desc& desc, const Layout& a, const Layout& b, const Layout& d) {
  uint64_t h =
      mixed(static_cast<uint64_t>(desc.transpose_a), static_cast<uint64_t>(desc.transpose_b));
  for (const Layout& l : {a, b, d})
    for (const uint64_t x : {l.type, l.rows, l.cols, static_cast<uint64_t>(l.ld)}) h = mixed(h, x);
  return h;
}

bool aligned(const void* p, uint32_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

bool in_memory(const void* p, const Layout& l) {
  const auto elements = static_cast<uint64_t>(l.ld) * (l.cols - 1) + l.rows;
  return cria::fake_cuda_owns(p, elements * size_of(l.type));
}

float element(const void* p, uint64_t type, int64_t i) {
  switch (type) {
    case CUDA_R_16BF:
      return static_cast<float>(static_cast<const cria::bf16*>(p)[i]);
    case CUDA_R_16F:
      return static_cast<float>(static_cast<const cria::f16*>(p)[i]);
    default:
      return static_cast<const float*>(p)[i];
  }
}
void set_element(void* p, uint64_t type, int64_t i, float value) {
  switch (type) {
    case CUDA_R_16BF:
      static_cast<cria::bf16*>(p)[i] = cria::bf16(value);
      return;
    case CUDA_R_16F:
      static_cast<cria::f16*>(p)[i] = cria::f16(value);
      return;
    default:
      static_cast<float*>(p)[i] = value;
  }
}

void multiply(const Desc& desc, const void* a, const Layout& al, const void* b, const Layout& bl,
              float beta, void* d, const Layout& dl) {
  const auto m = static_cast<int64_t>(dl.rows), n = static_cast<int64_t>(dl.cols);
  const auto k = static_cast<int64_t>(desc.transpose_a ? al.rows : al.cols);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (int64_t e = 0; e < k; ++e) {
        sum += static_cast<double>(
                   element(a, al.type, desc.transpose_a ? i * al.ld + e : e * al.ld + i)) *
               static_cast<double>(
                   element(b, bl.type, desc.transpose_b ? e * bl.ld + j : j * bl.ld + e));
      }
      const int64_t at = j * dl.ld + i;
      // With beta 0 the old content does not count, NaN or not.
      const float old = beta == 0 ? 0.0f : beta * element(d, dl.type, at);
      set_element(d, dl.type, at, static_cast<float>(sum) + old);
    }
  }
}

}  // namespace

int64_t cria::fake_blas_products(int algorithm) { return products[algorithm]; }

size_t cublasLtGetVersion() { return 130200; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(new int);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete reinterpret_cast<int*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "invalid value";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  *desc = new cublasLtMatmulDescOpaque_t{};
  put(*desc, Desc{static_cast<int32_t>(compute), 0, 0});
  return scale == CUDA_R_32F ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t size) {
  if (size != sizeof(int32_t)) return CUBLAS_STATUS_INVALID_VALUE;
  Desc own = of<Desc>(desc);
  int32_t op;
  std::memcpy(&op, value, size);
  (attribute == CUBLASLT_MATMUL_DESC_TRANSA ? own.transpose_a : own.transpose_b) = op;
  put(desc, own);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld) {
  *layout = new cublasLtMatrixLayoutOpaque_t{};
  put(*layout, Layout{static_cast<uint64_t>(type), rows, cols, ld});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreferenceOpaque_t{};
  put(*preference, Preference{0, 7, {256, 256, 256, 256}});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t size) {
  Preference own = of<Preference>(preference);
  const bool is_workspace = attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
  if (size != (is_workspace ? sizeof(uint64_t) : sizeof(uint32_t)))
    return CUBLAS_STATUS_INVALID_VALUE;
  void* const to = is_workspace ? static_cast<void*>(&own.workspace)
                   : attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK
                       ? static_cast<void*>(&own.reduction)
                       : &own.align[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES];
  std::memcpy(to, value, size);
  put(preference, own);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t /*handle*/,
                                              cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* found) {
  *found = 0;
  const Desc own = of<Desc>(desc);
  const Layout al = of<Layout>(a), bl = of<Layout>(b), dl = of<Layout>(d);
  if (wanted < 1 || !fits(own, al, bl, of<Layout>(c), dl)) return CUBLAS_STATUS_NOT_SUPPORTED;
  const Preference p = of<Preference>(preference);
  // Sums in place or in the output's type: the bits may differ from run to run, or worse.
  constexpr uint32_t kInPlaceOrOutputType = 1 | 4;
  if ((p.reduction & kInPlaceOrOutputType) != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  Algorithm algorithm{shapes_of(own, al, bl, dl), static_cast<uint32_t>(p.workspace), {}, 0};
  std::memcpy(algorithm.align, p.align, sizeof(p.align));
  *found = std::min(wanted, cria::kFakeAlgorithms);
  for (int i = 0; i < *found; ++i) {
    algorithm.number = i;
    results[i] = {};
    put(&results[i].algo, algorithm);
    results[i].workspaceSize = p.workspace;
    results[i].state = i == kMissing ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t desc,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algo,
                                       cublasLtMatmulHeuristicResult_t* result) {
  const Desc own = of<Desc>(desc);
  const Layout al = of<Layout>(a), bl = of<Layout>(b), dl = of<Layout>(d);
  const Algorithm algorithm = of<Algorithm>(algo);
  const bool good = fits(own, al, bl, of<Layout>(c), dl) &&
                    algorithm.shapes == shapes_of(own, al, bl, dl) && algorithm.number >= 0 &&
                    algorithm.number < cria::kFakeAlgorithms && algorithm.number != kMissing;
  *result = {};
  result->workspaceSize = algorithm.workspace;
  return good ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t desc,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo,
                              void* workspace, size_t workspace_size, cudaStream_t stream) {
  const Desc own = of<Desc>(desc);
  const Layout al = of<Layout>(a_layout), bl = of<Layout>(b_layout), dl = of<Layout>(d_layout);
  const Algorithm algorithm = of<Algorithm>(algo);
  if (!fits(own, al, bl, of<Layout>(c_layout), dl) ||
      algorithm.shapes != shapes_of(own, al, bl, dl) || algorithm.number == kMissing || c != d)
    return CUBLAS_STATUS_INVALID_VALUE;
  const void* const pointers[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i)
    if (!aligned(pointers[i], algorithm.align[i])) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (workspace_size < algorithm.workspace || !cria::fake_cuda_owns(workspace, workspace_size) ||
      !aligned(workspace, 256))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (!in_memory(a, al) || !in_memory(b, bl) || !in_memory(d, dl))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (*static_cast<const float*>(alpha) != 1) return CUBLAS_STATUS_INVALID_VALUE;
  const float old = *static_cast<const float*>(beta);
  ++products[algorithm.number];
  cria::fake_cuda_enqueue(
      stream, [=] { multiply(own, a, al, b, bl, old, d, dl); }, kMs[algorithm.number]);
  return CUBLAS_STATUS_SUCCESS;
}
