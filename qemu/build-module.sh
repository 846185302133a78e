#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds vgpu-stub for the QEMU that is installed (Debian 12, Ubuntu 24.04), as a
# shared object that vgpu-qemu loads into the unmodified qemu-system-x86_64.
#
#   build-module.sh [FOLDER]      default: build/qemu in the source tree
#
# Writes vgpu-stub.so, vgpu-preload.so and qemu-version to FOLDER.  The first run
# fetches QEMU's source package and takes the headers from it (about a minute); they
# are kept per package version in ${XDG_CACHE_HOME:-~/.cache}/vgpu-mediator.
# CC and CFLAGS are honoured.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=qemu/device-files
. "$here/device-files"
# A python3 from elsewhere breaks QEMU's configure.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022

die() { echo "build-module.sh: $*" >&2; exit 1; }

case ${1-} in
-h | --help)
    sed -n '3,12s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
-*) die "unknown option $1 (--help shows the usage)" ;;
esac
out=${1:-$here/../build/qemu}
qemu=/usr/bin/qemu-system-x86_64
cc=${CC:-cc}

missing=
command -v "$cc" >/dev/null || missing="$missing gcc"
for pair in flex:flex bison:bison ninja:ninja-build dpkg-source:dpkg-dev pkg-config:pkg-config \
            python3:python3 xz:xz-utils; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
[ -x $qemu ] || missing="$missing qemu-system-x86"
if command -v pkg-config >/dev/null; then
    for pair in glib-2.0:libglib2.0-dev pixman-1:libpixman-1-dev; do
        pkg-config --exists "${pair%%:*}" || missing="$missing ${pair##*:}"
    done
fi
[ -e /usr/include/libfdt.h ] || missing="$missing libfdt-dev"
python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
[ -z "$missing" ] || die "packages are missing: apt-get install$missing"

version=$(dpkg-query -W -f '${Version}' qemu-system-x86) || die "qemu-system-x86 is no package here"
banner=$($qemu --version | head -n 1)
case $banner in
*" version 10."* | *" version 11."*)
    die "$banner can't take the device as a module; build it in: qemu/build-qemu.sh" ;;
esac

cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/vgpu-mediator
headers=$cache/headers/$(echo "$version" | tr -c 'A-Za-z0-9.+~\n-' '_')
mkdir -p "$cache/headers"
exec 8>"$cache/headers.lock"
flock 8
if [ ! -e "$headers/complete" ]; then
    dsc=$("$here/fetch-source.sh" installed)
    work=$cache/headers/.tmp.$$
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$work"
    echo "preparing the headers of QEMU $version (once) ..." >&2
    step() { "$@" >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; die "failed: $*"; }; }
    step dpkg-source --no-check -x "$dsc" "$work/source"
    mkdir "$work/source/build"
    cd "$work/source/build"
    # Only what decides about structures matters here, and that is the source, not the
    # features; pkgversion makes the module's idea of the version that of the binary.
    pkgversion=$(echo "$banner" | sed -n 's/.*(\(.*\)).*/\1/p')
    step ../configure --with-pkgversion="$pkgversion" --target-list=x86_64-softmmu \
        --without-default-features --disable-install-blobs --enable-system --enable-tcg \
        --enable-kvm --enable-modules --enable-module-upgrades
    step ninja config-poison.h qapi/qapi-builtin-types.h
    mkdir -p "$work/kept/build"
    cp -r ../include ../linux-headers "$work/kept/"
    find . -name '*.h' | cpio --quiet -pdm "$work/kept/build" 2>/dev/null ||
        find . -name '*.h' -exec cp --parents '{}' "$work/kept/build" ';'
    echo "$version" >"$work/kept/complete"
    cd /
    rm -rf "$headers"
    mv "$work/kept" "$headers"
    rm -rf "$work"
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d "$out/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
set --
for file in $device_sources; do
    set -- "$@" "$here/$file"
done
# The flags that change what the headers mean are those of QEMU's own build.
# shellcheck disable=SC2046,SC2086
$cc -std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
    -Wno-missing-field-initializers -Wstrict-prototypes ${CFLAGS-} \
    -m64 -mcx16 -pthread -fPIC -fno-strict-aliasing -fno-common -fwrapv \
    -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
    -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_LARGEFILE_SOURCE \
    -isystem "$headers/linux-headers" -isystem "$headers/build/linux-headers" \
    -iquote "$headers/build" -iquote "$headers/include" -iquote "$here/../include" \
    $(pkg-config --cflags glib-2.0 pixman-1) \
    -shared -o "$work/vgpu-stub.so" "$@" "$here/vgpu-layout.c"
# shellcheck disable=SC2086
$cc -std=gnu11 -O2 -g -Wall -Wextra ${CFLAGS-} -fPIC -shared \
    -o "$work/vgpu-preload.so" "$here/vgpu-preload.c" -ldl
echo "$version" >"$work/qemu-version"
mv "$work"/* "$out/"
echo "built $out/vgpu-stub.so for $banner" >&2
