#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Without a driver, cuRAND's generators on the host work, and the types that it can't make are
# refused where they are made, but for MT19937: it is made, takes its seed, and fails with 999,
# "internal error", when numbers are asked for; the buffer keeps what was in it. A program that
# checks the making only goes on with zeros.
. "$(dirname "$0")/lib.sh"
need cc
ldconfig -p 2>/dev/null | grep -q libcuda.so.1 && skip "this machine has a driver"
get libcurand10=11.1.1+~10.3.0.86~11.8.0-5~deb12u1
guess "numbers, for it is the host that computes; else an error where the generator is made"

cat >"$T/host.c" <<'C'
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

int curandCreateGeneratorHost(void **, int), curandGenerate(void *, unsigned *, size_t);
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long);

int main(int count, char **words)
{
    unsigned numbers[2] = {0, 0};
    void *generator = NULL;
    int made = curandCreateGeneratorHost(&generator, count > 1 ? atoi(words[1]) : 100);
    int seeded = made ? -1 : curandSetPseudoRandomGeneratorSeed(generator, 1234);
    int generated = made ? -1 : curandGenerate(generator, numbers, 2);

    printf("%d %d %d %s\n", made, seeded, generated, numbers[0] | numbers[1] ? "numbers" : "zeros");
    return 0;
}
C
cc "$T/host.c" "$LIB/libcurand.so.10" -Wl,--unresolved-symbols=ignore-all -o "$T/host"
host() {
    LD_LIBRARY_PATH=$LIB "$T/host" "$1"
}
saw "XORWOW (101): made, seed, generated" "$(host 101)" "0 0 0 numbers"
saw "MTGP32 (141)" "$(host 141)" "0 0 0 numbers"
saw "MT19937 (142)" "$(host 142)" "0 0 999 zeros"
saw "no such type (131)" "$(host 131)" "103 -1 -1 zeros"
end
