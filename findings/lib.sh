# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by every finding: fetching pinned Debian packages into a folder that is removed at the
# end, and comparing what was seen. Nothing is installed, the machine's own package lists are only
# read for where Debian is. FINDINGS_CACHE=FOLDER keeps lists and packages between runs.
set -eu
unset CDPATH
# Programs that are asked here must not see settings of the caller.
unset LD_PRELOAD LD_LIBRARY_PATH ASAN_OPTIONS UBSAN_OPTIONS MALLOC_PERTURB_ || :
LC_ALL=C TZ=UTC
export LC_ALL TZ

T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
R=$T/root
CACHE=${FINDINGS_CACHE:-$T/cache}
LIB=$R/usr/lib/x86_64-linux-gnu
LIBS=$LIB:$R/lib/x86_64-linux-gnu
ALL_SEEN=yes
mkdir -p "$R"

skip() {
    echo "skipped: $*"
    exit 77
}

need() {
    for program; do
        command -v "$program" >/dev/null || skip "no $program on this machine"
    done
}

private_apt() {
    apt-get -q -o Dir::Etc::SourceList="$CACHE/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$CACHE/lists" -o Dir::State::status="$CACHE/status" \
        -o Dir::Cache="$CACHE/apt" -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
        -o APT::Architecture=amd64 -o APT::Architectures=amd64 "$@"
}

# The machine's own Debian sources, with the components that some findings need.
private_lists() {
    [ -e "$CACHE/ready" ] && return
    mkdir -p "$CACHE/lists/partial" "$CACHE/apt/archives/partial"
    : >"$CACHE/status"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$keys" ] || skip "no $keys"
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
        awk -v keys="$keys" '$3 == "main" && $2 ~ /^bookworm/ {
            print "deb [signed-by=" keys "] " $1 " " $2 " main non-free" }' |
        sort -u >"$CACHE/sources.list"
    [ -s "$CACHE/sources.list" ] || skip "no Debian 12 among this machine's package sources"
    private_apt update >"$CACHE/log" 2>&1 || skip "the package lists can't be had"
    : >"$CACHE/ready"
}

# get PACKAGE=VERSION...: exactly these, unpacked under $R. For libraries that a small C program
# links, and for programs that need nothing but the C and C++ libraries.
get() {
    need apt-get dpkg-deb
    private_lists
    echo "with: $*"
    for package; do
        file=${package%%=*}_$(echo "${package#*=}" | sed 's/:/%3a/g')
        ls "$CACHE/$file"_*.deb >/dev/null 2>&1 ||
            (cd "$CACHE" && private_apt download "$package") >"$CACHE/log" 2>&1 ||
            skip "$package can't be had"
        dpkg-deb -x "$CACHE/$file"_*.deb "$R"
    done
}

# get_all PACKAGE=VERSION...: these and all that they depend on, the C library too. Start their
# programs with `in_root`.
get_all() {
    need apt-get dpkg-deb
    private_lists
    # Inst NAME (VERSION ORIGIN [ARCHITECTURE]): the file is NAME_VERSION_ARCHITECTURE.deb.
    files=$(private_apt install -s --no-install-recommends "$@" 2>"$CACHE/log" |
        sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*\[\(.*\)\]).*/\1_\2_\3.deb/p' |
        sed 's/:/%3a/g') || :
    [ -n "$files" ] || skip "$* can't be had"
    private_apt install -y --no-install-recommends -d "$@" >"$CACHE/log" 2>&1 ||
        skip "$* can't be had"
    echo "with: $* and what they depend on"
    for file in $files; do
        dpkg-deb -x "$CACHE/apt/archives/$file" "$R"
    done
}

# get_npm PACKAGE@VERSION...: these from npm, with what they depended on at the end of November
# 2026, for programs in $T that are started with `node`. No script of a package is run.
get_npm() {
    need node npm
    echo "with: $*"
    npm install --prefix "$T" --cache "$CACHE/npm" --before 2026-11-30 --ignore-scripts --no-audit \
        --no-fund "$@" >"$T/log" 2>&1 || skip "$* can't be had"
}

in_root() {
    program=$1
    shift
    "$R/lib64/ld-linux-x86-64.so.2" --library-path "$LIBS" "$R/$program" "$@"
}

# For programs of get_all that read and write fixed paths such as /etc: their own root folder.
in_chroot() {
    unshare --map-root-user true 2>/dev/null || skip "no user namespaces on this machine"
    unshare --map-root-user --root="$R" "$@"
}

# QEMU of get_all, with its own modules and firmware, without a guest's devices.
qemu() {
    QEMU_MODULE_DIR=$R/usr/lib/x86_64-linux-gnu/qemu in_root usr/bin/qemu-system-x86_64 \
        -L "$R/usr/share/qemu" -L "$R/usr/share/seabios" -nodefaults -display none "$@"
}

# saw WHAT SEEN RECORDED: says both; a difference makes the finding fail at its end.
saw() {
    if [ "$2" = "$3" ]; then
        echo "  $1: $2"
    else
        echo "  CHANGED: $1: $2 (recorded: $3)"
        ALL_SEEN=no
    fi
}

# guess TEXT: what one who knows the field would expect.
guess() {
    echo "guess: $*"
    echo "seen:"
}

# Exit status of a command as text; its output is in $T/out and $T/err.
status_of() {
    rc=0
    "$@" >"$T/out" 2>"$T/err" </dev/null || rc=$?
    echo "$rc"
}

end() {
    [ "$ALL_SEEN" = yes ] || { echo "the behaviour is no longer what was recorded"; exit 1; }
    echo "as recorded"
}
