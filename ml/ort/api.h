// The part of ONNX Runtime's C interface that Redoubt calls.
//
// ONNX Runtime publishes one table of function pointers that only ever grows,
// so a function is its index in that table. Declaring the few we need, rather
// than carrying the 400 in the vendor's header, keeps this file readable; the
// indices are those of API version 16 and hold in every later one.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct { const void *api; void *handle; const char *version; } redoubt_lib;

// Each function returns NULL or an error message to be freed by the caller.
char *redoubt_load(const char *path, redoubt_lib *out, int *too_old);
char *redoubt_env(const void *api, void **env);
char *redoubt_session(const void *api, void *env, const void *model, size_t len, int threads, int spin,
                      int level, int arena, void **session);
char *redoubt_run(const void *api, void *session, void *opts, const char **in_names, void **in, size_t n_in,
                  const char **out_names, size_t n_out, void **out);
char *redoubt_run_options(const void *api, void **opts);
void redoubt_terminate(const void *api, void *opts);
char *redoubt_wrap(const void *api, void *data, size_t len, const int64_t *dims, size_t rank, int type, void **value);
char *redoubt_alloc(const void *api, const int64_t *dims, size_t rank, int type, void **value);
char *redoubt_data(const void *api, void *value, void **data);
char *redoubt_kind(const void *api, void *value, int *kind);
// Leaves dims as they are when there are more than cap.
char *redoubt_shape(const void *api, void *value, int *type, int64_t *dims, size_t cap, size_t *rank);
char *redoubt_set_strings(const void *api, void *value, const char **s, size_t n);
char *redoubt_strings_len(const void *api, void *value, size_t *len);
char *redoubt_strings(const void *api, void *value, void *buf, size_t len, size_t *offsets, size_t n);
void redoubt_release_value(const void *api, void *value);
void redoubt_release_session(const void *api, void *session);
void redoubt_release_run_options(const void *api, void *opts);
void *redoubt_aligned(size_t len);
