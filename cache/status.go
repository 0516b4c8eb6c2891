package cache

import "time"

// State of a unit, or of one path, as design and documentation name them.
type State string

const (
	StateDirty     State = "dirty"     // being written, or not yet closed
	StateSealed    State = "sealed"    // safe against a power cut; not uploading yet
	StateUploading State = "uploading" // being staged or published
	StateCommitted State = "committed" // durable in the store under its own key
	StateTorn      State = "torn"      // a crash found it half written: never published as it is
	StateRemote    State = "remote"    // only in the store
	StateLocal     State = "local"     // kept here on purpose (temporary names, sync_artifacts=off)
)

// UnitStatus tells one unit that is not committed.
type UnitStatus struct {
	Path      string    `json:"path"`
	Kind      string    `json:"kind"`
	State     State     `json:"state"`
	Files     int       `json:"files"`
	Bytes     int64     `json:"bytes"`      // to upload, as far as known
	BytesDone int64     `json:"bytes_done"` // of them in the store
	Writers   int       `json:"writers"`    // files open for writing
	Since     time.Time `json:"since"`      // when it became dirty
	Attempts  int       `json:"attempts,omitempty"`
	Permanent bool      `json:"permanent,omitempty"` // the last one failed with what somebody has to mend
	// Reason says why it does not go forward: "being written", "waits for trial/checkpoint_000002",
	// the store's error, the torn files.
	Reason string `json:"reason,omitempty"`
}

// Status is what `trainfs status` shows.
type Status struct {
	Source     string    `json:"source"`
	MountPoint string    `json:"mount_point"`
	CacheDir   string    `json:"cache_dir"`
	Node       string    `json:"node"`
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`

	Passthrough       bool   `json:"passthrough"`
	PassthroughReason string `json:"passthrough_reason,omitempty"` // why not

	StoreReachable bool   `json:"store_reachable"`
	StoreError     string `json:"store_error,omitempty"` // the last one, if not reachable

	Units         []UnitStatus  `json:"units"` // not committed, oldest first; at most 1,000
	UnitsByState  map[State]int `json:"units_by_state"`
	Deletions     int           `json:"deletions"` // tombstones that the store has not seen yet
	BytesLeft     int64         `json:"bytes_left"`
	BytesUploaded int64         `json:"bytes_uploaded"` // since start
	BytesFetched  int64         `json:"bytes_fetched"`
	UploadRate    float64       `json:"upload_bytes_per_second"` // over the last seconds
	OldestDirty   time.Time     `json:"oldest_uncommitted,omitzero"`
	HiddenKeys    int           `json:"hidden_keys"` // remote keys that cannot be file names
	LostFound     int           `json:"lost_and_found"`
	CacheBytes    int64         `json:"cache_bytes"`     // used below tree/
	CacheFree     int64         `json:"cache_disk_free"` // bytes
	LastCommitted string        `json:"last_committed,omitempty"`
}

// Progress is what a drain or a wait reports while it goes on.
type Progress struct {
	Units     int      `json:"units"` // not committed below what was asked for
	Deletions int      `json:"deletions"`
	BytesLeft int64    `json:"bytes_left"`
	Rate      float64  `json:"bytes_per_second"`
	Torn      []string `json:"torn,omitempty"`
	Stuck     []string `json:"stuck,omitempty"` // "path: reason" of what needs somebody's help
	Done      bool     `json:"done"`
	Error     string   `json:"error,omitempty"`
}
