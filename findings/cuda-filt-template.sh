#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# CUDA's cu++filt doesn't put a template's arguments into the types of the parameters as c++filt
# does: it shows T1 for the first one. So names made readable by the two can't be compared.
. "$(dirname "$0")/lib.sh"
need c++filt
get nvidia-cuda-toolkit=11.8.89~11.8.0-5~deb12u1
guess "both show the same"

for name in _Z3addPfi _Z4fillIfEvPT_i _Z4copyIfiEvPT_PKT0_; do
    theirs=$("$R/usr/bin/cu++filt" $name)
    case $name in
    _Z3add*) recorded="add(float *, int)" ;;
    _Z4fill*) recorded="void fill<float>(T1 *, int)" ;;
    _Z4copy*) recorded="void copy<float, int>(T1 *, const T2 *)" ;;
    esac
    saw "cu++filt" "$theirs" "$recorded"
    echo "  c++filt : $(c++filt $name)"
done
end
