#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds a minimal QEMU with vgpu-stub compiled in and prints its path.
#
#   build-qemu.sh 7.2 [--source FOLDER] [--xen FOLDER]
#   build-qemu.sh 4.2.1|10.1 --source FOLDER --xen FOLDER
#
# The source is Debian 12's package (fetched by fetch-source.sh), or the QEMU source
# tree in FOLDER, which is not changed: for XCP-ng's lines, the unpacked source RPM's or
# upstream's.  The line's series from patches/ is applied.
#   7.2           qemu-system-x86_64 with TCG and KVM, machines q35 and pc; no display, no network;
#                 it is made for tests.  With --xen it is Xen's device model for HVM guests as well
#   4.2.1, 10.1   qemu-system-i386, Xen's device model and nothing else
# --xen names the root under which Xen's development files are: /, or where libxen-dev is
# unpacked, which has to stay: the program finds Xen's libraries there.
# It takes a few minutes once; the result is kept in ${XDG_CACHE_HOME:-~/.cache}/vgpu-mediator
# under a hash of everything that went in.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022

die() { echo "build-qemu.sh: $*" >&2; exit 1; }
usage() { sed -n '3,19s/^# \{0,1\}//p' "$0"; }

line='' source='' xen=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --source)
        [ $# -ge 2 ] || die "--source needs a folder"
        source=$(cd "$2" && pwd) || die "no folder '$2'"
        shift
        ;;
    --xen)
        [ $# -ge 2 ] || die "--xen needs a folder"
        xen=$(cd "$2" && pwd) || die "no folder '$2'"
        [ -e "${xen%/}/usr/include/xenctrl.h" ] ||
            die "no Xen development files in '$2' (usr/include/xenctrl.h is missing): libxen-dev"
        shift
        ;;
    7.2 | 4.2.1 | 10.1) line=$1 ;;
    *) die "unknown argument '$1'; the QEMU lines with a patch series are: $(ls "$here/patches")" ;;
    esac
    shift
done
[ -n "$line" ] || { usage >&2; exit 2; }
if [ "$line" != 7.2 ] && { [ -z "$source" ] || [ -z "$xen" ]; }; then
    die "QEMU $line is built for Xen from a source tree of yours: --source and --xen are needed"
fi

missing=
for pair in cc:gcc flex:flex bison:bison ninja:ninja-build patch:patch pkg-config:pkg-config \
            python3:python3 dpkg-source:dpkg-dev xz:xz-utils; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
if command -v pkg-config >/dev/null; then
    for pair in glib-2.0:libglib2.0-dev pixman-1:libpixman-1-dev libseccomp:libseccomp-dev; do
        pkg-config --exists "${pair%%:*}" || missing="$missing ${pair##*:}"
    done
fi
[ -e /usr/include/libfdt.h ] || missing="$missing libfdt-dev"
[ -z "$missing" ] || die "packages are missing: apt-get install$missing"

cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/vgpu-mediator
mkdir -p "$cache/qemu-$line"
# A build after a change of the device, or of another commit, finds its objects in ccache.
if [ -x /usr/lib/ccache/cc ]; then
    PATH=/usr/lib/ccache:$PATH
    CCACHE_DIR=$cache/ccache CCACHE_MAXSIZE=1G CCACHE_NOHASHDIR=1
    CCACHE_SLOPPINESS=include_file_ctime,include_file_mtime,time_macros
    export CCACHE_DIR CCACHE_MAXSIZE CCACHE_NOHASHDIR CCACHE_SLOPPINESS
fi
if [ -z "$source" ]; then
    package=$("$here/fetch-source.sh" bookworm)
    origin=$(basename "$package")
else
    package=
    origin=$(basename "$source")-$(cat "$source/VERSION")
fi
program=qemu-system-i386
if [ "$line" = 7.2 ]; then
    program=qemu-system-x86_64
