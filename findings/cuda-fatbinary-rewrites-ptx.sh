#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# fatbinary drops from PTX the comments up to the end of a line and the blanks at the start of a
# line, and makes one blank of several, also between quotation marks, where they are part of a
# file's name. So PTX from a fat binary can't be compared with, or hashed against, the file that it
# was made from.
. "$(dirname "$0")/lib.sh"
get nvidia-cuda-toolkit=11.8.89~11.8.0-5~deb12u1
cd "$T"
guess "the PTX is stored byte for byte, at least with --compress=false"

cat >given.ptx <<'PTX'
.version 7.8
.target sm_80
.address_size 64
.visible .entry k()
{
        .loc 1 1 1
        ret;    // done
}
.file 1 "two  blanks.cu"
PTX
"$R/usr/bin/ptxas" -arch=sm_80 given.ptx -o given.cubin

for compress in true false; do
    "$R/usr/bin/fatbinary" -64 --compress=$compress --create=stored.fatbin \
        --image=profile=compute_80,file=given.ptx
    "$R/usr/bin/cuobjdump" -xptx all stored.fatbin >out
    ptx=stored.1.sm_80.ptx
    echo "--compress=$compress:"
    saw "same bytes" "$(cmp -s given.ptx $ptx && echo yes || echo no)" no
    saw "comment" "$(grep -c 'done' $ptx || :)" 0
    saw "indented lines" "$(grep -c '^ ' $ptx || :)" 0
    saw "file name" "$(grep '^.file' $ptx)" '.file 1 "two blanks.cu"'
done
end
