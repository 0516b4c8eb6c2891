# Run by scripts/packages --try, as root in a copy of the machine: the .deb is installed, used
# as an administrator would, and removed. Anything that fails ends it.
say() { echo "   $*"; }

dpkg -i /shared/trainfs.deb >/dev/null
say "installed: $(trainfs version)"

mkdir -p /shared/store /shared/cache /mnt/try
echo "/shared/store /mnt/try trainfs cache_dir=/shared/cache 0 0" >/shared/fstab
mount -T /shared/fstab /mnt/try
mkdir /mnt/try/checkpoint_000001
echo weights >/mnt/try/checkpoint_000001/model.pt
trainfs wait --quiet /mnt/try
umount /mnt/try
grep -q weights /shared/store/checkpoint_000001/model.pt
say "mounted by a line of fstab, committed a checkpoint, unmounted"

# What the unit would run, told by systemd's own parser to be a unit.

printf 'source: /shared/store\nmount_point: /mnt/try\ncache_dir: /shared/cache\n' >/etc/trainfs/try.yaml
if command -v systemd-analyze >/dev/null; then
	# man pages of other packages may be missing here; ours may not.
	systemd-analyze verify --man=no /lib/systemd/system/trainfs@.service
	say "systemd-analyze verify has no complaint"
fi
$(sed -n 's/^ExecStart=//p' /lib/systemd/system/trainfs@.service | sed 's/%i/try/') 2>/shared/log &
daemon=$!
for _ in $(seq 600); do
	if mountpoint -q /mnt/try; then break; fi
	kill -0 $daemon
	sleep 0.1
done
grep -q weights /mnt/try/checkpoint_000001/model.pt
kill $daemon
wait $daemon
say "mounted by the unit's command line, read it back, stopped by SIGTERM"

gzip -dc /usr/share/man/man8/trainfs.8.gz | grep -q '^.SS trainfs mount'
gzip -dc /usr/share/man/man8/mount.trainfs.8.gz | grep -q '^.B cache_dir='
bash -euc '. /usr/share/bash-completion/completions/trainfs; complete -p trainfs' >/dev/null
say "manual pages and completion are there"

rm /etc/trainfs/try.yaml
dpkg -r trainfs >/dev/null
for f in /usr/bin/trainfs /sbin/mount.trainfs /lib/systemd/system/trainfs@.service /etc/trainfs; do
	if [ -e $f ]; then
		echo "$f is left after dpkg -r"
		exit 1
	fi
done
say "removed without a trace"
