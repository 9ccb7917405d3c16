# libpg_query: PostgreSQL's parser as a library (Debian: libpg-query-dev), and the header of protobuf-c
# that its own parse-tree header needs (libprotobuf-c-dev). The code of protobuf-c is inside libpg_query.
find_path(PgQuery_INCLUDE_DIR pg_query/pg_query.pb-c.h)
find_path(PgQuery_PROTOBUF_C_INCLUDE_DIR protobuf-c/protobuf-c.h)
find_library(PgQuery_LIBRARY pg_query)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(PgQuery REQUIRED_VARS PgQuery_LIBRARY PgQuery_INCLUDE_DIR
                                                        PgQuery_PROTOBUF_C_INCLUDE_DIR)
if(PgQuery_FOUND AND NOT TARGET PgQuery::PgQuery)
  add_library(PgQuery::PgQuery UNKNOWN IMPORTED)
  set_target_properties(
    PgQuery::PgQuery
    PROPERTIES IMPORTED_LOCATION "${PgQuery_LIBRARY}"
               INTERFACE_INCLUDE_DIRECTORIES "${PgQuery_INCLUDE_DIR};${PgQuery_PROTOBUF_C_INCLUDE_DIR}")
endif()
