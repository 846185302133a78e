#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The units under a systemd that runs: in a root folder of its own, made by mmdebstrap, in
# namespaces of its own, where systemd is process 1.  Starts the service, restarts it under load,
# kills it, stops it, and looks at what the documents promise.
#
#   tests/packages/boot_check.sh [BUILD_DIR | PACKAGE.deb...]      (default: build)
#
# With packages these are installed; else what BUILD_DIR would install.  BOOT_ROOT=FOLDER keeps the
# root folder and uses it again.  It takes root, a network the first time, and two minutes; so it is
# no part of scripts/check.  Exit status: 0 all is well, 1 something isn't, 77 it can't be tried
# here.
set -eu

skip() {
    echo "skipped: $*"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "only root boots"
for program in mmdebstrap unshare nsenter pgrep; do
    command -v "$program" >/dev/null || skip "no $program on this machine"
done
tree=$(cd "$(dirname "$0")/../.." && pwd)
T=$(mktemp -d)
root=${BOOT_ROOT:-$T/root}
init=
end() {
    [ -z "$init" ] || kill -9 "$init" 2>/dev/null || :
    wait
    rm -rf --one-file-system "$T"
}
trap end EXIT
trap 'exit 1' HUP INT TERM

# ---- the root folder ----

needed=systemd,dbus,python3-minimal,libuv1,libjansson4,libsqlite3-0,libmicrohttpd12,libseccomp2
needed=$needed,libcap-ng0,libncursesw6
[ -e "$root/usr/bin/systemctl" ] ||
    mmdebstrap --quiet --variant=minbase --include=$needed bookworm "$root" ||
    skip "no Debian 12 can be had"
case ${1:-} in
*.deb)
    cp "$@" "$root/var/cache/"
    chroot "$root" sh -c 'dpkg -i /var/cache/*.deb'
    ;;
*)
    DESTDIR=$root meson install -C "${1:-$tree/build}" --no-rebuild >"$T/install.log"
    chroot "$root" sh -c 'getent group vgpu >/dev/null || groupadd -r vgpu
        getent passwd vgpu-mediator >/dev/null ||
            useradd -r -U -M -d / -s /usr/sbin/nologin vgpu-mediator
        vgpu-admin --db /etc/vgpu/vgpu_config.db init-db 2>/dev/null || :'
    ;;
esac
# What asks comes from no QEMU here, and nobody has registered it.
echo 'VGPU_MEDIATOR_OPTIONS=--backend cpu --no-nvml --trust-claims --no-discovery' \
    '--unregistered allow --metrics-listen off' >"$root/etc/default/vgpu-mediator"

# A keeper of the machine itself has another /run, and so doesn't know of the uids in use here.
echo 'VGPU_KEEPER_OPTIONS=--uid-base 2110000000 --uid-count 4096' >"$root/etc/default/vgpu-keeper"
rm -rf "$root/var/log/journal"

# ---- boot ----

cat >"$T/boot" <<'E2'
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t tmpfs tmpfs sys
mkdir -p sys/fs/cgroup
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup sys/fs/cgroup
else
    mount -t tmpfs tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
for folder in run tmp dev; do
    mount -t tmpfs -o mode=755 tmpfs $folder
done
chmod 1777 tmp
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
    # It may be written to; its owner and mode, which are the host's, may not be changed.
    mount -o remount,bind,ro dev/$node
done
mkdir dev/shm run/old
mount -t tmpfs tmpfs dev/shm
ln -s /proc/self/fd dev/fd
pivot_root . run/old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c 'umount -l /run/old
    exec /lib/systemd/systemd --unit=multi-user.target --show-status=no </dev/null >/run/log0 2>&1'
E2
unshare -m -p -f --kill-child -u -i -n -C sh "$T/boot" "$root" &
init=$!
inside() {
    nsenter -t "$(pgrep -P "$init")" -m -p -u -i -n -C -r -w /bin/sh -c "$1"
}
tries=0
until inside 'systemctl is-system-running | grep -qE "running|degraded"' 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] && kill -0 $init 2>/dev/null || skip "systemd does not boot here"
    sleep 0.1
done

# ---- what is promised ----

failed=0
check() { # WHAT COMMAND: the command is run inside
    if inside "$2" >"$T/out" 2>&1; then
        echo "ok: $1"
    else
        echo "NOT: $1"
        sed 's/^/    /' "$T/out"
        failed=1
    fi
}
pid='$(systemctl show -P MainPID vgpu-mediator)'
workers='$(grep -lx vgpu-worker /proc/[0-9]*/comm | sort | tr "\n" " ")'
load='vgpu-loadgen --vms 20 --op add --think-us 5000 --reconnect --socket /run/vgpu/mediator.sock'
until_active='for i in $(seq 600); do
    test "$(systemctl show -P MainPID vgpu-mediator)" != "$before" &&
        systemctl is-active -q vgpu-mediator && exit 0
    sleep 0.1
done
exit 1'

check "the service starts, and the keeper with it" \
    "systemctl start vgpu-mediator && systemctl is-active vgpu-mediator vgpu-keeper ||
    { journalctl -q --no-pager -u 'vgpu*' | tail; exit 1; }"
[ $failed = 0 ] || exit 1
check "it runs as its user, without a capability" \
    "test \$(stat -c %U /proc/$pid) = vgpu-mediator && grep -q '^CapEff:.0*$' /proc/$pid/status"
check "vgpu-admin reaches it" "vgpu-admin show-health"
check "three restarts under load of 20 VMs: none is disconnected, each request answered" \
    "$load --seconds 8 --json /run/load.json >/run/load.txt & load=\$!
    for i in 1 2 3; do sleep 1; systemctl restart vgpu-mediator || exit 1; done
    wait \$load || exit 1
    tail -2 /run/load.txt
    grep -q '^0 disconnects' /run/load.txt || exit 1
    grep -q ' 0 missing, 0 wrong' /run/load.txt"
check "the workers outlive a restart" \
    "before=$workers; test -n \"\$before\" && systemctl restart vgpu-mediator &&
    $load --count 1 >/dev/null && test \"\$before\" = \"$workers\""
check "the workers outlive a mediator that is killed, and it is started again" \
    "w=$workers; before=$pid; test \$before -gt 1 && kill -9 \$before && ($until_active) &&
    $load --count 1 >/dev/null && test \"\$w\" = \"$workers\""
check "a reload is no restart" \
    "before=$pid; systemctl reload vgpu-mediator && test \$before = $pid"
check "it stops; the keeper and the workers stay" \
    "systemctl stop vgpu-mediator && systemctl is-active vgpu-keeper && test -n \"$workers\""
check "the keeper stops, and no worker is left" \
    "systemctl stop vgpu-keeper && test -z \"$workers\""
check "no unit has failed" \
    "! systemctl list-units --failed --no-legend 'vgpu*' | grep ."
check "no error is in their log" "! journalctl -q -p err -u 'vgpu*' | grep ."
[ $failed = 0 ] || inside "journalctl -q --no-pager -u 'vgpu*' | tail -40"
exit $failed
