# The runtime that `sard compile` links into what it makes: one archive per target, of objects without sanitizers and debugging
# information, a section per function. start_archive(MACHINE COMPILER FLAG...)
# SPDX-License-Identifier: Apache-2.0
file(GLOB START_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/support/*.c ${CMAKE_SOURCE_DIR}/runtime/*.c
     ${CMAKE_SOURCE_DIR}/ops/eval/*.c ${CMAKE_SOURCE_DIR}/cuda/*.c ${CMAKE_SOURCE_DIR}/start/*.c)
# The table of all operators would bring in all of them: every compiled model has its own. Others are of no use there.
# Decoders of images are linked, not loaded on need.
list(REMOVE_ITEM START_SOURCES ${CMAKE_SOURCE_DIR}/ops/eval/table.c ${CMAKE_SOURCE_DIR}/runtime/cache.c
     ${CMAKE_SOURCE_DIR}/runtime/container.c ${CMAKE_SOURCE_DIR}/support/outfile.c ${CMAKE_SOURCE_DIR}/support/beside.c
     ${CMAKE_SOURCE_DIR}/ops/eval/image_load.c)
list(APPEND START_SOURCES ${CMAKE_SOURCE_DIR}/ops/eval/images/decoders.c)
foreach(f run rooms describe env error_text)
  list(APPEND START_SOURCES ${CMAKE_SOURCE_DIR}/api/${f}.c)
endforeach()
set(START_FLAGS -std=gnu17 -O2 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables
    -fno-math-errno -ffp-contract=off -fno-strict-aliasing -w -D_GNU_SOURCE -DNDEBUG -DSARD_STATIC -I${CMAKE_SOURCE_DIR}
    -I${CMAKE_SOURCE_DIR}/include)

add_custom_target(start)
function(start_archive machine compiler)
  set(dir ${CMAKE_BINARY_DIR}/start-${machine})
  set(archive ${CMAKE_BINARY_DIR}/libsard-start-${machine}.a)
  set(objects "")
  foreach(source ${START_SOURCES})
    file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR} ${source})
    string(REPLACE "/" "_" name ${name})
    set(object ${dir}/${name}.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${CMAKE_C_COMPILER_LAUNCHER} ${compiler} ${START_FLAGS} ${ARGN} -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source} DEPFILE ${object}.d COMMENT "${machine}: ${name}" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  file(MAKE_DIRECTORY ${dir})
  add_custom_command(OUTPUT ${archive} COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
    COMMAND ${CMAKE_AR} Drcs ${archive} ${objects} DEPENDS ${objects} COMMENT "${archive}" VERBATIM)
  add_custom_target(start-${machine} ALL DEPENDS ${archive})
  add_dependencies(start start-${machine})
  install(FILES ${archive} DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()
