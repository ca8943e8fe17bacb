#!/bin/sh
# The root of a lab machine: IMAGE overlaid with memory, kept over reboots; then its supervisor.
# machine.sh IMAGE SCRATCH HOSTNAME HOSTS RESOLV COMMAND...
set -eu
[ $$ = 1 ] || { echo "machine.sh: only in a PID namespace of its own" >&2; exit 2; }
image=$1 scratch=$2 hostname=$3 hosts=$4 resolv=$5
shift 5

mount -t tmpfs -o mode=0755 lab "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay lab -o "lowerdir=$image,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
printf '%s\n' "$hostname" >"$scratch/root/etc/hostname"
printf %s "$hosts" >"$scratch/root/etc/hosts"
printf %s "$resolv" >"$scratch/root/etc/resolv.conf"
exec "$@"
