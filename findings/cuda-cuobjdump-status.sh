#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# cuobjdump's exit status doesn't tell whether it found what was asked for: asking a fat binary for
# machine code that it doesn't hold, or for code of a GPU that it doesn't hold, ends with 0. Only a
# file without any device code ends with 255. A script must look for the lines "ELF file".
. "$(dirname "$0")/lib.sh"
get nvidia-cuda-toolkit=11.8.89~11.8.0-5~deb12u1
cd "$T"
guess "asking for code that isn't there ends with something else than 0"

printf '.version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k() { ret; }\n' >k.ptx
"$R/usr/bin/ptxas" -arch=sm_80 k.ptx -o k.cubin
"$R/usr/bin/fatbinary" -64 --create=ptx.fatbin --image=profile=compute_80,file=k.ptx
"$R/usr/bin/fatbinary" -64 --create=elf.fatbin --image=profile=sm_80,file=k.cubin

dump="$R/usr/bin/cuobjdump"
saw "list machine code, only PTX there" "$(status_of "$dump" -lelf ptx.fatbin)" 0
saw "show machine code, only PTX there" "$(status_of "$dump" -sass ptx.fatbin)" 0
saw "list code of sm_90, only sm_80 there" "$(status_of "$dump" -arch sm_90 -lelf elf.fatbin)" 0
saw "lines with a file" "$(grep -c 'ELF file ' out || :)" 0
saw "list PTX, only machine code there" "$(status_of "$dump" -lptx elf.fatbin)" 0
saw "no device code at all" "$(status_of "$dump" -lelf k.ptx)" 255
end
