# cria_cuda_objects(out files...): kernels compiled by nvcc, for the library that the program loads, where the toolkit is:
# nvcc, the runtime and cuBLASLt, below CRIA_CUDA_ROOT (a variable of CMake or of the environment), in build/cuda, or in the
# system's place. CRIA_CUDA_FOUND says whether. nvcc is called directly: as a language of the project it would be given the
# flags that g++ is given.
option(CRIA_CUDA "Compile the CUDA kernels where the toolkit is found" ON)
set(CRIA_CUDA_ARCHITECTURES "80;90a" CACHE STRING "Compute capabilities; the first also as PTX, for devices that come later")
set(roots ${CRIA_CUDA_ROOT} $ENV{CRIA_CUDA_ROOT} ${PROJECT_SOURCE_DIR}/build/cuda /usr/local/cuda)
set(places)
foreach(root ${roots})
  list(APPEND places ${root})
  foreach(part cuda_nvcc cuda_runtime cublas cu13)
    list(APPEND places ${root}/nvidia/${part})
  endforeach()
endforeach()
find_program(CRIA_NVCC nvcc HINTS ${places} PATH_SUFFIXES bin)
find_path(CRIA_CUBLAS_INCLUDE cublasLt.h HINTS ${places} PATH_SUFFIXES include)
find_path(CRIA_CUDART_INCLUDE cuda_runtime_api.h HINTS ${places} PATH_SUFFIXES include)
find_library(CRIA_CUBLASLT_LIB NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12 HINTS ${CRIA_CUBLAS_INCLUDE}/.. ${places}
  PATH_SUFFIXES lib lib64)
find_library(CRIA_CUDART_LIB NAMES cudart libcudart.so.13 libcudart.so.12 HINTS ${CRIA_CUDART_INCLUDE}/.. ${places}
  PATH_SUFFIXES lib lib64)
mark_as_advanced(CRIA_NVCC CRIA_CUBLAS_INCLUDE CRIA_CUDART_INCLUDE CRIA_CUBLASLT_LIB CRIA_CUDART_LIB)

set(CRIA_CUDA_FOUND FALSE)
set(missing)
foreach(part CRIA_NVCC CRIA_CUBLAS_INCLUDE CRIA_CUDART_INCLUDE CRIA_CUBLASLT_LIB CRIA_CUDART_LIB)
  if(NOT ${part})
    list(APPEND missing ${part})
  endif()
endforeach()
if(NOT CRIA_CUDA)
  message(STATUS "CUDA: not wanted (CRIA_CUDA is OFF), so libcria_cuda.so is not built")
elseif(CRIA_SANITIZE OR CRIA_FUZZ)
  message(STATUS "CUDA: not with sanitizers, so libcria_cuda.so is not built")
elseif(missing)
  list(JOIN missing " " missing)
  message(STATUS "CUDA: not found (${missing}), so libcria_cuda.so is not built")
else()
  set(CRIA_CUDA_FOUND TRUE)
  message(STATUS "CUDA: ${CRIA_NVCC}, ${CRIA_CUBLASLT_LIB}, for compute capabilities ${CRIA_CUDA_ARCHITECTURES}")
endif()

function(cria_cuda_objects out)
  # Numbers that a kernel keeps in memory instead of registers make it many times slower: the assembler says where.
  set(flags -std=c++20 -O3 --threads 1 -Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra
    -Xptxas=--warn-on-spills,--warn-on-local-memory-usage)
  if(CRIA_WERROR)
    list(APPEND flags -Werror all-warnings)
  endif()
  list(GET CRIA_CUDA_ARCHITECTURES 0 oldest)
  list(APPEND flags -gencode arch=compute_${oldest},code=compute_${oldest})
  foreach(architecture ${CRIA_CUDA_ARCHITECTURES})
    list(APPEND flags -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  set(objects)
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME_WE)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/cuda/${name}.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/cuda
      COMMAND ${CCACHE} ${CRIA_NVCC} ${flags} -I${PROJECT_SOURCE_DIR}/src -I${PROJECT_SOURCE_DIR}/src/ops/cuda/real
        -I${CRIA_CUBLAS_INCLUDE} -I${CRIA_CUDART_INCLUDE} -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source} DEPFILE ${object}.d COMMENT "nvcc ${name}" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set(${out} ${objects} PARENT_SCOPE)
endfunction()