fi
contents() { tar -C "$1" --exclude=.git --sort=name --owner=0 --group=0 --mtime=@0 -cf - "$2"; }
hash=$({
    echo "$origin $xen"
    cc --version
    cat "$0" "$here/patches/$line"/*.patch
    [ -z "$source" ] || contents "$source" .
    [ -z "$xen" ] || contents "${xen%/}/usr/include" xenctrl.h
} | sha256sum | cut -c 1-16)
done=$cache/qemu-$line/$hash
exec 8>"$cache/qemu-$line.lock"
flock 8
if [ -x "$done/$program" ]; then
    echo "$done/$program"
    exit 0
fi

# Always the same folder, as its path is a part of what ccache compares; the lock keeps others out.
work=$cache/qemu-$line/.work
rm -rf "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work"
step() {
    "$@" >"$work/log" 2>&1 || { tail -n 60 "$work/log" >&2; die "failed: $*"; }
}
echo "building QEMU $line with vgpu-stub compiled in (once, a few minutes) ..." >&2
if [ -n "$package" ]; then
    step dpkg-source --no-check -x "$package" "$work/source"
else
    step cp -r "$source" "$work/source"
fi
cd "$work/source"
for patch in "$here/patches/$line"/*.patch; do
    step patch -p1 --fuzz=0 -i "$patch"
done
mkdir build
cd build
# The firmware comes from the distribution's packages (seabios, qemu-system-data).
firmware=/usr/share/qemu:/usr/share/seabios:/usr/lib/ipxe/qemu
version="vgpu-mediator, $(basename "$origin")"
if [ -n "$xen" ]; then
    libraries=${xen%/}/usr/lib/x86_64-linux-gnu
    PKG_CONFIG_PATH=$libraries/pkgconfig
    export PKG_CONFIG_PATH
    # An RPATH also counts for the libraries of Xen's libraries, a RUNPATH does not.
    set -- --enable-xen --enable-seccomp --extra-cflags="-I${xen%/}/usr/include" \
        --extra-ldflags="-L$libraries -Wl,--disable-new-dtags,-rpath,$libraries"
else
    set --
fi
set -- "$@" --disable-werror --without-default-devices --with-pkgversion="$version" \
    --firmwarepath="$firmware"
if [ "$line" != 7.2 ]; then
    set -- "$@" --target-list=i386-softmmu --disable-tcg --disable-kvm
fi
case $line in
4.2.1)
    # What XCP-ng's spec leaves out, as far as this version of configure knows it.
    step ../configure "$@" --python=/usr/bin/python3 --disable-docs \
        --disable-guest-agent --disable-sdl --disable-gtk --disable-curses --disable-curl \
        --disable-vnc-jpeg --disable-vnc-png --disable-vnc-sasl --disable-gnutls \
        --disable-nettle --disable-gcrypt --disable-slirp \
        --disable-fdt --disable-capstone --disable-vhost-net --disable-vhost-scsi \
        --disable-vhost-vsock --disable-vhost-user --disable-virtfs --disable-libusb \
        --disable-spice --disable-smartcard --disable-xen-pci-passthrough --disable-tools \
        --disable-blobs --audio-drv-list=
    step nice make -j"$(nproc)" i386-softmmu/all
    cd i386-softmmu
    ;;
10.1)
    cat >../configs/devices/i386-softmmu/vgpu.mak <<'MAK'
CONFIG_I440FX=y
CONFIG_AHCI_ICH9=y
CONFIG_NVME_PCI=y
CONFIG_VGPU_STUB=y
MAK
    # 10.2's NVMe and ACPI do not link, or not start, without these; its Kconfig does not say so.
    if grep -qx 'config SPDM_SOCKET' ../backends/Kconfig; then
        printf 'CONFIG_%s=y\n' SPDM_SOCKET PXB PCIE_PORT CXL CXL_MEM_DEVICE \
            >>../configs/devices/i386-softmmu/vgpu.mak
    fi
    step ../configure "$@" --without-default-features --disable-install-blobs --enable-system \
        --disable-debug-info --enable-fdt=system --with-devices-i386=vgpu
    step nice ninja -j"$(nproc)" "$program"
    ;;
7.2)
    cat >../configs/devices/x86_64-softmmu/vgpu.mak <<'MAK'
CONFIG_Q35=y
CONFIG_I440FX=y
CONFIG_PCIE_PORT=y
CONFIG_AHCI_ICH9=y
CONFIG_NVME_PCI=y
CONFIG_VGPU_STUB=y
MAK
    step ../configure "$@" --target-list=x86_64-softmmu --without-default-features \
        --with-devices-x86_64=vgpu --disable-install-blobs --enable-system --enable-tcg \
        --enable-kvm --disable-debug-info
    step nice ninja -j"$(nproc)" "$program"
    ;;
esac
strip -o "$work/$program" "$program"
cd /
mkdir -p "$done"
mv "$work/$program" "$done/"
echo "$done/$program"
