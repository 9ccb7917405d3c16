# How every folder of src/ becomes a library, its tests and its fuzz targets.

# Warnings are errors in what we wrote; other people's headers are SYSTEM.
add_library(meridian_options INTERFACE)
target_compile_features(meridian_options INTERFACE cxx_std_23)
target_compile_options(
  meridian_options
  INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual
            -Wold-style-cast -Wswitch-enum -Werror)
target_include_directories(meridian_options INTERFACE "${CMAKE_SOURCE_DIR}/src")

# What most tests do themselves is quick however it is compiled, and compiling it is most of its cost. What it tests is
# compiled as ever.
add_library(meridian_unit_test_options INTERFACE)
target_compile_options(meridian_unit_test_options INTERFACE $<$<CONFIG:RelWithDebInfo>:-O0>)
target_include_directories(meridian_unit_test_options INTERFACE "${CMAKE_SOURCE_DIR}")

# With MERIDIAN_PRECOMPILE, reading the headers of others, which is a third of compiling, is done once. Only in release:
# what a file forgot to include is found by the other presets, and there a changed file is all that is compiled anew.
option(MERIDIAN_PRECOMPILE "Precompile the headers of others" OFF)
if(MERIDIAN_PRECOMPILE)
  set(meridian_precompiled
      <algorithm> <array> <atomic> <chrono> <coroutine> <cstdint> <deque> <expected> <filesystem> <functional> <map>
      <memory> <mutex> <optional> <span> <string> <string_view> <unordered_map> <utility> <variant> <vector>
      <fmt/format.h>)
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/precompiled.cc" CONTENT "// Has headers to precompile.\n")
  foreach(kind programs tests)
    add_library(meridian_precompiled_${kind} OBJECT "${CMAKE_BINARY_DIR}/precompiled.cc")
    target_link_libraries(meridian_precompiled_${kind} PRIVATE meridian_options fmt::fmt)
    # So that the same headers give the same file, and ccache knows it again.
    target_compile_options(meridian_precompiled_${kind} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endforeach()
  target_link_libraries(meridian_precompiled_tests PRIVATE meridian_unit_test_options GTest::gtest_main)
  target_precompile_headers(meridian_precompiled_programs PRIVATE ${meridian_precompiled})
  target_precompile_headers(meridian_precompiled_tests PRIVATE ${meridian_precompiled} <gtest/gtest.h>)
endif()
function(meridian_precompile target kind)
  if(MERIDIAN_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM meridian_precompiled_${kind})
  endif()
endfunction()

# meridian_library(folder [LIBRARIES ...]): src/<folder>/**.cc except tests, fuzz targets and benches, and except
# subfolders that call meridian_library themselves (EXCLUDE names them). The target is meridian_<folder with _ for />.
function(meridian_library folder)
  cmake_parse_arguments(ARG "" "" "LIBRARIES;EXCLUDE;TEST_LIBRARIES" ${ARGN})
  string(REPLACE "/" "_" name "${folder}")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/${folder}/*.cc")
  foreach(excluded IN LISTS ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "/src/${folder}/${excluded}/")
  endforeach()
  set(tests ${sources})
  set(fuzzers ${sources})
  list(FILTER sources EXCLUDE REGEX "(_(test|fuzz|bench)|/main)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")

  add_library(meridian_${name} STATIC ${sources})
  target_link_libraries(meridian_${name} PUBLIC meridian_options ${ARG_LIBRARIES})
  meridian_precompile(meridian_${name} programs)

  if(tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(
      ${name}_test PRIVATE meridian_${name} ${ARG_TEST_LIBRARIES} meridian_unit_test_options GTest::gtest_main)
    meridian_precompile(${name}_test tests)
    add_test(NAME unit/${folder} COMMAND ${name}_test --gtest_brief=1)
    set_tests_properties(unit/${folder} PROPERTIES LABELS unit TIMEOUT 120)
  endif()

  foreach(fuzzer IN LISTS fuzzers)
    meridian_fuzz_target("${fuzzer}" meridian_${name})
  endforeach()
endfunction()

# x_fuzz.cc defines LLVMFuzzerTestOneInput. With MERIDIAN_FUZZ it becomes a libFuzzer program; always, a program that
# replays the kept corpus (x_corpus/ beside it) as a test. Its dictionary is x.dict; script/fuzz runs them all.
function(meridian_fuzz_target source library)
  cmake_path(GET source STEM stem)
  cmake_path(GET source PARENT_PATH folder)
  string(REGEX REPLACE "_fuzz$" "" subject "${stem}")
  file(RELATIVE_PATH place "${CMAKE_SOURCE_DIR}" "${folder}")
  string(REGEX REPLACE "^src/" "" place "${place}")
  string(REPLACE "/" "_" prefix "${place}")
  foreach(needed "${subject}.dict" "${subject}_corpus")
    if(NOT EXISTS "${folder}/${needed}")
      message(FATAL_ERROR "${place}/${stem}.cc has no ${needed} beside it")
    endif()
  endforeach()
  if(MERIDIAN_FUZZ)
    add_executable(${prefix}_${stem} "${source}")
    target_link_libraries(${prefix}_${stem} PRIVATE ${library})
    target_link_options(${prefix}_${stem} PRIVATE -fsanitize=fuzzer)
  endif()
  add_executable(${prefix}_${stem}_replay "${source}" "${CMAKE_SOURCE_DIR}/test/fuzz/replay.cc")
  target_link_libraries(${prefix}_${stem}_replay PRIVATE ${library} meridian_unit_test_options)
  add_test(NAME fuzz-corpus/${place}/${subject} COMMAND ${prefix}_${stem}_replay "${folder}/${subject}_corpus")
  set_tests_properties(fuzz-corpus/${place}/${subject} PROPERTIES LABELS fuzz-corpus TIMEOUT 120)
endfunction()

# A test program of test/: meridian_test(name SOURCES ... LIBRARIES ... LABEL sim|transcript|integration|clients
# [TIMEOUT seconds]). Integration tests run real servers, in temporary folders and on ports that the system chooses, so
# that several may run side by side.
function(meridian_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;LIBRARIES;ARGUMENTS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}" "${CMAKE_SOURCE_DIR}/test")
  target_link_libraries(${name} PRIVATE meridian_options ${ARG_LIBRARIES} GTest::gtest_main)
  if(ARG_LABEL STREQUAL "sim")
    # These count steps by the million, and what they do themselves is much of it.
    meridian_precompile(${name} programs)
  else()
    target_link_libraries(${name} PRIVATE meridian_unit_test_options)
    meridian_precompile(${name} tests)
  endif()
  add_test(NAME ${ARG_LABEL}/${name} COMMAND ${name} --gtest_brief=1 ${ARG_ARGUMENTS})
  set_tests_properties(${ARG_LABEL}/${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()
