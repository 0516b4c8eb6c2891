package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
)

// pages answers a listing in pages of objects and prefixes together, as Google's server
// does. The fake one repeats all prefixes on every page.
func pages(next http.Handler, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("maxResults"))
	if err != nil || limit < 1 || limit > 1000 {
		limit = 1000
	}
	after, _ := base64.URLEncoding.DecodeString(q.Get("pageToken"))
	q.Del("maxResults")
	q.Del("pageToken")
	r.URL.RawQuery = q.Encode()

	whole := httptest.NewRecorder()
	next.ServeHTTP(whole, r)
	var answer struct {
		Kind     string            `json:"kind"`
		Items    []json.RawMessage `json:"items"`
		Prefixes []string          `json:"prefixes"`
		Next     string            `json:"nextPageToken,omitempty"`
	}
	if whole.Code != http.StatusOK || json.Unmarshal(whole.Body.Bytes(), &answer) != nil {
		w.WriteHeader(whole.Code)
		w.Write(whole.Body.Bytes())
		return
	}
	items, names := map[string]json.RawMessage{}, slices.Clone(answer.Prefixes)
	for _, item := range answer.Items {
		var named struct{ Name string }
		json.Unmarshal(item, &named)
		items[named.Name], names = item, append(names, named.Name)
	}
	slices.Sort(names)
	answer.Items, answer.Prefixes, answer.Next = nil, nil, ""
	for i, name := range names {
		if strings.Compare(name, string(after)) <= 0 && len(after) > 0 {
			continue
		}
		if item, ok := items[name]; ok {
			answer.Items = append(answer.Items, item)
		} else {
			answer.Prefixes = append(answer.Prefixes, name)
		}
		if len(answer.Items)+len(answer.Prefixes) == limit && i+1 < len(names) {
			answer.Next = base64.URLEncoding.EncodeToString([]byte(name))
			break
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}
