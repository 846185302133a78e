#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A masked comparison of libseccomp whose value has bits outside its mask can never hold. It isn't
# refused: the library cuts the value to the mask, and the rule holds for other arguments. Here
# "flags & 3 is 4" becomes "flags & 3 is 0", so a rule that was to allow nothing allows every open
# for reading.
. "$(dirname "$0")/lib.sh"
need cc
get libseccomp2=2.5.4-1+deb12u1 libseccomp-dev=2.5.4-1+deb12u1
guess "-EINVAL, or a rule that never holds"

cat >"$T/mask.c" <<'C'
#include <errno.h>
#include <seccomp.h>

int main(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));

    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
                            SCMP_A1(SCMP_CMP_MASKED_EQ, 3, 4)) ||
           seccomp_export_pfc(filter, 1);
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/mask.c" -L"$lib" -lseccomp -o "$T/mask"
saw "exit status" "$(LD_LIBRARY_PATH=$lib status_of "$T/mask")" 0
saw "compared" "$(sed -n 's/.*if (\(\$a1.lo32.*\))$/\1/p' "$T/out")" '$a1.lo32 & 0x00000003 == 0'
saw "then" "$(grep -c 'action ALLOW' "$T/out")" 1
end
