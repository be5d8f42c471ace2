#include "api.h"
#include <string.h>
#include <stdio.h>
#ifdef _WIN32
#include <windows.h>
#include <malloc.h>
#else
#include <dlfcn.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

// Index of each function in OrtApi, in the order of the table.
enum {
	GetErrorMessage = 2, CreateEnv = 3, DisableTelemetryEvents = 6, CreateSessionFromArray = 8, Run = 9,
	CreateSessionOptions = 10, EnableCpuMemArena = 18, DisableCpuMemArena = 19, SetSessionLogSeverityLevel = 22,
	SetSessionGraphOptimizationLevel = 23, SetIntraOpNumThreads = 24, SetInterOpNumThreads = 25,
	CreateRunOptions = 39, RunOptionsSetTerminate = 46, CreateTensorAsOrtValue = 48,
	CreateTensorWithDataAsOrtValue = 49, GetTensorMutableData = 51, FillStringTensor = 52,
	GetStringTensorDataLength = 53, GetStringTensorContent = 54, GetTensorElementType = 60,
	GetDimensionsCount = 61, GetDimensions = 62, GetTensorTypeAndShape = 65, GetValueType = 67,
	CreateCpuMemoryInfo = 69, GetAllocatorWithDefaultOptions = 78, ReleaseStatus = 93, ReleaseMemoryInfo = 94,
	ReleaseSession = 95, ReleaseValue = 96, ReleaseRunOptions = 97, ReleaseTensorTypeAndShapeInfo = 99,
	ReleaseSessionOptions = 100, AddSessionConfigEntry = 130, ApiVersion = 16,
};

// Of the kinds of value, and of the types of element, those that are told apart here.
enum { Tensor = 1, String = 8 };

// F is a function of the table, seen as the given type.
#define F(api, index, result, ...) ((result (*)(__VA_ARGS__))(((void *const *)(api))[index]))
#define RELEASE(api, index, p) F(api, index, void, void *)(p)

// message turns a status into a message of our own and releases the status.
static char *message(const void *api, void *status) {
	if (status == NULL) return NULL;
	char *m = strdup(F(api, GetErrorMessage, const char *, void *)(status));
	RELEASE(api, ReleaseStatus, status);
	return m ? m : strdup("out of memory");
}

#define TRY(call) do { char *m_ = message(api, (call)); if (m_) return m_; } while (0)

typedef struct { const void *(*get_api)(uint32_t); const char *(*version)(void); } api_base;

