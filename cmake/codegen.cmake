# The code generator as a shared object, with one LLVM.
# SPDX-License-Identifier: Apache-2.0

# sard_codegen_library(target llvm_config): libsard-codegen.so, if that LLVM is one of 19.1 to 22 and has its headers.
function(sard_codegen_library target config)
  execute_process(COMMAND ${config} --version OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE)
  execute_process(COMMAND ${config} --includedir OUTPUT_VARIABLE include OUTPUT_STRIP_TRAILING_WHITESPACE)
  execute_process(COMMAND ${config} --targets-built OUTPUT_VARIABLE targets)
  if(SARD_LLVM_STATIC) # of its system libraries, the targets we use need these two
    set(gpu "")
    if(targets MATCHES "NVPTX")
      set(gpu nvptx)
    endif()
    execute_process(COMMAND ${config} --link-static --libfiles x86 ${gpu} passes OUTPUT_VARIABLE libs OUTPUT_STRIP_TRAILING_WHITESPACE
                    ERROR_QUIET)
    separate_arguments(libs)
    list(APPEND libs -l:libz.a -l:libzstd.a -Wl,--gc-sections -Wl,--exclude-libs,ALL -l:libstdc++.a -static-libgcc)
  else()
    execute_process(COMMAND ${config} --link-shared --libfiles OUTPUT_VARIABLE libs OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    separate_arguments(libs)
  endif()
  if(version VERSION_LESS 19.1 OR version VERSION_GREATER_EQUAL 23 OR NOT EXISTS ${include}/llvm-c/Core.h OR NOT libs)
    return()
  endif()
  message(STATUS "code generator: LLVM ${version}")
  file(GLOB codegen_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/codegen/llvm/*.c)
  add_library(${target} SHARED ${codegen_sources})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME sard-codegen LINK_DEPENDS ${CMAKE_SOURCE_DIR}/codegen/llvm/exports.map)
  target_include_directories(${target} SYSTEM PRIVATE ${include})
  # Code for other machines, unless LLVM has none or is to be small.
  if(SARD_LLVM_STATIC OR NOT targets MATCHES "AArch64" OR NOT targets MATCHES "RISCV")
    target_compile_definitions(${target} PRIVATE SARD_LLVM_HOST_ONLY=1)
  endif()
  if(NOT targets MATCHES "NVPTX")
    target_compile_definitions(${target} PRIVATE SARD_LLVM_NO_NVPTX=1)
  endif()
  target_link_libraries(${target} PRIVATE sard_core ${libs})
  target_link_options(${target} PRIVATE -Wl,--version-script=${CMAKE_SOURCE_DIR}/codegen/llvm/exports.map)
endfunction()
