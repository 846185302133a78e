#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Fetches Debian's Xen, a kernel for Dom0 and what else the lab needs, and prints the folder
# that they are unpacked in.  Nothing is installed: Xen's packages would change how this
# machine boots.
#
#   fetch-packages.sh
#
# The folder is kept in ${XDG_CACHE_HOME:-~/.cache}/vgpu-mediator/xen under a hash of the
# packages' versions.  apt checks the archive's signature and every file's hash.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022

die() { echo "fetch-packages.sh: $*" >&2; exit 1; }

xen=4.17
packages="xen-hypervisor-$xen-amd64 xen-utils-$xen xen-utils-common libxenmisc$xen libxen-dev
    libxenstore4 xenstore-utils libxencall1 libxendevicemodel1 libxenevtchn1
    libxenforeignmemory1 libxengnttab1 libxenhypfs1 libxentoolcore1 libxentoollog1 libyajl2
    libfdt1 libpixman-1-0 seabios isolinux syslinux-common genisoimage"

for tool in apt-get apt-cache dpkg-deb; do
    command -v $tool >/dev/null || die "$tool is missing: the lab needs Debian 12"
done
# The kernel for clouds can't be Dom0 (no CONFIG_XEN_DOM0); the usual one can.
kernel=linux-image-amd64
# shellcheck disable=SC2086
versions=$(apt-cache policy $packages $kernel |
    awk '/^[^ ]/ { name = $1 } / Candidate:/ { print name $2 }')
for package in $packages $kernel; do
    case $versions in
    *"$package:"*) ;;
    *) die "apt knows no package '$package': the lab needs Debian 12, and apt-get update" ;;
    esac
done

cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/vgpu-mediator/xen
mkdir -p "$cache"
exec 9>"$cache/packages.lock"
flock 9
folder=$cache/packages-$({ echo "$versions"; cat "$0"; } | sha256sum | cut -c 1-16)
if [ ! -d "$folder" ]; then
    work=$cache/.tmp.$$
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$work/debs" "$work/root"
    echo "fetching Xen's packages (once, 120 MB) ..." >&2
    # That package is empty; the one that it needs has the kernel.
    kernel=$(apt-cache depends $kernel |
        sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    # shellcheck disable=SC2086
    (cd "$work/debs" && apt-get -q -o APT::Sandbox::User= download $packages $kernel) \
        >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" >&2; die "the packages can't be had"; }
    for archive in "$work"/debs/*.deb; do
        dpkg-deb -x "$archive" "$work/root"
    done
    rm -rf "$work/root/usr/share/doc" "$work/root/usr/share/man"
    # pkg-config finds Xen's libraries where they really are.
    sed -i "s|=/usr|=$folder/usr|" "$work"/root/usr/lib/x86_64-linux-gnu/pkgconfig/xen*.pc
    mv "$work/root" "$folder"
fi
echo "$folder"
