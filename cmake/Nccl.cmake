# CRIA_NCCL_FOUND and Cria::nccl: NCCL and the CUDA runtime, where they are installed: below CRIA_NCCL_ROOT and CRIA_CUDA_ROOT
# (variables of CMake or of the environment), in build/cuda (./dev setup --cuda), or in the system's places. A root may be a
# toolkit or a folder of PyPI's wheels (nvidia/<part>/include).
set(roots ${CRIA_NCCL_ROOT} $ENV{CRIA_NCCL_ROOT} ${CRIA_CUDA_ROOT} $ENV{CRIA_CUDA_ROOT} ${PROJECT_SOURCE_DIR}/build/cuda
  /usr/local/cuda)
set(places)
foreach(root ${roots})
  list(APPEND places ${root})
  foreach(part nccl cuda_runtime cuda_nvcc cuda_cccl)
    list(APPEND places ${root}/nvidia/${part})
  endforeach()
endforeach()

find_path(CRIA_NCCL_INCLUDE nccl.h HINTS ${places} PATH_SUFFIXES include)
find_path(CRIA_CUDART_INCLUDE cuda_runtime_api.h HINTS ${places} PATH_SUFFIXES include)
# In wheels these are folders of their own.
find_path(CRIA_CUDA_CRT_INCLUDE crt/host_defines.h HINTS ${places} PATH_SUFFIXES include)
find_path(CRIA_CUDA_NV_INCLUDE nv/target HINTS ${places} PATH_SUFFIXES include include/cccl)
# From beside their headers first: those of another version say another interface.
find_library(CRIA_NCCL_LIB NAMES nccl libnccl.so.2 HINTS ${CRIA_NCCL_INCLUDE}/.. ${places} PATH_SUFFIXES lib lib64)
find_library(CRIA_CUDART_LIB NAMES cudart libcudart.so.13 libcudart.so.12 HINTS ${CRIA_CUDART_INCLUDE}/.. ${places}
  PATH_SUFFIXES lib lib64)
mark_as_advanced(CRIA_NCCL_INCLUDE CRIA_CUDART_INCLUDE CRIA_CUDA_CRT_INCLUDE CRIA_CUDA_NV_INCLUDE CRIA_NCCL_LIB CRIA_CUDART_LIB)

set(CRIA_NCCL_FOUND FALSE)
set(missing)
foreach(part CRIA_NCCL_INCLUDE CRIA_CUDART_INCLUDE CRIA_CUDA_CRT_INCLUDE CRIA_CUDA_NV_INCLUDE CRIA_NCCL_LIB CRIA_CUDART_LIB)
  if(NOT ${part})
    list(APPEND missing ${part})
  endif()
endforeach()
if(missing)
  list(JOIN missing " " missing)
  message(STATUS "NCCL: not found (${missing}), so libcria_nccl.so is not built; try: ./dev setup --cuda")
else()
  set(CRIA_NCCL_FOUND TRUE)
  add_library(Cria::nccl INTERFACE IMPORTED)
  target_include_directories(Cria::nccl SYSTEM INTERFACE
    ${CRIA_NCCL_INCLUDE} ${CRIA_CUDART_INCLUDE} ${CRIA_CUDA_CRT_INCLUDE} ${CRIA_CUDA_NV_INCLUDE})
  target_link_libraries(Cria::nccl INTERFACE ${CRIA_NCCL_LIB} ${CRIA_CUDART_LIB})
  message(STATUS "NCCL: ${CRIA_NCCL_LIB}, CUDA runtime: ${CRIA_CUDART_LIB}")
endif()
