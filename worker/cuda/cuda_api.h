/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This is the part of the CUDA driver API that the worker uses, and finds at run time.
 *
 * One binary serves hosts with and without a GPU, and building takes no CUDA
 * toolkit, so libcuda.so.1 is opened with dlopen() and these are own
 * declarations of its documented, stable binary interface.  Functions come from
 * cuGetProcAddress() as of CUDA 12.0: a newer driver then hands out the same
 * signatures, whatever it has renamed since.
 *
 * Members are named as the driver's functions are, without the prefix "cu".
 * All return 0 or a CUresult.
 */
#ifndef WORKER_CUDA_CUDA_API_H
#define WORKER_CUDA_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

#define CUDA_API_VERSION 12000 /* major * 1000 + minor * 10 */

/* CUresult values that mean something to this program. */
#define CUDA_OK 0
#define CUDA_OUT_OF_MEMORY 2
#define CUDA_NO_DEVICE 100
#define CUDA_DRIVER_MISMATCH 803
#define CUDA_NOT_READY 600

/* Flags and attributes, as the driver numbers them. */
#define CUDA_ATTRIBUTE_MULTIPROCESSORS 16
#define CUDA_ATTRIBUTE_COMPUTE_MAJOR 75
#define CUDA_ATTRIBUTE_COMPUTE_MINOR 76
#define CUDA_HOST_ALLOC_MAPPED 2u
#define CUDA_STREAM_NON_BLOCKING 1u
#define CUDA_EVENT_DEFAULT 0u
#define CUDA_EVENT_NO_TIMING 2u
#define CUDA_HOST_REGISTER_PORTABLE 1u
#define CUDA_JIT_ERROR_LOG 5u
#define CUDA_JIT_ERROR_LOG_BYTES 6u

#define CUDA_REASON_BYTES 256

typedef int cuda_result;
typedef int cuda_device;
typedef uint64_t cuda_address; /* as the GPU sees it */
typedef struct cuda_context_s *cuda_context;
typedef struct cuda_stream_s *cuda_stream;
typedef struct cuda_event_s *cuda_event;
typedef struct cuda_module_s *cuda_module;
typedef struct cuda_function_s *cuda_function;

typedef struct cuda_uuid {
    uint8_t bytes[16];
} cuda_uuid;

struct cuda_api {
    cuda_result (*Init)(unsigned flags);
    cuda_result (*DriverGetVersion)(int *version);
    cuda_result (*GetErrorName)(cuda_result error, const char **name);
    cuda_result (*GetErrorString)(cuda_result error, const char **text);
    cuda_result (*DeviceGetCount)(int *count);
    cuda_result (*DeviceGet)(cuda_device *device, int index);
    cuda_result (*DeviceGetName)(char *name, int bytes, cuda_device device);
    cuda_result (*DeviceGetUuid)(cuda_uuid *uuid, cuda_device device);
    cuda_result (*DeviceTotalMem)(size_t *bytes, cuda_device device);
    cuda_result (*DeviceGetAttribute)(int *value, int attribute, cuda_device device);
    cuda_result (*DevicePrimaryCtxRetain)(cuda_context *context, cuda_device device);
    cuda_result (*DevicePrimaryCtxRelease)(cuda_device device);
    cuda_result (*CtxSetCurrent)(cuda_context context);
    cuda_result (*ModuleLoadDataEx)(cuda_module *module, const void *image, unsigned options,
                                    unsigned *names, void **values);
    cuda_result (*ModuleGetFunction)(cuda_function *function, cuda_module module, const char *name);
    cuda_result (*MemAlloc)(cuda_address *address, size_t bytes);
    cuda_result (*MemFree)(cuda_address address);
    cuda_result (*MemsetD8Async)(cuda_address address, unsigned char value, size_t bytes,
                                 cuda_stream stream);
    cuda_result (*MemsetD32Async)(cuda_address address, unsigned value, size_t words,
                                  cuda_stream stream);
    cuda_result (*MemcpyHtoDAsync)(cuda_address to, const void *from, size_t bytes,
                                   cuda_stream stream);
    cuda_result (*MemcpyDtoHAsync)(void *to, cuda_address from, size_t bytes, cuda_stream stream);
    cuda_result (*MemHostRegister)(void *memory, size_t bytes, unsigned flags);
    cuda_result (*MemHostUnregister)(void *memory);
    cuda_result (*MemHostAlloc)(void **memory, size_t bytes, unsigned flags);
    cuda_result (*MemFreeHost)(void *memory);
    cuda_result (*MemHostGetDevicePointer)(cuda_address *address, void *memory, unsigned flags);
    cuda_result (*StreamCreate)(cuda_stream *stream, unsigned flags);
    cuda_result (*StreamQuery)(cuda_stream stream);
    cuda_result (*StreamSynchronize)(cuda_stream stream);
    cuda_result (*StreamWaitEvent)(cuda_stream stream, cuda_event event, unsigned flags);
    cuda_result (*EventCreate)(cuda_event *event, unsigned flags);
    cuda_result (*EventRecord)(cuda_event event, cuda_stream stream);
    cuda_result (*EventQuery)(cuda_event event);
    cuda_result (*EventElapsedTime)(float *milliseconds, cuda_event start, cuda_event end);
    cuda_result (*LaunchKernel)(cuda_function function, unsigned grid_x, unsigned grid_y,
                                unsigned grid_z, unsigned block_x, unsigned block_y,
                                unsigned block_z, unsigned shared_bytes, cuda_stream stream,
                                void **params, void **extra);
};

/*
 * Opens the driver and initialises it, once a process.  Returns 0 and fills
 * *api, or -errno and a sentence in `reason`: no driver (-ENOENT), too old a
 * driver (-ENOSYS), no GPU (-ENODEV), or the driver's own complaint (-EIO).
 */
int cuda_api_open(struct cuda_api *api, char reason[CUDA_REASON_BYTES]);

/* "CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was encountered)". */
void cuda_error_text(const struct cuda_api *api, cuda_result error, char text[CUDA_REASON_BYTES]);

#endif /* WORKER_CUDA_CUDA_API_H */
