/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a program's objects register: fat binaries with their kernels and variables.
 *
 * Before main(), nvcc's code registers each object's fat binary, then its kernels by the address
 * of their host stubs, and its variables by the address of their host shadows.  A framework has
 * tens of thousands of them, so registering is no more than an entry of a hash table; the driver
 * hears of a fat binary when something of it is used the first time.
 *
 * A kernel's handle of the driver is an entry too: programs may pass either where a function is
 * asked for, and an address that is neither must not reach the driver.
 *
 * At exit nothing is unloaded: the process's end does that.  Objects register their exit handlers
 * before their image is loaded, so a handler that is registered at the load runs before theirs.
 */
#include <stdlib.h>

#include "cudart_hand.h"
#include "guest/cudart/internal.h"

#define IMAGE_MARK 0x7667707563756461ull
#define WRAPPER_MAGIC 0x466243B1u
#define BUCKETS_FIRST 256u

struct wrapper {
    uint32_t magic, version;
    const void *data;
    void *list;
};

struct image {
    uint64_t mark;
    const void *data; /* the program's; NULL: unregistered */
    CUlibrary library;
    cudaError_t broken; /* the driver won't take it; it is not asked again */
    bool managed;
    struct symbol *symbols;
};

enum kind { FUNCTION, VARIABLE, KERNEL };

struct symbol {
    const void *host;
    const char *name; /* the program's */
    size_t bytes;
    CUkernel kernel;   /* NULL: not asked for yet */
    CUlibrary library; /* of a KERNEL */
    struct image *image;
    enum kind kind;
    struct symbol *next;          /* of the bucket */
    struct symbol *next_of_image; /* or of the free ones */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;      /* of the table */
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER; /* of loading; taken before it */
static struct symbol **buckets, *free_symbols;
static size_t bucket_count, symbol_count;
static bool leaving;

/* ---- the table ---- */

static size_t bucket_of(const void *host, size_t count)
{
    return ((uint64_t)(uintptr_t)host * 0x9E3779B97F4A7C15ull >> 32) & (count - 1);
}

static bool grow(void)
{
    size_t count = bucket_count ? bucket_count * 2 : BUCKETS_FIRST;
    struct symbol **wider = calloc(count, sizeof(*wider));

    if (!wider) {
        return bucket_count > 0; /* it works, only slower */
    }
    for (size_t i = 0; i < bucket_count; i++) {
        while (buckets[i]) {
            struct symbol *symbol = buckets[i];
            size_t to = bucket_of(symbol->host, count);

            buckets[i] = symbol->next;
            symbol->next = wider[to];
            wider[to] = symbol;
        }
    }
    free(buckets);
    buckets = wider;
    bucket_count = count;
    return true;
}

static struct symbol *find(const void *host, bool variable)
{
    struct symbol *symbol = bucket_count ? buckets[bucket_of(host, bucket_count)] : NULL;

    while (symbol && (symbol->host != host || (symbol->kind == VARIABLE) != variable)) {
        symbol = symbol->next;
    }
    return symbol;
}

/* Under the lock.  The newest of one address is found first. */
static struct symbol *add(enum kind kind, const void *host, const char *name)
{
    struct symbol *symbol = free_symbols;
    size_t to;

    if (symbol_count >= bucket_count && !grow()) {
        return NULL;
    }
    if (symbol) {
        free_symbols = symbol->next_of_image;
    } else {
        symbol = malloc(sizeof(*symbol));
        if (!symbol) {
            return NULL;
        }
    }
    to = bucket_of(host, bucket_count);
    *symbol = (struct symbol){.host = host, .name = name, .kind = kind, .next = buckets[to]};
    buckets[to] = symbol;
    symbol_count++;
    return symbol;
}

static void take_out(struct symbol *symbol)
{
    struct symbol **at = &buckets[bucket_of(symbol->host, bucket_count)];

    while (*at != symbol) {
        at = &(*at)->next;
    }
    *at = symbol->next;
    symbol_count--;
    symbol->next_of_image = free_symbols;
    free_symbols = symbol;
}

/* ---- registration ---- */

static struct image *image_of(void **handle)
{
    struct image *image = (struct image *)handle;

