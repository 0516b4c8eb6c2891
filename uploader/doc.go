// Package uploader carries units from the cache to the store: seal, stage, publish.
//
// commit.go is the protocol, in order. What each step leaves behind, and what a start
// after a crash makes of it:
//
//	step           in the journal              in the store                  after a crash
//	(open)         intent of an open marker    <node>.open                   torn if a file was open
//	seal           manifest, durably           -                             goes on, also after a power cut
//	stage          upload id of each file      parts nobody sees             parts that are there are kept
//	publish: begin "publishing", durably       -                             rolls forward
//	publish: burst -                           manifest, then the objects    rolls forward: equal objects
//	                                                                         are recognised, not sent again
//	publish: end   clean records               open marker deleted           nothing left to do
//
// Every step may be repeated. A failure gives the unit back to the cache, with a time
// to try again: nothing is ever dropped for having failed.
//
// Order (P4): checkpoints of a trial publish in the order in which they were closed, a
// version of a tracker after every checkpoint that it names, the deletion of a
// checkpoint after the trackers closed before it. Staging and artifacts wait for
// nobody.
//
// uploader imports cache, backend and layout. It holds no lock while it calls the
// store, but for the one that keeps two uploads of the same path apart (pathLocks).
package uploader
