#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# checkmodule takes a policy module whose allow rule is forbidden by a neverallow rule of the same
# module: it parses both, says nothing and ends with 0. Only what links and expands the whole
# policy compares them, and semodule does so only if semanage.conf has expand-check=1. So a
# neverallow in a module guards nothing where the module is built.
. "$(dirname "$0")/lib.sh"
get_all checkpolicy=3.4-1+b2
cd "$T"
guess "an error: the rule and its opposite stand in one file"

policy() {
    cat <<'P'
module vgpu 1.0;
require { type svirt_t; type shadow_t; class file { read write }; }
neverallow svirt_t shadow_t:file read;
P
}
{ policy; echo 'allow svirt_t shadow_t:file read;'; } >vgpu.te
saw "exit status" "$(status_of in_root usr/bin/checkmodule -M -m -o vgpu.mod vgpu.te)" 0
saw "bytes of messages" "$(cat out err | wc -c)" 0
saw "a module is written" "$([ -s vgpu.mod ] && echo yes)" yes
# It does look at names.
{ policy; echo 'allow svirt_t shadow_t:file raed;'; } >vgpu.te
saw "a misspelt permission" "$(status_of in_root usr/bin/checkmodule -M -m -o vgpu.mod vgpu.te)" 1
end
