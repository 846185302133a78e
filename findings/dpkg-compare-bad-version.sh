#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# dpkg --compare-versions takes most texts that are no versions: a warning on stderr, then it
# compares them by the rules for versions and answers yes or no. Only some mistakes (an empty
# revision, an epoch of letters) give 2. So a maintainer's script whose variable holds "unknown", or
# a git hash, takes the branch for a newer version.
. "$(dirname "$0")/lib.sh"
get_all dpkg=1.21.23
guess "2, which the manual gives for a usage that is invalid, whatever is wrong with a version"

compare() {
    in_root usr/bin/dpkg --admindir="$T" --compare-versions "$@"
}

saw "unknown > 9" "$(status_of compare unknown gt 9)" 0
saw "message" "$(grep -o 'does not start with digit' "$T/err")" "does not start with digit"
saw "1_0 > 0" "$(status_of compare 1_0 gt 0)" 0
saw "1.0- = 1.0" "$(status_of compare 1.0- eq 1.0)" 2
saw "a:1 > 0" "$(status_of compare a:1 gt 0)" 2
saw "an empty version < 1" "$(status_of compare "" lt 1)" 0
end
