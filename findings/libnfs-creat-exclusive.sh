#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# libnfs creates files as if O_EXCL were always asked for: nfs-cp onto a file that is there fails
# with NFS4ERR_EXIST, where cp replaces its contents. So a guest that writes its requests with
# libnfs opens the file without O_CREAT. The server here keeps names in memory and needs no root.
. "$(dirname "$0")/lib.sh"
need unshare chroot dash mount
get_all nfs-ganesha=4.3-2 nfs-ganesha-mem=4.3-2 libnfs-utils=4.0.0-1+deb12u1
guess "nfs-cp replaces a file that is there, as cp does"

mkdir -p "$R/tmp" "$R/run" "$R/proc" "$R/dev" "$R/etc" "$R/bin"
cp "$(command -v dash)" "$R/bin/sh"
for program in cat sleep; do cp "$(command -v "$program")" "$R/bin/"; done
echo root:x:0:0::/:/bin/sh >"$R/etc/passwd"
echo root:x:0: >"$R/etc/group"
port=$((20000 + $$ % 20000))
cat >"$R/tmp/conf" <<CONF
NFS_CORE_PARAM { Protocols = 4; NFS_Port = $port; Bind_addr = 127.0.0.1;
  Enable_NLM = false; Enable_RQUOTA = false; }
NFS_KRB5 { Active_krb5 = false; }
NFSv4 { Graceless = true; RecoveryRoot = /tmp; }
EXPORT { Export_Id = 1; Path = /memory; Pseudo = /memory; Protocols = 4; Access_Type = RW;
  Squash = No_Root_Squash; SecType = sys; FSAL { Name = MEM; } }
CONF
cat >"$R/tmp/ask" <<SH
ganesha.nfsd -F -f /tmp/conf -L /tmp/log -p /tmp/pid -N EVENT >/tmp/out 2>&1 &
url="nfs://127.0.0.1/memory/request.txt?version=4&nfsport=$port"
echo one >/tmp/one; echo two >/tmp/two
i=0
until nfs-cp /tmp/one "\$url" >/tmp/first 2>&1; do
    i=\$((i + 1)); [ \$i -lt 100 ] || exit 1; sleep 0.2
done
nfs-cp /tmp/two "\$url" >/tmp/second 2>&1
echo \$? >/tmp/rc
kill \$!
SH
for device in null zero random urandom; do : >"$R/dev/$device"; done
unshare --map-root-user true 2>/dev/null || skip "no user namespaces on this machine"
unshare --map-root-user -m -p -f --mount-proc="$R/proc" sh -c "
    for device in null zero random urandom; do mount --bind /dev/\$device $R/dev/\$device; done
    chroot $R /bin/sh /tmp/ask" || skip "nfs-ganesha does not start here: $(tail -n 1 "$R/tmp/log")"

saw "exit status of the second nfs-cp" "$(cat "$R/tmp/rc")" 10
saw "what it says" "$(grep -o NFS4ERR_EXIST "$R/tmp/second" | head -n 1)" NFS4ERR_EXIST
end
