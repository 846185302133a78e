#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Two files in /etc/OpenCL/vendors that name the same library, one from a package and one copied by
# hand from a vendor's instructions, give two platforms with the same devices: the loader doesn't
# compare them. A program that takes all GPUs of all platforms counts each one twice, and gives it
# twice the work. A blank after the library's name, on the other hand, hides it without a word.
. "$(dirname "$0")/lib.sh"
get_all pocl-opencl-icd=3.1-3+deb12u1 ocl-icd-libopencl1=2.3.1-1 clinfo=3.0.23.01.25-1
guess "one library is one platform, and blanks at the end of the line don't count"

OCL_ICD_VENDORS="$T/vendors"
export OCL_ICD_VENDORS
mkdir "$OCL_ICD_VENDORS"
POCL="$LIB/libpocl.so.2.10.0"

# platforms -> how many platforms, and how many devices in them
platforms() {
    rc=$(status_of in_root usr/bin/clinfo -l)
    echo "$(grep -c '^Platform' "$T/out") $(grep -c -e '-- Device' "$T/out") (status $rc)"
}

echo "$POCL" >"$OCL_ICD_VENDORS/pocl.icd"
saw "platforms and devices with one file" "$(platforms)" "1 1 (status 0)"
cp "$OCL_ICD_VENDORS/pocl.icd" "$OCL_ICD_VENDORS/again.icd"
saw "with a second file for it" "$(platforms)" "2 2 (status 0)"
saw "different names among them" "$(grep '^Platform' "$T/out" | sed 's/.*: //' | sort -u | wc -l)" 1
rm "$OCL_ICD_VENDORS/again.icd"
echo "$POCL " >"$OCL_ICD_VENDORS/pocl.icd"
saw "with a blank after the name" "$(platforms)" "0 0 (status 0)"
saw "what was said" "$(cat "$T/err")" ""
end
