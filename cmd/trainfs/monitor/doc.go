// Package monitor lets an operator look at a mount from outside: metrics for Prometheus and
// a status page, over HTTP on a loopback port or a Unix socket.
//
// It promises to hold up nothing that the mount does: what it asks of the cache takes the
// cache's lock a few units at a time ([cache.Cache.Gauges]), counters are counted where the
// work is done and only read here, and the page's data is worked out at most once a second
// however many look at it. It changes nothing, and shows no secret: there is none in what it
// is given. Names of files and errors of stores are shown, and are hostile: the page makes no
// markup of them.
//
// It may import backend, to count what goes through a store, and cache, whose reports it
// shows. It alone imports the Prometheus client.
package monitor
