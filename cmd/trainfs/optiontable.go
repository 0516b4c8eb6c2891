package main

// The groups in which options are shown.
const (
	groupMount  = "Mount"
	groupCache  = "Cache"
	groupCommit = "Checkpoints and uploads"
	groupNames  = "Remote names"
	groupStore  = "Storage"
	groupLog    = "Log"
	groupWatch  = "Watching"
)

// optionTable is every option of trainfs's own: parsing, defaults, ranges, help, docs and
// error texts come from here. Defaults and ranges are written as a user writes them.
var optionTable = []option{
	{name: "cache_dir", kind: kindPath, group: groupMount, shown: "see below",
		help:  "local directory for the cache; one daemon at a time. Used as it is; without it TRAINFS_CACHE_DIR, else RAY_AIR_LOCAL_CACHE_DIR, else /var/cache/trainfs (root) or ~/.cache/trainfs, and below that one folder a storage path",
		field: func(c *Config) any { return &c.CacheDir }},
	{name: "config", kind: kindPath, group: groupMount, shown: "see below",
		help:  "configuration file, in YAML, with these options by name (and source, mount_point). Without it TRAINFS_CONFIG, else ~/.config/trainfs/trainfs.yaml (not root), else /etc/trainfs/trainfs.yaml, if there is one",
		field: func(c *Config) any { return &c.ConfigFile }},
	{name: "allow_other", kind: kindBool, group: groupMount, def: "off",
		help:  "let other users in; permissions are then checked by the kernel, and new files belong to who makes them",
		field: func(c *Config) any { return &c.AllowOther }},
	{name: "ro", kind: kindBool, group: groupMount, def: "off",
		help:  "read only: nothing is written or uploaded",
		field: func(c *Config) any { return &c.ReadOnly }},
	{name: "passthrough", kind: kindEnum, group: groupMount, def: "auto", values: []string{"auto", "off"}, bare: "auto", no: "off",
		help:  "let the kernel read and write the cached files itself where it can (needs CAP_SYS_ADMIN)",
		field: func(c *Config) any { return &c.Passthrough }},
	{name: "attr_timeout", kind: kindDuration, group: groupMount, def: "1s", min: "0", max: "1h",
		help:  "how long the kernel may keep sizes, modes and times",
		field: func(c *Config) any { return &c.AttrTimeout }},
	{name: "entry_timeout", kind: kindDuration, group: groupMount, def: "1s", min: "0", max: "1h",
		help:  "how long the kernel may keep names that exist",
		field: func(c *Config) any { return &c.EntryTimeout }},
	{name: "mount_timeout", kind: kindDuration, group: groupMount, def: "1m", min: "1s", max: "1h",
		help:  "how long mount waits for the file system to answer before it gives up",
		field: func(c *Config) any { return &c.MountTimeout }},

	{name: "cache_size", kind: kindSize, group: groupCache, def: "0", shown: "no bound", min: "0", max: "1024T",
		help:  "bound on the disk space of the cache: over it, what is committed and not in use goes, whole checkpoints, least recently used first; 0: no bound but min_free",
		field: func(c *Config) any { return &c.CacheSizeBytes }},
	{name: "min_free", kind: kindSize, group: groupCache, def: "0", shown: "automatic", min: "0", max: "1024T",
		help:  "space to leave free on the cache's disk, by the same means; 0: automatic, 1 GiB but at most a twentieth of the disk",
		field: func(c *Config) any { return &c.MinFreeBytes }},
	{name: "full_timeout", kind: kindDuration, group: groupCache, def: "1m", min: "0", max: "24h",
		help:  "how long writers wait for uploads while the cache is full and nothing can go, before they get ENOSPC; readers go past a full cache",
		field: func(c *Config) any { return &c.FullTimeout }},
	{name: "prefetch", kind: kindEnum, group: groupCache, def: "checkpoint", values: []string{"checkpoint", "file", "off"}, bare: "checkpoint", no: "off",
		help:  "what opening a remote file for reading fetches: checkpoint: all of it, and the other files of its checkpoint directory; file: all of it; off: what is read",
		field: func(c *Config) any { return &c.Prefetch }},

	{name: "checkpoint", kind: kindGlobs, group: groupCommit,
		help:  "glob of directories that are checkpoints, beside those that trainfs knows; may be repeated",
		field: func(c *Config) any { return &c.Checkpoints }},
	{name: "not_checkpoint", kind: kindGlobs, group: groupCommit,
		help:  "glob of names of directories that look like checkpoints and are none; may be repeated",
		field: func(c *Config) any { return &c.NotCheckpoint }},
	{name: "exclude", kind: kindGlobs, group: groupCommit,
		help:  "glob of files and directories that stay local and are never uploaded: of a name anywhere, or with a slash of a path below the storage path; may be repeated",
		field: func(c *Config) any { return &c.Exclude }},
	{name: "commit", kind: kindEnum, group: groupCommit, def: "async", values: []string{"async", "close"},
		help:  "async: upload in the background; close: close(2) returns once the file is durable in the store",
		field: func(c *Config) any { return &c.Commit }},
	{name: "fsync", kind: kindEnum, group: groupCommit, def: "local", values: []string{"local", "remote"},
		help:  "local: fsync(2) makes data safe on the cache's disk; remote: in the store",
		field: func(c *Config) any { return &c.Fsync }},
	{name: "settle", kind: kindDuration, group: groupCommit, def: "3s", min: "100ms", max: "1h",
		help:  "a checkpoint directory is closed once all its files are closed and nothing was touched for this long, if no stronger sign came",
		field: func(c *Config) any { return &c.Settle }},
	{name: "sync_artifacts", kind: kindBool, group: groupCommit, def: "on",
		help:  "upload logs and other files that are not part of a checkpoint",
		field: func(c *Config) any { return &c.SyncArtifacts }},
	{name: "sync_period", kind: kindDuration, group: groupCommit, def: "30s", min: "1s", max: "24h",
		help:  "how often files that are still growing are uploaded",
		field: func(c *Config) any { return &c.SyncPeriod }},
	{name: "hold", kind: kindDuration, group: groupCommit, def: "15m", min: "0", max: "24h",
		help:  "longest time that a tracker waits for the checkpoints that it names",
		field: func(c *Config) any { return &c.Hold }},
	{name: "control_timeout", kind: kindDuration, group: groupCommit, def: "30s", min: "0", max: "1h",
		help:  "longest time that closing a control file waits for its upload, which then goes on behind",
		field: func(c *Config) any { return &c.ControlTimeout }},
	{name: "stop_timeout", kind: kindDuration, group: groupCommit, def: "30s", min: "0", max: "1h",
		help:  "time that uploads get when the daemon is told to stop; the rest goes up at the next mount",
		field: func(c *Config) any { return &c.StopTimeout }},

	{name: "list_ttl", kind: kindDuration, group: groupNames, def: "5s", min: "0", max: "1h",
		help:  "how long the listing of a remote directory is kept",
		field: func(c *Config) any { return &c.ListTTL }},
	{name: "negative_ttl", kind: kindDuration, group: groupNames, def: "0", min: "0", max: "1m",
		help:  "how long a name may be remembered as missing",
		field: func(c *Config) any { return &c.NegativeTTL }},
	{name: "create_ttl", kind: kindDuration, group: groupNames, def: "1s", min: "0", max: "1m",
		help:  "in a directory where this node is creating files, a name that is missing locally is judged by a listing at most this old",
		field: func(c *Config) any { return &c.CreateTTL }},

	{name: "store_timeout", kind: kindDuration, group: groupStore, def: "10s", min: "1s", max: "10m",
		help:  "longest time that mount, or a look at a remote name, waits for the store",
		field: func(c *Config) any { return &c.StoreTimeout }},
	{name: "upload_parallel", kind: kindCount, group: groupStore, def: "8", min: "1", max: "256",
		help:  "parts that are uploaded at the same time",
		field: func(c *Config) any { return &c.UploadParallel }},
	{name: "part_size", kind: kindSize, group: groupStore, def: "16M", min: "5M", max: "5G",
		help:  "size of an upload's parts; grows with files that would need more parts than the store takes",
		field: func(c *Config) any { return &c.PartSizeBytes }},
	{name: "endpoint", aliases: []string{"endpoint_override"}, kind: kindText, group: groupStore, shown: "the cloud's",
		help:  "S3, GCS: URL of a compatible server; same as ?endpoint_override= in the storage path",
		field: func(c *Config) any { return &c.Endpoint }},
	{name: "region", kind: kindText, group: groupStore, shown: "the SDK's",
		help:  "S3: region of the bucket; same as ?region= in the storage path",
		field: func(c *Config) any { return &c.Region }},
	{name: "scheme", kind: kindEnum, group: groupStore, shown: "https", values: []string{"http", "https"},
		help:  "S3, GCS: how to talk to an endpoint given without http:// or https://; same as ?scheme=",
		field: func(c *Config) any { return &c.Scheme }},
	{name: "path_style", kind: kindEnum, group: groupStore, shown: "on with endpoint", values: []string{"on", "off"}, bare: "on", no: "off",
		help:  "S3: put the bucket into the path of a request rather than into the host name",
		field: func(c *Config) any { return &c.PathStyle }},
	{name: "storage_class", kind: kindText, group: groupStore, shown: "the bucket's",
		help:  "S3, GCS, Azure: storage class (access tier) of new objects, such as STANDARD_IA, NEARLINE or Cool",
		field: func(c *Config) any { return &c.StorageClass }},
	{name: "acl", kind: kindText, group: groupStore, shown: "the bucket's",
		help:  "S3, GCS: predefined ACL of new objects, such as bucket-owner-full-control (S3) or bucketOwnerFullControl (GCS)",
		field: func(c *Config) any { return &c.ACL }},
	{name: "sse", kind: kindEnum, group: groupStore, shown: "the bucket's", values: []string{"AES256", "aws:kms", "aws:kms:dsse"},
		help:  "S3: server-side encryption of new objects; kms_key alone means aws:kms",
		field: func(c *Config) any { return &c.SSE }},
	{name: "kms_key", kind: kindText, group: groupStore, shown: "the bucket's",
		help:  "S3, GCS, Azure: key that new objects are encrypted with in the store: an id or ARN (S3), projects/…/cryptoKeys/… (GCS), or the name of an encryption scope (Azure)",
		field: func(c *Config) any { return &c.KMSKey }},
	{name: "request_payer", kind: kindBool, group: groupStore, def: "off",
		help:  "S3: pay for requests to a bucket of somebody else's that asks for it",
		field: func(c *Config) any { return &c.RequestPayer }},
	{name: "tags", kind: kindText, group: groupStore, shown: "none",
		help:  "S3, Azure: tags of new objects, as team=a&project=b; ten at most",
		field: func(c *Config) any { return &c.Tags }},
	{name: "user_project", kind: kindText, group: groupStore, shown: "none",
		help:  "GCS: project that pays for requests to a bucket that asks for it",
		field: func(c *Config) any { return &c.UserProject }},

	{name: "log_file", kind: kindPath, group: groupLog, shown: "CACHE/trainfs.log",
		help:  "where the daemon logs (with -f: stderr unless given); SIGHUP opens it anew",
		field: func(c *Config) any { return &c.LogFile }},
	{name: "log_level", kind: kindEnum, group: groupLog, def: "info", values: []string{"debug", "info", "warn", "error"},
		help:  "least level that is logged; changed while mounted by trainfs log-level, or SIGUSR2 (debug and back)",
		field: func(c *Config) any { return &c.LogLevel }},
	{name: "log_format", kind: kindEnum, group: groupLog, def: "text", values: []string{"text", "json"},
		help:  "form of a log line",
		field: func(c *Config) any { return &c.LogFormat }},
	{name: "debug", kind: kindBool, group: groupLog, def: "off",
		help:  "log every request of the kernel (slow)",
		field: func(c *Config) any { return &c.Debug }},

	{name: "metrics", kind: kindText, group: groupWatch, shown: "off", no: "off",
		help:  "serve Prometheus metrics and a status page: a port (of 127.0.0.1; 0: any free one), ADDRESS:PORT, or unix:/path. Whoever can connect sees the names of checkpoints, and so without a password",
		field: func(c *Config) any { return &c.Metrics }},
}

// fstabWords are for mount(8), systemd and fsck, and mean nothing to a file system.
var fstabWords = []string{
	"_netdev", "_rnetdev", "nofail", "fail", "auto", "noauto", "defaults",
	"user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup",
	"comment", "uhelper", "helper", "silent", "loud",
	"lazytime", "nolazytime", "mand", "nomand", "iversion", "noiversion",
}

// kernelWords are mount flags that the kernel looks at. Of a word and its opposite the
// last one wins, as with mount(8). A mount is nosuid and nodev whatever is said: who may
// write to a bucket does not thereby become root on the nodes.
var kernelWords = []string{
	"suid", "nosuid", "dev", "nodev", "exec", "noexec",
	"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
	"sync", "async", "dirsync",
	"default_permissions", "context", "fscontext", "defcontext", "rootcontext",
}

// refusedWords are known and still errors; the text says what to do.
var refusedWords = map[string]string{
	"remount": "options of a live mount cannot be changed: trainfs umount, then mount again",
	"bind":    "trainfs cannot bind; use mount --bind on a directory of the mount",
	"fsname":  "trainfs sets it to the storage path",
	"subtype": "trainfs sets it itself",
}