// give_back has what large tensors took given back to the system when they are freed.
// By itself glibc keeps it for the next, in pieces, and ends with four times as much
// as is ever in use. Who sets the variable knows better.
static void give_back(void) {
#ifdef __GLIBC__
	if (getenv("MALLOC_MMAP_THRESHOLD_") == NULL) mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

char *redoubt_load(const char *path, redoubt_lib *out, int *too_old) {
	*too_old = 0;
	give_back();
#ifdef _WIN32
	HMODULE h = LoadLibraryA(path);
	if (h == NULL) return strdup("the system cannot load it");
	api_base *(*base)(void) = (api_base * (*)(void)) GetProcAddress(h, "OrtGetApiBase");
#else
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (h == NULL) return strdup(dlerror());
	api_base *(*base)(void) = (api_base * (*)(void)) dlsym(h, "OrtGetApiBase");
#endif
	if (base == NULL) return strdup("it is not ONNX Runtime: OrtGetApiBase is missing");
	api_base *b = base();
	out->handle = h;
	out->version = b->version();
	// A library older than the version asked for answers NULL, and says so on
	// stderr; the version string tells first.
	int major = 0, minor = 0;
	if (sscanf(out->version, "%d.%d", &major, &minor) == 2 && major == 1 && minor < ApiVersion) {
		*too_old = 1;
		return strdup("");
	}
	out->api = b->get_api(ApiVersion);
	if (out->api == NULL) { *too_old = 1; return strdup(""); }
	return NULL;
}

char *redoubt_env(const void *api, void **env) {
	TRY(F(api, CreateEnv, void *, int, const char *, void **)(4 /* fatal */, "redoubt", env));
	TRY(F(api, DisableTelemetryEvents, void *, void *)(*env));
	return NULL;
}

static char *options(const void *api, void *o, int threads, int spin, int level, int arena) {
	TRY(F(api, SetSessionLogSeverityLevel, void *, void *, int)(o, 4));
	TRY(F(api, SetIntraOpNumThreads, void *, void *, int)(o, threads));
	TRY(F(api, SetInterOpNumThreads, void *, void *, int)(o, 1));
	TRY(F(api, SetSessionGraphOptimizationLevel, void *, void *, int)(o, level));
	TRY(F(api, arena ? EnableCpuMemArena : DisableCpuMemArena, void *, void *)(o));
	TRY(F(api, AddSessionConfigEntry, void *, void *, const char *, const char *)(
		o, "session.intra_op.allow_spinning", spin ? "1" : "0"));
	return NULL;
}

char *redoubt_session(const void *api, void *env, const void *model, size_t len, int threads, int spin,
                      int level, int arena, void **session) {
	void *o = NULL;
	TRY(F(api, CreateSessionOptions, void *, void **)(&o));
	char *m = options(api, o, threads, spin, level, arena);
	if (m == NULL)
		m = message(api, F(api, CreateSessionFromArray, void *, void *, const void *, size_t, void *, void **)(
			env, model, len, o, session));
	RELEASE(api, ReleaseSessionOptions, o);
	return m;
}

char *redoubt_run_options(const void *api, void **opts) {
	TRY(F(api, CreateRunOptions, void *, void **)(opts));
	return NULL;
}

void redoubt_terminate(const void *api, void *opts) {
	free(message(api, F(api, RunOptionsSetTerminate, void *, void *)(opts)));
}

static char *view(const void *api, void *value, redoubt_view *v) {
	TRY(F(api, GetValueType, void *, void *, int *)(value, &v->kind));
	if (v->kind != Tensor) return NULL;
	void *info = NULL;
	TRY(F(api, GetTensorTypeAndShape, void *, void *, void **)(value, &info));
	char *m = message(api, F(api, GetTensorElementType, void *, void *, int *)(info, &v->type));
	if (m == NULL) m = message(api, F(api, GetDimensionsCount, void *, void *, size_t *)(info, &v->rank));
	if (m == NULL && v->rank <= redoubt_rank)
		m = message(api, F(api, GetDimensions, void *, void *, int64_t *, size_t)(info, v->dims, v->rank));
	RELEASE(api, ReleaseTensorTypeAndShapeInfo, info);
	if (m == NULL && v->type != String)
		m = message(api, F(api, GetTensorMutableData, void *, void *, void **)(value, &v->data));
	return m;
}

char *redoubt_run(const void *api, void *session, void *opts, const char **in_names, void **in, size_t n_in,
                  const char **out_names, size_t n_out, void **out, redoubt_view *views) {
	TRY(F(api, Run, void *, void *, void *, const char **, void **, size_t, const char **, size_t, void **)(
		session, opts, in_names, in, n_in, out_names, n_out, out));
	for (size_t i = 0; views != NULL && i < n_out; i++) views[i].failed = view(api, out[i], &views[i]);
	return NULL;
}

char *redoubt_wrap(const void *api, void *data, size_t len, const int64_t *dims, size_t rank, int type, void **value) {
	void *info = NULL;
	TRY(F(api, CreateCpuMemoryInfo, void *, int, int, void **)(0 /* device */, 0 /* default */, &info));
	char *m = message(api, F(api, CreateTensorWithDataAsOrtValue, void *, void *, void *, size_t, const int64_t *,
		size_t, int, void **)(info, data, len, dims, rank, type, value));
	RELEASE(api, ReleaseMemoryInfo, info);
	return m;
}

char *redoubt_alloc(const void *api, const int64_t *shapes, size_t n, void **values, void **data) {
	void *a = NULL;
	TRY(F(api, GetAllocatorWithDefaultOptions, void *, void **)(&a));
	for (size_t i = 0; i < n; i++) {
		int type = (int)shapes[0];
		size_t rank = (size_t)shapes[1];
		TRY(F(api, CreateTensorAsOrtValue, void *, void *, const int64_t *, size_t, int, void **)(
			a, shapes + 2, rank, type, &values[i]));
		if (type != String) TRY(F(api, GetTensorMutableData, void *, void *, void **)(values[i], &data[i]));
		shapes += 2 + rank;
	}
	return NULL;
}

char *redoubt_dims(const void *api, void *value, int64_t *dims, size_t rank) {
	void *info = NULL;
	TRY(F(api, GetTensorTypeAndShape, void *, void *, void **)(value, &info));
	char *m = message(api, F(api, GetDimensions, void *, void *, int64_t *, size_t)(info, dims, rank));
	RELEASE(api, ReleaseTensorTypeAndShapeInfo, info);
	return m;
}

char *redoubt_set_strings(const void *api, void *value, const char **s, size_t n) {
	TRY(F(api, FillStringTensor, void *, void *, const char **, size_t)(value, s, n));
	return NULL;
}

char *redoubt_strings_len(const void *api, void *value, size_t *len) {
	TRY(F(api, GetStringTensorDataLength, void *, void *, size_t *)(value, len));
	return NULL;
}

char *redoubt_strings(const void *api, void *value, void *buf, size_t len, size_t *offsets, size_t n) {
	TRY(F(api, GetStringTensorContent, void *, void *, void *, size_t, size_t *, size_t)(value, buf, len, offsets, n));
	return NULL;
}

void redoubt_release_values(const void *api, void **values, size_t n) {
	for (size_t i = 0; i < n; i++)
		if (values[i] != NULL) RELEASE(api, ReleaseValue, values[i]);
}
void redoubt_release_session(const void *api, void *session) { RELEASE(api, ReleaseSession, session); }
void redoubt_release_run_options(const void *api, void *opts) { RELEASE(api, ReleaseRunOptions, opts); }

void *redoubt_aligned(size_t len) {
	void *p = NULL;
	if (len == 0) len = 1;
#ifdef _WIN32
	p = _aligned_malloc(len, 64);
#else
	if (posix_memalign(&p, 64, len) != 0) return NULL;
#endif
	if (p) memset(p, 0, len);
	return p;
}
