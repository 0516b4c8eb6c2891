# Targets about what operators get. The Makefile includes this.

.PHONY: page-test
page-test: # the status page in a real browser; leaves page.png in dist/
	mkdir -p dist
	TRAINFS_CHROMIUM=$${TRAINFS_CHROMIUM:-$$(command -v chromium || command -v google-chrome)} \
	TRAINFS_SCREENSHOT=$(CURDIR)/dist/page.png go test -count=1 -v -timeout 5m -run TestPageInABrowser ./monitor
