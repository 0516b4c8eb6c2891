package main

import (
	"path/filepath"
	"slices"
	"strings"
)

// helperNames are the names under which mount(8) calls this program. It is then run as
//
//	mount.trainfs SOURCE DIR [-sfnvrw] [-N namespace] [-o options] [-t type]
//
// and mount.fuse3 -t fuse.trainfs runs "trainfs SOURCE DIR -o options".
var helperNames = []string{"mount.trainfs", "mount.fuse.trainfs"}

func isHelper(argv0 string) bool { return slices.Contains(helperNames, filepath.Base(argv0)) }

// What mount.trainfs(8) and mount.trainfs --help say of it.
const (
	helperSynopsis = `mount -t trainfs [-o OPTIONS] SOURCE MOUNTPOINT
mount.trainfs SOURCE MOUNTPOINT [-sfnvrw] [-o OPTIONS]`
	helperText = `mount(8) runs this program for file systems of type trainfs. It returns once the mount answers;
the daemon goes on in the background, and umount(8) lets it upload the rest. In fstab(5):

  s3://bucket/run1  /mnt/train  trainfs  _netdev,allow_other,cache_dir=/scratch/trainfs  0 0
  s3://bucket/run1  /mnt/train  trainfs  noauto,x-systemd.automount,allow_other          0 0
  gs://bucket/run1  /mnt/eval   trainfs  _netdev,ro,allow_other                          0 0

Credentials are never options: they come from the environment, files or the machine, as the store's own
tools find them. Exit codes are those of mount(8): 0 mounted, 1 wrong options, 32 failed.`
)

// helperHelp is what mount.trainfs --help prints.
func helperHelp() string {
	return helperSynopsis + "\n\n" + helperText + "\n\nThe options: trainfs options, or mount.trainfs(8).\n"
}

// parseHelper reads the arguments of a mount helper: flags and operands in any order,
// flags bundled or not, as getopt(3) does.
func parseHelper(args []string) (*mountRequest, error) {
	r := &mountRequest{}
	var operands []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			operands = append(operands, args...)
			args = nil
		case len(arg) < 2 || arg[0] != '-':
			operands = append(operands, arg)
		case strings.HasPrefix(arg, "--"):
			return nil, usagef("mount helper: unknown flag %s", printable(arg))
		default:
			rest, err := r.helperFlags(arg[1:], args)
			if err != nil {
				return nil, err
			}
			args = rest
		}
	}
	switch len(operands) {
	case 2:
		r.source, r.mountPoint = operands[0], operands[1]
	case 1:
		r.mountPoint = operands[0]
	default:
		return nil, usagef("mount helper: wanted a storage path and a mount point, got %s", countText(len(operands), "operand"))
	}
	return r, nil
}

// helperFlags reads one bundle of flags, of which the last may take a value: the rest of
// the bundle, or else the next argument. It returns the arguments that are left.
func (r *mountRequest) helperFlags(bundle string, args []string) ([]string, error) {
	for i := 0; i < len(bundle); i++ {
		switch flag := bundle[i]; flag {
		case 's':
			r.sloppy = true
		case 'f':
			r.fake = true
		case 'v':
			r.verbose = true
		case 'n': // do not write /etc/mtab: nobody does any more
		case 'r':
			r.options = append(r.options, "ro")
		case 'w':
			r.options = append(r.options, "rw")
		case 'o', 't', 'N':
			value := bundle[i+1:]
			if value == "" {
				if len(args) == 0 {
					return nil, usagef("mount helper: -%c needs a value", flag)
				}
				value, args = args[0], args[1:]
			}
			return args, r.helperValue(flag, value)
		default:
			return nil, usagef("mount helper: unknown flag -%s", printable(string(flag)))
		}
	}
	return args, nil
}

func (r *mountRequest) helperValue(flag byte, value string) error {
	switch flag {
	case 'o':
		r.options = append(r.options, value)
	case 't':
		if !slices.Contains([]string{"trainfs", "fuse.trainfs", "fuse"}, value) {
			return usagef("mount helper: type %s is not trainfs", printable(value))
		}
	case 'N':
		return usagef("mount helper: -N is not supported; run mount inside the namespace: nsenter --mount=%s mount …", printable(value))
	}
	return nil
}
