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

// A value as the library tells of it: why it does not, or of which kind it is, and
// for a dense tensor its type, its shape if there is room for it, and its elements,
// unless they are strings.
enum { redoubt_rank = 8 };
typedef struct { char *failed; int kind, type; size_t rank; int64_t dims[redoubt_rank]; void *data; } redoubt_view;

// Calls of C take their time: what a run needs is made in one, and what came of it
// told in one. Each function returns NULL or an error message to be freed by the caller.
char *redoubt_load(const char *path, redoubt_lib *out, int *too_old);
char *redoubt_env(const void *api, void **env);
char *redoubt_session(const void *api, void *env, const void *model, size_t len, int threads, int spin,
                      int level, int arena, void **session);
// Runs, and fills views where it is not NULL. Values may be in out after an error, too.
char *redoubt_run(const void *api, void *session, void *opts, const char **in_names, void **in, size_t n_in,
                  const char **out_names, size_t n_out, void **out, redoubt_view *views);
char *redoubt_run_options(const void *api, void **opts);
void redoubt_terminate(const void *api, void *opts);
char *redoubt_wrap(const void *api, void *data, size_t len, const int64_t *dims, size_t rank, int type, void **value);
// Makes n tensors in the library's memory. shapes has for each its type, its rank
// and its dimensions. Some may be in values after an error, too.
char *redoubt_alloc(const void *api, const int64_t *shapes, size_t n, void **values, void **data);
char *redoubt_dims(const void *api, void *value, int64_t *dims, size_t rank);
char *redoubt_set_strings(const void *api, void *value, const char **s, size_t n);
char *redoubt_strings_len(const void *api, void *value, size_t *len);
char *redoubt_strings(const void *api, void *value, void *buf, size_t len, size_t *offsets, size_t n);
void redoubt_release_values(const void *api, void **values, size_t n); // but those that are NULL
void redoubt_release_session(const void *api, void *session);
void redoubt_release_run_options(const void *api, void *opts);
void *redoubt_aligned(size_t len);