    return image && image->mark == IMAGE_MARK && image->data ? image : NULL;
}

void **__cudaRegisterFatBinary(void *fatCubin)
{
    const struct wrapper *wrapper = fatCubin;
    struct image *image = calloc(1, sizeof(*image));

    if (image) {
        image->mark = IMAGE_MARK;
        image->data = fatCubin;
        if (wrapper && wrapper->magic == WRAPPER_MAGIC) {
            image->data = wrapper->data;
        }
    }
    return (void **)image;
}

void __cudaRegisterFatBinaryEnd(void **fatCubinHandle)
{
    (void)fatCubinHandle; /* all is taken as it comes */
}

static void add_symbol(void **handle, enum kind kind, const void *host, const char *name,
                       size_t bytes)
{
    struct image *image = image_of(handle);
    struct symbol *symbol;

    if (!image || !host || !name) {
        return;
    }
    pthread_mutex_lock(&lock);
    symbol = add(kind, host, name);
    if (symbol) {
        symbol->image = image;
        symbol->bytes = bytes;
        symbol->next_of_image = image->symbols;
        image->symbols = symbol;
    }
    pthread_mutex_unlock(&lock);
}

void __cudaRegisterFunction(void **fatCubinHandle, const char *hostFun, char *deviceFun,
                            const char *deviceName, int thread_limit, uint3 *tid, uint3 *bid,
                            dim3 *bDim, dim3 *gDim, int *wSize)
{
    (void)deviceFun, (void)thread_limit, (void)tid, (void)bid, (void)bDim, (void)gDim;
    (void)wSize;
    add_symbol(fatCubinHandle, FUNCTION, hostFun, deviceName, 0);
}

void __cudaRegisterVar(void **fatCubinHandle, char *hostVar, char *deviceAddress,
                       const char *deviceName, int ext, size_t size, int constant, int global)
{
    (void)deviceAddress, (void)ext, (void)constant, (void)global;
    add_symbol(fatCubinHandle, VARIABLE, hostVar, deviceName, size);
}

void __cudaRegisterManagedVar(void **fatCubinHandle, void **hostVarPtrAddress, char *deviceAddress,
                              const char *deviceName, int ext, size_t size, int constant,
                              int global)
{
    struct image *image = image_of(fatCubinHandle);

    (void)hostVarPtrAddress, (void)deviceAddress, (void)ext, (void)size, (void)constant;
    (void)global;
    if (image) {
        image->managed = true;
        rt_say("the program has a __managed__ variable, %s: managed memory is not supported, "
               "and the code beside it will not load",
               deviceName ? deviceName : "?");
    }
}

void __cudaRegisterHostVar(void **fatCubinHandle, const char *deviceName, char *hostVar,
                           size_t size)
{
    add_symbol(fatCubinHandle, VARIABLE, hostVar, deviceName, size);
}

char __cudaInitModule(void **fatCubinHandle)
{
    (void)fatCubinHandle; /* at the first look at a managed variable, which there are none of */
    return 0;
}

void __cudaUnregisterFatBinary(void **fatCubinHandle)
{
    struct image *image = image_of(fatCubinHandle);
    CUlibrary library;

    if (!image || __atomic_load_n(&leaving, __ATOMIC_RELAXED)) {
        return;
    }
    pthread_mutex_lock(&lock);
    while (image->symbols) {
        struct symbol *symbol = image->symbols;

        image->symbols = symbol->next_of_image;
        take_out(symbol);
    }
    library = image->library;
    image->library = NULL;
    image->data = NULL; /* its few bytes stay, so that a second call finds it out */
    pthread_mutex_unlock(&lock);
    if (library) {
        rt_kernels_forget(library);
        rt_driver.cuLibraryUnload(library);
    }
}

/* ---- loading ---- */

static void leave(void)
{
    __atomic_store_n(&leaving, true, __ATOMIC_RELAXED);
}

/* What says that the image itself is at fault; 2 or 46 may be otherwise the next time. */
static bool is_of_image(cudaError_t error)
{
    return error >= cudaErrorInvalidKernelImage && error < 300;
}

static cudaError_t load(struct image *image, CUlibrary *library)
{
    cudaError_t error = image->broken;

    if (image->managed) {
        return cudaErrorNotSupported;
    }
    pthread_mutex_lock(&load_lock);
    if (!image->library && !error) {
        error =
            rt_driver.cuLibraryLoadData(&image->library, image->data, NULL, NULL, 0, NULL, NULL, 0);
        if (error) {
            image->library = NULL;
            image->broken = is_of_image(error) ? error : cudaSuccess;
        } else {
            atexit(leave);
        }
    }
    *library = image->library;
    pthread_mutex_unlock(&load_lock);
    return error;
}

cudaError_t rt_kernel(const void *function, CUkernel *kernel)
{
    struct symbol *symbol;
    struct image *image;
    CUlibrary library;
    cudaError_t error;

    if (!function) {
        return cudaErrorInvalidDeviceFunction;
    }
    pthread_mutex_lock(&lock);
    symbol = find(function, false);
    *kernel = symbol ? symbol->kernel : NULL;
    image = symbol ? symbol->image : NULL;
    pthread_mutex_unlock(&lock);
    if (!symbol && rt_driver_checks_handles()) {
        *kernel = (CUkernel)function;
        return cudaSuccess;
    }
    if (!symbol) {
        return cudaErrorInvalidResourceHandle;
    }
    if (*kernel) {
        return cudaSuccess;
    }
    error = load(image, &library);
    if (error == cudaSuccess) {
        error = rt_driver.cuLibraryGetKernel(kernel, library, symbol->name);
    }
    if (error == cudaSuccess) {
        pthread_mutex_lock(&lock);
        symbol->kernel = *kernel;
        pthread_mutex_unlock(&lock);
    }
    return error;
}

bool rt_is_registered(const void *function)
{
    struct symbol *symbol;

    pthread_mutex_lock(&lock);
    symbol = find(function, false);
    pthread_mutex_unlock(&lock);
    return symbol != NULL;
}

cudaError_t rt_variable(const void *host, CUdeviceptr *address, size_t *bytes)
{
    struct symbol *symbol;
    CUlibrary library;
    cudaError_t error;

    pthread_mutex_lock(&lock);
    symbol = find(host, true);
    pthread_mutex_unlock(&lock);
    if (!symbol) {
        return cudaErrorInvalidSymbol;
    }
    error = load(symbol->image, &library);
    if (error == cudaSuccess) {
        /* Asked each time: after cudaDeviceReset it may lie elsewhere. */
        error = rt_driver.cuLibraryGetGlobal(address, bytes, library, symbol->name);
    }
    return error;
}

/* ---- kernels that the driver gave ---- */

bool rt_kernel_known(CUkernel kernel, CUlibrary library)
{
    struct symbol *symbol;

    pthread_mutex_lock(&lock);
    symbol = find(kernel, false);
    if (!symbol) {
        symbol = add(KERNEL, kernel, NULL);
    }
    if (symbol && symbol->kind == KERNEL) {
        symbol->kernel = kernel;
        symbol->library = library;
    }
    pthread_mutex_unlock(&lock);
    return symbol != NULL;
}

void rt_kernel_given(const void *function, CUkernel kernel)
{
    struct symbol *symbol;
    CUlibrary library;

    pthread_mutex_lock(&lock);
    symbol = find(function, false);
    library = symbol && symbol->image ? symbol->image->library : NULL;
    pthread_mutex_unlock(&lock);
    if (library) {
        (void)rt_kernel_known(kernel, library);
    }
}

void rt_kernels_forget(CUlibrary library)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < bucket_count; i++) {
        for (struct symbol *symbol = buckets[i], *next; symbol; symbol = next) {
            next = symbol->next;
            if (symbol->kind == KERNEL && symbol->library == library) {
                take_out(symbol);
            }
        }
    }
    pthread_mutex_unlock(&lock);
}

/* ---- a child of fork() must not find a lock taken ---- */

static void before_fork(void)
{
    pthread_mutex_lock(&load_lock);
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&load_lock);
}

__attribute__((constructor)) static void prepare(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}
