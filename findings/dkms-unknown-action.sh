#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# dkms ends with 0 for an action that it doesn't know: it prints its usage and does nothing, so a
# package's script with a misspelt "install" leaves the module out and succeeds. An action with a
# module that it doesn't know ends with 3. "status" of such a module ends with 0, too.
. "$(dirname "$0")/lib.sh"
get_all dkms=3.0.10-8+deb12u1
guess "an unknown action is an error, as an unknown module is"

mkdir -p "$T/src/vgpu-1.0" "$T/tree"
cat >"$T/src/vgpu-1.0/dkms.conf" <<'EOF'
PACKAGE_NAME="vgpu"
PACKAGE_VERSION="1.0"
BUILT_MODULE_NAME[0]="vgpu"
DEST_MODULE_LOCATION[0]="/updates"
EOF

dkms() {
    status_of bash "$R/usr/sbin/dkms" --sourcetree "$T/src" --dkmstree "$T/tree" "$@"
}

saw "exit status of add" "$(dkms add vgpu/1.0)" 0
saw "of remove for a module that isn't there" "$(dkms remove other/1.0 --all)" 3
saw "of an action that isn't there" "$(dkms instal vgpu/1.0)" 0
saw "what it says" "$(grep -o "Error!.*" "$T/err" | tail -n 1)" \
    'Error! Unknown action specified: ""'
saw "of status for a module that isn't there" "$(dkms status other)" 0
saw "what it says" "$(cat "$T/out" "$T/err")" ""
end
