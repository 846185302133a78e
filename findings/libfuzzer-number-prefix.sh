#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# libFuzzer reads the number of an option up to the first character that is no digit and leaves the
# rest out, without a word: -max_total_time=1h fuzzes for one second, -runs=1k makes one run beyond
# the first. A CI job that was to fuzz for an hour ends at once with status 0. A misspelt option is
# a warning only, too.
. "$(dirname "$0")/lib.sh"
need c++
get libclang-rt-14-dev=1:14.0.6-12
guess "an error, or an hour and 1,000 runs"

cat >"$T/target.cc" <<'C'
#include <cstddef>
#include <cstdint>

// What a compiler's instrumentation would add.
extern "C" void __sanitizer_cov_8bit_counters_init(uint8_t *, uint8_t *);
static uint8_t counters[1];
__attribute__((constructor)) static void instrument()
{
    __sanitizer_cov_8bit_counters_init(counters, counters + 1);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *, size_t)
{
    counters[0]++;
    return 0;
}
C
c++ "$T/target.cc" "$R"/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-x86_64.a \
    -lpthread -o "$T/target"

done_in() {
    sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$T/err"
}
saw "-max_total_time=1h" "$(status_of timeout 60 "$T/target" -max_total_time=1h)" 0
saw "seconds, below 10" "$([ "$(done_in)" -lt 10 ] && echo yes)" yes
saw "-runs=1k" "$(status_of "$T/target" -runs=1k)" 0
saw "runs" "$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$T/err")" 2
saw "-runs=0x10" "$(status_of "$T/target" -runs=0x10)" 0
saw "runs" "$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$T/err")" 2
saw "warnings of it" "$(grep -c "WARNING.*runs" "$T/err" || :)" 0
saw "-rusn=7 -runs=1" "$(status_of "$T/target" -rusn=7 -runs=1)" 0
end
