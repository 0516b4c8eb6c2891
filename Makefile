# Targets for people; what CI runs is scripts/test.

PREFIX  ?= /usr/local
SBINDIR ?= /sbin
DESTDIR ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

FUZZTIME ?= 20s
KILLS ?= 500
CRASHTIME ?= 15m
STEPS ?= all
CROSSINGS ?= 20
CUTS ?= 60
CUTTIME ?= 10m
SOAKTIME ?= 1h
FAULTTIME ?= 10s
STRESSTIME ?= 5m
STORES := azure file gcs hdfs mem plugin s3
SERVED := local memory pyarrow s3fs
BENCHFLAGS ?= --readme README.md

.PHONY: packages alerts-test manifests-test build install demo test acceptance names model crash stress ray frameworks fuzz bench stores page-test clean

build: # bin/trainfs, one static program; trainfs speaks HTTP to Google, and needs no gRPC
	CGO_ENABLED=0 go build -tags disable_grpc_modules -trimpath -ldflags '$(LDFLAGS)' -o bin/trainfs ./cmd/trainfs

install: build # the program, and its name as a helper of mount(8)
	install -D -m 0755 bin/trainfs $(DESTDIR)$(PREFIX)/bin/trainfs
	install -d $(DESTDIR)$(SBINDIR)
	ln -sfn $(PREFIX)/bin/trainfs $(DESTDIR)$(SBINDIR)/mount.trainfs

demo: # the whole way once, in temporary directories
	./scripts/demo

test: # what has to pass
	./scripts/test

acceptance: # at full size: saves of 8 files of 64 MiB watched from outside, 20 checkpoints read all the while, a cold file of 512 MiB, requests to the first byte of 1 GiB
	TRAINFS_TEST_SHARD_MIB=64 TRAINFS_TEST_FULL=1 go test -race -count=1 -timeout 30m -run 'TestNoObjectOfACheckpoint|TestAnotherMountNeverSees|TestLoopOfFind|TestJobLarger|TestManyProcesses|TestMapsOf|TestRequestsThat|TestDaemonWithLittleMemory' ./integration

names: # figures of directories of 100,000 names and of 1,000,000 names known
	TRAINFS_TEST_MEASURE=1 go test -count=1 -timeout 20m -v -run TestNamesMeasured ./integration

model: # two nodes against a model of the promises, some thousands of steps
	go test -race -count=1 -timeout 30m -run TestModelOfTwoNodes ./uploader -rapid.checks=100 -rapid.steps=60

crash: # KILLS random kills of the daemon under a workload, half on each store, and one at each of up to CROSSINGS crossings of every named step (STEPS=NAME,NAME: of these) on each store; each in at most CRASHTIME; figures last
	./scripts/setup
	go test -count=1 -timeout 2h -run TestNothingIsLost -v ./integration -kills $(KILLS) -crash.steps $(STEPS) -crash.crossings $(CROSSINGS) -crash.time $(CRASHTIME) -crash.fast

.PHONY: powercut
powercut: # CUTS power cuts under a workload, half of them with the cache on XFS and half on ext4 (loop devices), in at most CUTTIME; figures last
	go test -count=1 -timeout 1h -run TestPowerCutLoses -v ./integration -cuts $(CUTS) -cuts.time $(CUTTIME) -crash.fast

stress: # for STRESSTIME each, with its seeds: random writes, mappings and truncations of a file, checked through kills, remounts and a second mount; a few names that are written, renamed onto each other, deleted, evicted and read while their uploads are under way
	go test -race -count=1 -timeout 2h -v -run TestRandom ./integration -stress.time $(STRESSTIME)
	go test -race -count=1 -timeout 2h -run TestNamesChange ./uploader -stress.time $(STRESSTIME)

.PHONY: faults
faults: # some twenty kinds of faulty networks and stores, FAULTTIME each, outages three times that, and each request of a save failing once; figures last
	./scripts/setup
	go test -count=1 -timeout 1h -run 'TestFaultyStoreLosesNothing|TestEachRequestOnceFails' -v ./integration -faults.time $(FAULTTIME)

.PHONY: soak
soak: # SOAKTIME of two nodes under a faulty network (toxiproxy) and kills, each promise held against the ledger; figures last
	./scripts/setup
	go test -count=1 -timeout 4h -run '^TestSoak$$' -v ./integration -soak.time $(SOAKTIME)

.PHONY: recovery
recovery: # starts after a kill with 100,000 files to go up and 10,000 committed ones in the cache, timed; figures last
	./scripts/setup
	TRAINFS_TEST_MEASURE=1 go test -count=1 -timeout 20m -v -run TestRecoveryMeasured ./integration

ray: # Ray Train itself on two nodes of this machine; RAYFLAGS names scenarios (scripts/ray --help)
	./scripts/ray $(RAYFLAGS)

.PHONY: replays
replays: # what twenty frameworks do to their directories, on two nodes, watched from a third and in the bucket
	TRAINFS_TEST_FULL=1 go test -race -count=1 -timeout 10m -v -run TestFrameworks ./integration

frameworks: # real libraries train on mounts, are killed and resumed elsewhere; FRAMEWORKSFLAGS names them (scripts/frameworks --help); a table last
	./scripts/frameworks $(FRAMEWORKSFLAGS)

fuzz: # every fuzz test, FUZZTIME each
	FUZZTIME=$(FUZZTIME) ./scripts/fuzz

bench: # figures, side by side with the local disk and with other tools; into README.md
	./scripts/bench $(BENCHFLAGS)

stores: export TRAINFS_TEST_HDFS = 1
stores: export TRAINFS_TEST_AZURE = 1
stores: export TRAINFS_TEST_FSSPEC = 1
stores: # the table store x case of the conformance suite; fails on a hole that docs/stores.md does not explain, and if README.md says otherwise
	./scripts/setup --hdfs --azure --fsspec
	go test -json -count=1 -timeout 20m -run '^(TestStore|TestAdapterOfFsspec)$$' $(addprefix ./backend/,$(STORES)) | \
		go run ./scripts/stores-table $(STORES) $(addprefix plugin/,$(SERVED))

.PHONY: trouble
trouble: export TRAINFS_TEST_HDFS = 1
trouble: export TRAINFS_TEST_AZURE = 1
trouble: export TRAINFS_TEST_FSSPEC = 1
trouble: # what goes wrong with each store, and the run from the first write to the last delete on each: none is skipped for want of a server, as make test may
	./scripts/setup --hdfs --azure --fsspec
	go test -race -count=1 -timeout 30m $(addprefix ./backend/,$(STORES))
	go test -race -count=1 -timeout 30m -run 'TestTheWholeWayOnEveryStore|TestBadMount|TestDataNodeIsLost' ./integration

page-test: # the status page in a real browser; leaves page.png in dist/
	./scripts/setup --page
	mkdir -p dist
	TRAINFS_CHROMIUM=$${TRAINFS_CHROMIUM:-$$(command -v chromium || command -v google-chrome)} \
	TRAINFS_SCREENSHOT=$(CURDIR)/dist/page.png go test -count=1 -v -timeout 5m -run TestPageInABrowser ./cmd/trainfs/monitor

packages: # dist/*.deb and *.rpm, reproducible; the .deb is installed and used in a copy of this machine, as root
	./scripts/packages --try

alerts-test: # alert rules and metrics, held to promtool
	./scripts/alerts-test

manifests-test: # the Kubernetes manifests, held to the types of Kubernetes and KubeRay
	cd packaging/kubernetes/schema && go test -count=1 ./...

clean:
	rm -rf bin dist

