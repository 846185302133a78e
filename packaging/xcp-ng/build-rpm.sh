#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds the RPM for XCP-ng's Dom0 and prints its path.
#
#   build-rpm.sh [--libraries FOLDER] [--output FOLDER] [--glibc VERSION]
#
# The programs need libuv, SQLite, jansson and libmicrohttpd as static libraries.  FOLDER holds
# the release archives of those that this machine does not have in that form:
#   libuv-v*.tar.gz (dist.libuv.org)              jansson-*.tar.gz (github.com/akheron/jansson)
#   sqlite-autoconf-*.tar.gz (sqlite.org)         libmicrohttpd-*.tar.gz (ftp.gnu.org)
# Debian's libmicrohttpd.a does not serve: it wants GnuTLS, of which there is no static form.
#
# Run it where glibc is no newer than Dom0's, 2.17 (XCP-ng's build container): the build refuses
# programs that need a newer one, unless --glibc names the one of the host they are for.
# Needed besides: rpmbuild, a C compiler, make, pkg-config, cmocka's development files, meson 1.0
# with its Python 3.7, ninja; autoconf, automake and libtool for an archive without "configure".
# CC, MESON and NINJA in the environment name others than cc, meson and ninja.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
umask 022

die() { echo "build-rpm.sh: $*" >&2; exit 1; }

archives='' output=$tree/build/rpm glibc=2.17
export CC="${CC:-cc}" MESON="${MESON:-meson}" NINJA="${NINJA:-ninja}"
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        sed -n '3,18s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    --libraries | --output | --glibc)
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in
        --libraries) archives=$(cd "$2" && pwd) || die "no folder '$2'" ;;
        --output) output=$2 ;;
        *) glibc=$2 ;;
        esac
        shift
        ;;
    *) die "unknown argument '$1' (--help shows the usage)" ;;
    esac
    shift
done
# The first words: CC may bring options, MESON its interpreter.
for tool in rpmbuild "${MESON%% *}" "${NINJA%% *}" "${CC%% *}" make tar pkg-config objdump; do
    command -v "$tool" >/dev/null || die "$tool is missing"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
step() {
    "$@" >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; die "failed: $*"; }
}

library() { # PATTERN of the archive, options of its configure
    pattern=$1
    shift
    # shellcheck disable=SC2086
    for archive in "$archives"/$pattern; do
        [ -e "$archive" ] || continue
        echo "building $(basename "$archive") ..." >&2
        rm -rf "$work/library"
        mkdir "$work/library"
        tar xf "$archive" -C "$work/library" --strip-components=1
        cd "$work/library"
        if [ ! -e configure ] && [ -e autogen.sh ]; then
            step sh autogen.sh
        elif [ ! -e configure ]; then
            step autoreconf -fi
        fi
        step ./configure --prefix="$work/static" --libdir="$work/static/lib" --disable-shared \
            --enable-static --with-pic "$@"
        step make -j"$(nproc)"
        step make install
    done
}
if [ -n "$archives" ]; then
    library 'libuv*.tar.*'
    # The static-only name that distributions use.
    [ ! -e "$work/static/lib/pkgconfig/libuv.pc" ] ||
        cp "$work/static/lib/pkgconfig/libuv.pc" "$work/static/lib/pkgconfig/libuv-static.pc"
    library 'sqlite-autoconf-*.tar.*' --disable-readline
    library 'jansson[-_][0-9]*.tar.*'
    library 'libmicrohttpd[-_][0-9]*.tar.*' --disable-https --disable-doc --disable-examples --disable-curl
fi

version=$(sed -n "s/^ *version: '\([^']*\)'.*/\1/p" "$tree/meson.build" | head -n 1)
mkdir -p "$work/SOURCES" "$output"
output=$(cd "$output" && pwd)
cd "$tree"
# The tree as it is, without builds.
tar czf "$work/SOURCES/vgpu-mediator-$version.tar.gz" --exclude=./.git --exclude='./build*' \
    --exclude=./shared --transform "s|^\.|vgpu-mediator-$version|" .
cd "$work"
PKG_CONFIG_PATH=$work/static/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
echo "building the RPM ..." >&2
step rpmbuild -bb --nodeps --define "_topdir $work" --define "vgpu_version $version" \
    --define "vgpu_glibc $glibc" --define "_rpmdir $work/RPMS" "$here/vgpu-mediator.spec"
for package in "$work"/RPMS/*/*.rpm; do
    cp "$package" "$output/"
    echo "$output/$(basename "$package")"
done
