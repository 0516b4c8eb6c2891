# Shell functions that the scripts here share. Source it; it runs nothing.

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

need_go() {
	command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
	command -v go >/dev/null || die "no Go: install it from https://go.dev/dl/ ($(sed -n 's/^go /at least /p' go.mod)), and put it into PATH"
}

# need_fuse makes sure that this machine can mount a FUSE file system at all, and this user.
need_fuse() {
	if [ ! -e /dev/fuse ]; then
		[ "$(id -u)" = 0 ] && modprobe fuse 2>/dev/null
		[ -e /dev/fuse ] || die "no /dev/fuse: run modprobe fuse as root, or start the container with --device /dev/fuse --cap-add SYS_ADMIN"
	fi
	[ -w /dev/fuse ] || die "this user may not open /dev/fuse: run sudo $0"
}

# as_root runs a command as root, or says that it cannot.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "not root, and there is no sudo: run as root: $*"
	fi
}

# install_packages installs Debian packages without asking anything.
install_packages() {
	command -v apt-get >/dev/null || die "install these yourself, there is no apt-get here: $*"
	echo "installing: $*"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}
