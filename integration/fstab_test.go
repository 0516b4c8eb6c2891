package integration

// mountHelper is where mount(8) looks for the program that mounts "-t trainfs".
const mountHelper = "/sbin/mount.trainfs"
