#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# node-nvidia-smi gives an object for the GPU of a host with one, and a list on a host with two, so
# `gpu.length` and loops over them work on the second only. A list of processes that is empty is an
# empty text. The program nvidia-smi here prints what the real one does, in short.
. "$(dirname "$0")/lib.sh"
get_npm node-nvidia-smi@1.0.0
guess "always a list of GPUs"

mkdir "$T/bin"
cat >"$T/bin/nvidia-smi" <<'C'
#!/bin/sh
echo '<?xml version="1.0" ?><!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">'
echo "<nvidia_smi_log><attached_gpus>$GPUS</attached_gpus>"
for gpu in $(seq "$GPUS"); do
    echo "<gpu id=\"00000000:0$gpu:00.0\"><processes></processes></gpu>"
done
echo '</nvidia_smi_log>'
C
chmod +x "$T/bin/nvidia-smi"
cat >"$T/gpus.cjs" <<'C'
require('node-nvidia-smi')((error, { nvidia_smi_log: { gpu } }) => console.log(
  Array.isArray(gpu) ? `a list of ${gpu.length}` : `an object, length ${gpu.length}`,
  JSON.stringify((gpu[0] || gpu).processes)))
C
gpus() { GPUS=$1 PATH=$T/bin:$PATH node "$T/gpus.cjs"; }
saw "one GPU" "$(gpus 1)" 'an object, length undefined ""'
saw "two GPUs" "$(gpus 2)" 'a list of 2 ""'
end
