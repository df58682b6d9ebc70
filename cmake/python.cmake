# The Python module fusedlstm._binding: generated from fusedlstm.h, built for the stable ABI of CPython 3.11 and later.
if(CMAKE_VERSION VERSION_LESS 3.26)
  message(FATAL_ERROR "fusedlstm: FUSEDLSTM_PYTHON needs CMake 3.26 or newer, got ${CMAKE_VERSION}. "
                      "`pip install .` brings its own.")
endif()
# scikit-build-core leaves SKBUILD_SABI_VERSION empty for interpreters without the stable ABI (free-threaded ones).
if(DEFINED SKBUILD_SABI_VERSION AND SKBUILD_SABI_VERSION STREQUAL "")
  find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
  set(stable_abi "")
else()
  find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.SABIModule)
  set(stable_abi USE_SABI 3.11)
endif()

set(binding_c ${PROJECT_BINARY_DIR}/_binding.c)
add_custom_command(
  OUTPUT ${binding_c}
  COMMAND ${Python_EXECUTABLE} ${PROJECT_SOURCE_DIR}/csrc/cffi_build.py
          ${PROJECT_SOURCE_DIR}/csrc/include/fusedlstm.h ${binding_c}
  DEPENDS ${PROJECT_SOURCE_DIR}/csrc/cffi_build.py ${PROJECT_SOURCE_DIR}/csrc/include/fusedlstm.h
  COMMENT "Generating the Python binding from fusedlstm.h"
  VERBATIM)
python_add_library(fusedlstm_binding MODULE WITH_SOABI ${stable_abi} ${binding_c})
set_target_properties(fusedlstm_binding PROPERTIES OUTPUT_NAME _binding)
target_link_libraries(fusedlstm_binding PRIVATE fusedlstm_static)
install(TARGETS fusedlstm_binding DESTINATION fusedlstm COMPONENT python)
