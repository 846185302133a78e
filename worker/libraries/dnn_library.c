/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's cuDNN is looked for once, when a program first asks for it. */
#include "worker/libraries/dnn_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "common/log.h"
#include "worker/cuda/cublas_api.h"
#include "worker/libraries/dnn_old.h"

struct dnn_library dnn_library;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool looked, there; /* under the lock */

static bool find_all(void *opened)
{
    const struct {
        const char *name;
        void *function;
    } rows[] = {
        {"cudnnGetVersion", &dnn_library.GetVersion},
        {"cudnnCreate", &dnn_library.Create},
        {"cudnnDestroy", &dnn_library.Destroy},
        {"cudnnSetStream", &dnn_library.SetStream},
        {"cudnnBackendCreateDescriptor", &dnn_library.BackendCreateDescriptor},
        {"cudnnBackendDestroyDescriptor", &dnn_library.BackendDestroyDescriptor},
        {"cudnnBackendSetAttribute", &dnn_library.BackendSetAttribute},
        {"cudnnBackendGetAttribute", &dnn_library.BackendGetAttribute},
        {"cudnnBackendFinalize", &dnn_library.BackendFinalize},
        {"cudnnBackendExecute", &dnn_library.BackendExecute},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        void *symbol = dlsym(opened, rows[i].name);

        if (!symbol) {
            return false;
        }
        memcpy(rows[i].function, &symbol, sizeof(symbol));
    }
    return dnn_old_find(opened);
}

bool dnn_library_is_there(void)
{
    bool is_there;

    pthread_mutex_lock(&lock);
    if (!looked) {
        void *opened = host_library_open("VGPU_CUDNN", "libcudnn.so.9");

        looked = true;
        there = opened && find_all(opened);
        if (!there) {
            log_warning("a program asks for cuDNN 9, which this host has not: install "
                        "libcudnn.so.9 in /usr/local/cuda/lib64 or the usual library folders");
        }
    }
    is_there = there;
    pthread_mutex_unlock(&lock);
    return is_there;
}
