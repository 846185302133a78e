#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Downloads a distribution's QEMU source package and prints its .dsc file.
#
#   fetch-source.sh installed   the source of the qemu-system-x86 that is installed
#   fetch-source.sh bookworm    the source of Debian 12's QEMU 7.2
#
# The system's apt configuration stays as it is: source entries, package lists and
# downloads live in the cache (${XDG_CACHE_HOME:-~/.cache}/vgpu-mediator).  apt checks
# the archive's signature and every file's hash.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022

die() { echo "fetch-source.sh: $*" >&2; exit 1; }

[ $# -eq 1 ] || die "usage: fetch-source.sh installed|bookworm"
for tool in apt-get apt-cache dpkg-query dpkg-source; do
    command -v "$tool" >/dev/null ||
        die "$tool is missing; this script needs Debian or Ubuntu and the package dpkg-dev"
done

cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/vgpu-mediator
mkdir -p "$cache"
exec 9>"$cache/source.lock"
flock 9

keyring_option() { # NAME of the distribution
    for file in "/usr/share/keyrings/$1-archive-keyring.gpg" \
                "/usr/share/keyrings/$1-archive-keyring.pgp"; do
        if [ -r "$file" ]; then
            echo "[signed-by=$file]"
            return
        fi
    done
}

case $1 in
installed)
    version=$(dpkg-query -W -f '${source:Version}' qemu-system-x86 2>/dev/null) ||
        die "qemu-system-x86 is not installed: apt-get install qemu-system-x86"
    # shellcheck disable=SC1091
    distribution=$(. /etc/os-release && echo "$ID")
    option=$(keyring_option "$distribution")
    # "500 http://deb.debian.org/debian bookworm/main amd64 Packages" -> a deb-src entry
    entries=$(apt-cache policy qemu-system-x86 |
        awk -v o="$option" '$2 ~ /^https?:/ && $NF == "Packages" {
            split($3, part, "/"); print "deb-src", o, $2, part[1], part[2] }' | sort -u)
    [ -n "$entries" ] || die "apt knows no archive for qemu-system-x86; run apt-get update"
    ;;
bookworm)
    version=
    option=$(keyring_option debian)
    [ -n "$option" ] || die "Debian's keys are missing: apt-get install debian-archive-keyring"
    entries="deb-src $option http://deb.debian.org/debian bookworm main"
    ;;
*)
    die "unknown source '$1'"
    ;;
esac

# The newest download serves for "bookworm"; "installed" must match to the letter.
name=$(echo "${version:-$1}" | tr -c 'A-Za-z0-9.+~\n-' '_')
folder=$cache/source/$name
if ls "$folder"/*.dsc >/dev/null 2>&1; then
    ls "$folder"/*.dsc
    exit 0
fi

work=$cache/source/.tmp.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/download"
echo "$entries" >"$work/sources.list"
chmod -R a+rX "$work"
apt() {
    (cd "$work/download" && apt-get -q \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User= "$@" >"$work/log" 2>&1) || {
        cat "$work/log" >&2
        return 1
    }
}
echo "fetching the source package of QEMU ${version:-of $1} ..." >&2
apt update || die "can't read the archive's source lists (entries: $entries)"
apt source --download-only "qemu${version:+=$version}" ||
    die "the archive does not have the source of ${version:-QEMU} any more;" \
        "bring QEMU up to date first: apt-get install --only-upgrade qemu-system-x86"
mkdir -p "$cache/source"
mv "$work/download" "$folder"
ls "$folder"/*.dsc
