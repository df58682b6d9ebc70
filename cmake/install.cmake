# Installs the C library, its header, a CMake package and a pkg-config file. Both packages find the rest relative to
# themselves, so the installed tree can be moved.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fusedlstm)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS ${libraries} EXPORT fusedlstm-targets)
install(FILES csrc/include/fusedlstm.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT fusedlstm-targets NAMESPACE fusedlstm:: DESTINATION ${package_dir})

configure_package_config_file(cmake/fusedlstm-config.cmake.in ${PROJECT_BINARY_DIR}/fusedlstm-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/fusedlstm-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fusedlstm-config.cmake ${PROJECT_BINARY_DIR}/fusedlstm-config-version.cmake
        DESTINATION ${package_dir})

file(RELATIVE_PATH pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
if(BUILD_SHARED_LIBS)
  set(pc_libs "")
else()
  set(pc_libs "-pthread -lm") # a static archive does not carry its needs with it
endif()
configure_file(cmake/fusedlstm.pc.in ${PROJECT_BINARY_DIR}/fusedlstm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/fusedlstm.pc DESTINATION ${pkgconfig_dir})
