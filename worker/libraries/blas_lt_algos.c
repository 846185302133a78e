/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "worker/libraries/blas_lt_run.h"

#define ALGOS_MAX 131072u /* of 64 bytes: 16 MiB with the room between them */
#define ROOM_FIRST 256u

/* A table with open addressing, at most half full; one of zeros alone is a free place. */
static struct {
    BLASLtAlgo *places;
    uint32_t room, count;
} algos;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const BLASLtAlgo none;

static uint32_t hash(const BLASLtAlgo *algo)
{
    uint64_t key = 0;

    for (unsigned i = 0; i < sizeof(algo->data) / sizeof(algo->data[0]); i++) {
        key = (key ^ algo->data[i]) * 0x9E3779B97F4A7C15ull;
        key ^= key >> 29;
    }
    return (uint32_t)(key >> 16);
}

static bool same(const BLASLtAlgo *a, const BLASLtAlgo *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* Where it is, or could be; the table has free places. */
static BLASLtAlgo *place_of(BLASLtAlgo *places, uint32_t room, const BLASLtAlgo *algo)
{
    uint32_t at = hash(algo) % room;

    while (!same(&places[at], algo) && !same(&places[at], &none)) {
        at = (at + 1) % room;
    }
    return &places[at];
}

static bool grow(void)
{
    uint32_t room = algos.room ? algos.room * 2 : ROOM_FIRST;
    BLASLtAlgo *places = calloc(room, sizeof(*places));

    if (!places) {
        return false;
    }
    for (uint32_t i = 0; i < algos.room; i++) {
        if (!same(&algos.places[i], &none)) {
            *place_of(places, room, &algos.places[i]) = algos.places[i];
        }
    }
    free(algos.places);
    algos.places = places;
    algos.room = room;
    return true;
}

static bool note(const BLASLtAlgo *algo)
{
    BLASLtAlgo *place;

    if (algos.count >= ALGOS_MAX || (algos.count * 2 >= algos.room && !grow())) {
        return false;
    }
    place = place_of(algos.places, algos.room, algo);
    algos.count += !same(place, algo);
    *place = *algo;
    return true;
}

bool blas_lt_algo_known(const BLASLtAlgo *algo)
{
    bool known;

    pthread_mutex_lock(&lock);
    known =
        algos.room && !same(algo, &none) && same(place_of(algos.places, algos.room, algo), algo);
    pthread_mutex_unlock(&lock);
    return known;
}

bool blas_lt_algo_note(const BLASLtAlgo *algo)
{
    bool noted;

    if (same(algo, &none) || blas_lt_algo_known(algo)) {
        return true;
    }
    pthread_mutex_lock(&lock);
    noted = note(algo);
    pthread_mutex_unlock(&lock);
    return noted;
}
