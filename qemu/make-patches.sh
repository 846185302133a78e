#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Writes the patch series that compiles vgpu-stub into QEMU, from vgpu-stub.c and the
# protocol header.  The patches are committed, so that packagers need no script.
#
#   make-patches.sh           write patches/*/
#   make-patches.sh --check   exit 1 if the committed patches are stale
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/patches
check=
case ${1-} in
"") ;;
--check)
    check=yes
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
    trap 'exit 1' HUP INT TERM
    ;;
*)
    sed -n '3,8s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

header() { # SUBJECT, the description on standard input
    printf 'From: vgpu-mediator project <noreply@localhost>\nSubject: [PATCH] %s\n\n' "$1"
    cat
    printf '\n---\n'
}

new_file() { # PATH in QEMU, FILE here
    printf 'diff --git a/%s b/%s\nnew file mode 100644\n--- /dev/null\n+++ b/%s\n@@ -0,0 +1,%s @@\n' \
        "$1" "$1" "$1" "$(wc -l <"$2")"
    sed 's/^/+/' "$2"
}

# Both files are extended at their very top, where 4.2 to 10.1 have the same line.
series_meson() { # FOLDER, the name of the source set
    mkdir -p "$out/$1"
    {
        header "include: add the vgpu-mediator protocol" <<'TEXT'
The contract between guests, the vgpu-stub device and vgpu-mediator: registers,
requests and the frames on the socket.
TEXT
        new_file include/vgpu/vgpu_protocol.h "$here/../include/vgpu/vgpu_protocol.h"
    } >"$out/$1/0001-include-add-the-vgpu-mediator-protocol.patch"
    {
        header "hw/misc: add the vgpu-stub device" <<'TEXT'
A PCI device that passes a guest's GPU requests to vgpu-mediator through a
character device.
TEXT
        cat <<PATCH
diff --git a/hw/misc/Kconfig b/hw/misc/Kconfig
--- a/hw/misc/Kconfig
+++ b/hw/misc/Kconfig
@@ -1,3 +1,8 @@
+config VGPU_STUB
+    bool
+    default y if PCI_DEVICES
+    depends on PCI
+
 config APPLESMC
     bool
     depends on ISA_BUS
diff --git a/hw/misc/meson.build b/hw/misc/meson.build
--- a/hw/misc/meson.build
+++ b/hw/misc/meson.build
@@ -1,1 +1,2 @@
+$2.add(when: 'CONFIG_VGPU_STUB', if_true: files('vgpu-stub.c'))
 $2.add(when: 'CONFIG_APPLESMC', if_true: files('applesmc.c'))
PATCH
        new_file hw/misc/vgpu-stub.c "$here/vgpu-stub.c"
    } >"$out/$1/0002-hw-misc-add-the-vgpu-stub-device.patch"
}

series_meson 7.2 softmmu_ss

if [ -n "$check" ] && ! diff -rq "$here/patches" "$out"; then
    echo "the patches are stale: run qemu/make-patches.sh and commit the result" >&2
    exit 1
fi
