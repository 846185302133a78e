#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Writes the patch series that compiles vgpu-stub into QEMU, from the device's files and
# the protocol's headers.  The patches are committed, so that packagers need no script.
#
#   make-patches.sh           write patches/*/
#   make-patches.sh --check   exit 1 if the committed patches are stale
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/patches
# shellcheck source=qemu/device-files
. "$here/device-files"
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
    printf 'diff --git a/%s b/%s\nnew file mode 100644\n--- /dev/null\n+++ b/%s\n' "$1" "$1" "$1"
    printf '@@ -0,0 +1,%s @@\n' "$(wc -l <"$2")"
    sed 's/^/+/' "$2"
}

# The device's sources as a build file lists them.
listed() { # FORMAT of one, for its name without ".c", and what stands between two
    names=
    for file in $device_sources; do
        # shellcheck disable=SC2059
        names=$names${names:+$2}$(printf "$1" "${file%.c}")
    done
    echo "$names"
}

# Every file is extended at its very top, where 4.2 to 10.2 have the same lines and XCP-ng's
# own patches change nothing.
kconfig() {
    cat <<'PATCH'
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
PATCH
}

meson_build() { # the name of the source set
    sources=$(listed "'%s.c'" ', ')
    cat <<PATCH
diff --git a/hw/misc/meson.build b/hw/misc/meson.build
--- a/hw/misc/meson.build
+++ b/hw/misc/meson.build
@@ -1,1 +1,2 @@
+$1.add(when: 'CONFIG_VGPU_STUB', if_true: files($sources))
 $1.add(when: 'CONFIG_APPLESMC', if_true: files('applesmc.c'))
PATCH
}

makefile_objs() {
    objects=$(listed '%s.o' ' ')
    cat <<PATCH
diff --git a/hw/misc/Makefile.objs b/hw/misc/Makefile.objs
--- a/hw/misc/Makefile.objs
+++ b/hw/misc/Makefile.objs
@@ -1,1 +1,2 @@
+common-obj-\$(CONFIG_VGPU_STUB) += $objects
 common-obj-\$(CONFIG_APPLESMC) += applesmc.o
PATCH
}

# Xen's device model is built with --without-default-devices, which drops every "default y".
device_list() { # PATH of the list
    cat <<PATCH
diff --git a/$1 b/$1
--- a/$1
+++ b/$1
@@ -1,3 +1,5 @@
+CONFIG_VGPU_STUB=y
+
 # Default configuration for i386-softmmu
 
 # Uncomment the following lines to disable these optional devices:
PATCH
}

series() { # FOLDER, then the functions that print what enters the build
    line=$1
    shift
    mkdir -p "$out/$line"
    {
        header "include: add the vgpu-mediator protocol" <<'TEXT'
The contract between guests, the vgpu-stub device and vgpu-mediator: registers,
requests and the frames on the socket.
TEXT
        for file in $device_contracts; do
            new_file "include/vgpu/$file" "$here/../include/vgpu/$file"
        done
    } >"$out/$line/0001-include-add-the-vgpu-mediator-protocol.patch"
    {
        header "hw/misc: add the vgpu-stub device" <<'TEXT'
A PCI device that passes a guest's GPU requests to vgpu-mediator through a
character device.
TEXT
        for part; do
            $part
        done
        for file in $device_headers $device_sources; do
            new_file "hw/misc/$file" "$here/$file"
        done
    } >"$out/$line/0002-hw-misc-add-the-vgpu-stub-device.patch"
}

series 7.2 kconfig "meson_build softmmu_ss"
# XCP-ng's two lines.
series 4.2.1 "device_list default-configs/i386-softmmu.mak" kconfig makefile_objs
series 10.1 "device_list configs/devices/i386-softmmu/default.mak" kconfig "meson_build system_ss"

if [ -n "$check" ] && ! diff -rq "$here/patches" "$out"; then
    echo "the patches are stale: run qemu/make-patches.sh and commit the result" >&2
    exit 1
fi
