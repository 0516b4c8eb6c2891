/* mapper FILE BYTES: maps a file for writing, closes its descriptor and goes on writing
 * through the mapping, as it is told on stdin, a letter at a time: a capital fills the
 * mapping with it, s is msync, u is munmap. It answers each with a line, and exits at the
 * end of stdin without munmap. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	size_t n;
	int fd, c;
	char *m;

	check(argc == 3, "usage");
	n = strtoul(argv[2], NULL, 10);
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
	check(fd >= 0, "open");
	check(ftruncate(fd, n) == 0, "ftruncate");
	m = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(m != MAP_FAILED, "mmap");
	check(close(fd) == 0, "close");
	puts("closed");
	fflush(stdout);
	while ((c = getchar()) != EOF) {
		if (c >= 'A' && c <= 'Z')
			memset(m, c, n);
		else if (c == 's')
			check(msync(m, n, MS_SYNC) == 0, "msync");
		else if (c == 'u')
			check(munmap(m, n) == 0, "munmap");
		else
			continue;
		puts("done");
		fflush(stdout);
	}
	return 0;
}
