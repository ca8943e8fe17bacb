#!/bin/sh
# The root of a lab host: IMAGE overlaid with memory, mounted in namespaces that unshare(1) has just made.
# init.sh IMAGE CHECKOUT SCRATCH [FROM TO]...; binds directories of the outside on request; ends as PID 1 of the host, which is init.py.
set -eu
[ $$ = 1 ] || { echo "init.sh: only in a PID namespace of its own" >&2; exit 2; }
image=$1 checkout=$2 scratch=$3
shift 3

mount -t tmpfs -o mode=0755 lab "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay lab -o "lowerdir=$image,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
cd "$scratch/root"

mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o mode=0755,nosuid dev dev
for node in null zero full random urandom tty; do
    : >"dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mount -t tmpfs -o mode=0755,nosuid,nodev run run
mkdir -m 1777 run/lock
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mkdir -p src/mailseal
mount --bind "$checkout" src/mailseal
mount -o remount,bind,ro src/mailseal
while [ $# -ge 2 ]; do
    mkdir -p "./$2"
    mount --bind "$1" "./$2"
    shift 2
done

mkdir .host
pivot_root . .host
umount -l /.host
rmdir /.host
cd /
exec /usr/bin/python3 -I -S /src/mailseal/lab/init.py
