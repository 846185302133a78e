#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# clinfo ends with 0 where there is no OpenCL at all, and where what is installed can't be loaded: a
# vendor's file that names a library which isn't there gives no message, not even the number of
# platforms differs. A misspelt option is left out, with 0. So it is no test of an installation.
. "$(dirname "$0")/lib.sh"
get_all clinfo=3.0.23.01.25-1 ocl-icd-libopencl1=2.3.1-1
cd "$T"
guess "something else than 0 without a platform, and a word about the library that is missing"

mkdir vendors
OCL_ICD_VENDORS=$T/vendors
export OCL_ICD_VENDORS
clinfo() { in_root usr/bin/clinfo "$@"; }
saw "no vendor" "$(status_of clinfo --raw) $(grep -o '^#PLATFORMS.*' out | tr -s ' ')" \
    "0 #PLATFORMS 0"
echo libnosuch.so.1 >vendors/nosuch.icd
saw "one whose library is missing" \
    "$(status_of clinfo --raw) $(grep -o '^#PLATFORMS.*' out | tr -s ' ')" "0 #PLATFORMS 0"
saw "is it said?" "$(cat out err | grep -c nosuch || :)" 0
saw "a misspelt option" "$(status_of clinfo --lsit)" 0
end
