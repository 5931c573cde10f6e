# candor_module(NAME SOURCES a.cc ... DEPS candor::base ...)
#   the static library of src/NAME, as candor::NAME.
function(candor_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(candor_${name} STATIC ${ARG_SOURCES})
  add_library(candor::${name} ALIAS candor_${name})
  target_include_directories(candor_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(candor_${name} PUBLIC ${ARG_DEPS})
endfunction()

# candor_test(NAME SOURCES a_test.cc ... DEPS candor::core ... [LABEL fast|slow|model] [TIMEOUT s])
#   one program, one ctest entry. CANDOR_SOURCE_DIR and CANDOR_BINARY_DIR tell tests where files are.
function(candor_test name)
  if(CANDOR_PYTHON)
    return()
  endif()
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL fast)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    CANDOR_SOURCE_DIR="${PROJECT_SOURCE_DIR}" CANDOR_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  # A test that says "skipped: ..." (GTEST_SKIP) names what is missing; it is not a failure.
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()

# candor_program(NAME SOURCES ... DEPS ...): a program in bin/ at the root.
function(candor_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CANDOR_BIN_DIR})
endfunction()

set(CANDOR_BIN_DIR ${PROJECT_SOURCE_DIR}/bin CACHE PATH "Where the programs go")
