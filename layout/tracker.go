package layout

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"iter"
	"slices"
	"strings"
)

// Bounds on what Named looks at. A tracker is untrusted and may be large: Tune's
// experiment state holds every trial.
const (
	maxTrackerBytes = 16 << 20
	maxNames        = 100_000
)

// Named gives the base names of the checkpoint directories that a tracker's content
// names, newest last, without duplicates. A symlink's content is its target. Content
// beyond 16 MiB is not looked at, and of more than 100,000 names the newest are given.
//
// A name may stand for a checkpoint that does not exist. The checkpoint of an
// experiment state lies in one of the trial directories below the tracker's own.
func (l *Layout) Named(tracker string, content []byte) []string {
	var found roles
	names.lookup(base(tracker), &found)
	if found[roleTracker] == nil {
		return nil
	}
	content = content[:min(len(content), maxTrackerBytes)]
	return newest(found[roleTracker].names(content, l.checkpointName))
}

// parser reads the names of checkpoints from a tracker's content, oldest first.
// known reports whether a name alone is one of a checkpoint directory.
type parser func(content []byte, known func(string) bool) []string

// checkpointName reports whether name is surely that of a checkpoint directory.
func (l *Layout) checkpointName(name string) bool {
	if l.neverCheckpoint(name) {
		return false
	}
	var found roles
	names.lookup(name, &found)
	byUser, _ := l.globbed(name, name)
	return byUser || found[roleDir] != nil && found[roleTemporary] == nil
}

// newest drops all but the last occurrence of each base name, what can be no name, and
// all but the last maxNames.
func newest(all []string) []string {
	var kept []string
	seen := make(map[string]bool)
	for _, name := range slices.Backward(all) {
		if len(kept) == maxNames {
			break
		}
		name = base(name)
		if seen[name] || checkPart(name) != nil {
			continue
		}
		name = strings.Clone(name) // do not keep the whole content
		seen[name] = true
		kept = append(kept, name)
	}
	slices.Reverse(kept)
	return kept
}

// noNames is for trackers that belong to a moment of the run but name no checkpoint.
func noNames([]byte, func(string) bool) []string { return nil }

// wordName reads a tracker that holds one name or path (DeepSpeed, a symlink).
func wordName(content []byte, _ func(string) bool) []string {
	word := oneWord(content)
	if word == "" {
		return nil
	}
	return []string{strings.TrimRight(word, "/")}
}

// oneWord returns the single line that content consists of, "" if it has more, or is
// too long to be a path: a regular file by a tracker's name may be a whole checkpoint.
func oneWord(content []byte) string {
	if len(content) > maxPathBytes {
		return ""
	}
	word := string(bytes.TrimSpace(content))
	if strings.ContainsAny(word, "\n\r\x00") {
		return ""
	}
	return word
}

// megatronNames reads an iteration number, written as iter_%07d, or "release".
func megatronNames(content []byte, _ func(string) bool) []string {
	word := oneWord(content)
	if word == "release" {
		return []string{word}
	}
	step := step(word)
	if step == "" {
		return nil
	}
	return []string{"iter_" + strings.Repeat("0", max(7-len(step), 0)) + step}
}

// dlroverNames reads a step and gives the names under which the frameworks that
// DLRover serves store it; those that do not exist hold nothing up.
func dlroverNames(content []byte, known func(string) bool) []string {
	step := step(oneWord(content))
	if step == "" {
		return nil
	}
	names := []string{step, "checkpoint-" + step, "global_step" + step}
	return append(names, megatronNames([]byte(step), known)...)
}

// step returns word in its shortest form if it is a number of at most 20 digits.
func step(word string) string {
	if word == "" || len(word) > 20 || digits(word) != len(word) {
		return ""
	}
	if s := strings.TrimLeft(word, "0"); s != "" {
		return s
	}
	return "0"
}

// rayNames reads the values of checkpoint_dir_name from a snapshot of Ray Train V2:
// those of checkpoint_results, then that of latest_checkpoint_result, which Ray writes
// after the list. The snapshot is scanned, not parsed: metrics may be NaN, which is no
// JSON, and a half-written snapshot still names what it names.
func rayNames(content []byte, _ func(string) bool) []string {
	var found []string
	for {
		_, rest, ok := bytes.Cut(content, []byte(`"checkpoint_dir_name"`))
		if !ok {
			return found
		}
		content = rest
		rest = bytes.TrimLeft(rest, " \t\r\n")
		if len(rest) == 0 || rest[0] != ':' {
			continue
		}
		if name, ok := jsonString(bytes.TrimLeft(rest[1:], " \t\r\n")); ok {
			found = append(found, name)
		}
	}
}

// mentionedNames gives every word of content that is the name of a checkpoint, in
// plain text or in hexadecimal: Tune's experiment state holds the trials as JSON
// inside JSON, and their checkpoint lists as hexadecimal pickles inside that.
func mentionedNames(content []byte, known func(string) bool) []string {
	var found []string
	for word := range words(string(content)) {
		if known(word) {
			found = append(found, word)
			continue
		}
		if len(word) < minPickleDigits {
			continue
		}
		// A cut-off pickle still says what its first part says.
		pickle, _ := hex.DecodeString(word)
		for word := range words(string(pickle)) {
			if known(word) {
				found = append(found, word)
			}
		}
	}
	return found
}

// minPickleDigits keeps numbers and digests from being decoded.
const minPickleDigits = 128

// words yields the longest runs of characters that the names of checkpoints consist
// of. A backslash takes the character after it out: it is an escape, as in \n.
func words(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i < len(s); i++ {
			if wordBytes[s[i]] {
				continue
			}
			if start < i && !yield(s[start:i]) {
				return
			}
			if s[i] == '\\' {
				i++
			}
			start = i + 1
		}
		if start < len(s) {
			yield(s[start:])
		}
	}
}

var wordBytes = func() (in [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.=+") {
		in[c] = true
	}
	return in
}()

// tensorflowNames reads the quoted prefixes of a CheckpointState in text form:
// model_checkpoint_path is the newest, all_model_checkpoint_paths are all, oldest
// first. The file of a checkpoint that is written last is <prefix>.index.
func tensorflowNames(content []byte, _ func(string) bool) []string {
	var all, newest []string
	for line := range bytes.Lines(content) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		prefix, ok := jsonString(bytes.TrimSpace(value))
		switch {
		case !ok:
		case string(key) == "all_model_checkpoint_paths":
			all = append(all, prefix+".index")
		case string(key) == "model_checkpoint_path":
			newest = append(newest, prefix+".index")
		}
	}
	return append(all, newest...)
}

// jsonString reads the JSON string that b begins with.
func jsonString(b []byte) (string, bool) {
	if len(b) == 0 || b[0] != '"' {
		return "", false
	}
	for i := 1; i < min(len(b), maxPathBytes); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			var s string
			return s, json.Unmarshal(b[:i+1], &s) == nil
		}
	}
	return "", false
}
